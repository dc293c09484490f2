"""Damaged files are refused by name or made anew; nothing damaged is taken for the truth.

Every file is cut, and has single bits flipped at seeded places. What is then read must equal what
was written, or the reader must refuse with an error of this package.
"""

import shutil

import numpy as np
import pytest
from study import small

from mlffjax import trees
from mlffjax.config import validate
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.dynamics.trajectory import read
from mlffjax.errors import MlffjaxError
from mlffjax.potential import store
from mlffjax.probes import _dynamics
from mlffjax.study import records
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute

FLIPS = 60


def damaged(content, rng):
    """Variants of a file: shorter, empty, and with one bit changed."""
    for length in (0, 1, len(content) // 2, len(content) - 1):
        yield content[:length]
    for place in rng.integers(0, len(content), FLIPS):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        yield bytes(changed)


def seen(look):
    """What a reader finds, or nothing and its error."""
    try:
        return look(), ""
    except MlffjaxError as error:
        return None, str(error)


def outcomes(file, look, rng):
    """How often damage was refused and how often it did no harm; another result is a failure."""
    content, sound = file.read_bytes(), look()
    refused = harmless = 0
    for number, variant in enumerate(damaged(content, rng)):
        file.write_bytes(variant)
        found, error = seen(look)
        if found is None:
            assert str(file.parent) in error
            refused += 1
            continue
        same = len(found) == len(sound)
        same &= all(np.array_equal(a, b) for a, b in zip(found, sound, strict=same))
        assert same, f"damage number {number} of {file.name} was taken for the truth"
        harmless += 1
    file.write_bytes(content)
    return refused, harmless


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def dynamics(tmp_path_factory):
    """A finished run, and how to do it again."""
    out = tmp_path_factory.mktemp("dynamics")
    system = _dynamics.starting_system(*_dynamics.example_start())
    settings = MdConfig(
        temperature_k=40, timestep_fs=4.0, ensemble={"kind": "nve"}, steps=60,  # type: ignore[arg-type]
        intervals={"thermo": 2, "positions": 5}, checkpoint_every=20,  # type: ignore[arg-type]
    )  # fmt: skip
    potential = trees.cast(small.FOUNDATION, np.float64)
    run(potential, system, settings, directory=out)
    return out, lambda: run(potential, system, settings, directory=out)


def test_a_damaged_trajectory(dynamics, rng):
    file = dynamics[0] / "production.h5md"

    def look():
        found = read(file)
        arrays = [part for s in found.series.values() for part in (s.steps, s.times_fs, s[:])]
        return [*found.system, found.masses, repr(found.metadata), *arrays]

    refused, _ = outcomes(file, look, rng)
    assert refused > FLIPS // 2  # the rest hit bytes that nothing refers to


def test_a_damaged_checkpoint_of_dynamics(dynamics, rng):
    out, again = dynamics
    kept = (out / "production.h5md").read_bytes()

    def look():
        (lane,) = again().lanes
        assert (out / "production.h5md").read_bytes() == kept or lane.ok
        return [lane.system.positions, lane.velocities]

    refused, harmless = outcomes(out / "checkpoint.safetensors", look, rng)
    assert (refused, harmless) == (FLIPS + 4, 0)


def test_a_damaged_potential(inputs, tmp_path, rng):
    folder = shutil.copytree(inputs / "foundation", tmp_path / "potential")

    def look():
        potential, card = store.load(folder)
        leaves = trees.names(potential.params)
        return [*leaves.values(), repr(potential.model), card.elements, card.functional]

    for name in (store.WEIGHTS, store.CARD):
        refused, _ = outcomes(folder / name, look, rng)
        assert refused > FLIPS // 2


def test_damaged_records(tmp_path, rng):
    info = records.RunInfo(
        id="a", name="a", strategy="s", seed=1, fingerprint="f", status="ok", seconds=1.25,
        frames={"train": 3}, notes=("é",),
    )  # fmt: skip
    file = tmp_path / "run.json"
    records.write_json(file, info)

    def look():
        return [repr(records.read_model(file, records.RunInfo, []))]

    content, sound = file.read_bytes(), look()
    for variant in damaged(content, rng):
        file.write_bytes(variant)
        assert look() in (sound, ["None"])
    file.write_bytes(content.replace(b"1.25", b"1.26"))
    problems: list[str] = []
    assert records.read_model(file, records.RunInfo, problems) is None
    assert "checksum" in problems[0]


def test_a_study_makes_anew_what_is_damaged_and_nothing_else(inputs, tmp_path):
    settings = small.settings(
        runs=[{"name": "zero", "strategy": {"kind": "zero_shot"}},
              {"name": "tuned", "strategy": {"kind": "finetune"}, "training": {"epochs": 2}}],
        probes=[{"kind": "accuracy", "name": "accuracy"}],
    )  # fmt: skip
    config = validate(settings, StudyConfig, where="test")
    first = execute(config, inputs, tmp_path)
    zero, tuned = (run.directory for run in first.runs)
    sound = {file: file.read_bytes() for file in tmp_path.rglob("*.*") if file.is_file()}
    harmed = (tuned / "weights.safetensors", zero / "records" / "accuracy.npz")
    for file in harmed:
        content = bytearray(file.read_bytes())
        content[-1 if file.suffix == ".safetensors" else 60] ^= 1
        file.write_bytes(bytes(content))
    untouched = {f: f.stat().st_mtime_ns for f in (zero / "run.json", zero / "card.json")}
    again = execute(config, inputs, tmp_path)
    assert again.failures() == ()
    for file in (harmed[0], tuned / "card.json"):
        assert file.read_bytes() == sound[file]
    assert [r.metric("accuracy", "test_force_rmse") for r in again.runs] == [
        r.metric("accuracy", "test_force_rmse") for r in first.runs
    ]
    assert {file: file.stat().st_mtime_ns for file in untouched} == untouched
