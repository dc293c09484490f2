"""Batches of bands: three barriers apart, failures by name, and nothing is done twice."""

import json

import numpy as np
import pytest

from mlffjax.config import assemble
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.pathways import bands
from mlffjax.pathways.elastic import relax_bands, relax_pairs
from mlffjax.pathways.settings import Elastic
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.paths import read_path
from mlffjax.study import neb_batch
from mlffjax.study.neb_batch import run
from mlffjax.study.neb_inputs import NebConfig, planned

CUTOFF = 5.5
ARGON = {"epsilon": 0.0104, "sigma": 3.4}
RELAXATION = {"fmax": 0.02, "endpoint_fmax": 0.01, "optimizer": "ode12r"}
# Shifted at its cutoff, as ours is, so that both are one function.
ASE = {
    "kind": "ase",
    "factory": "ase.calculators.lj:LennardJones",
    "cutoff": CUTOFF,
    "arguments": {**ARGON, "rc": CUTOFF, "smooth": True},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with two paths, and a potential."""
    place = tmp_path_factory.mktemp("neb")
    (place / "many").mkdir()
    for name, labelled in (("hop", True), ("bare", False)):
        frames = migration(images=5, labelled=labelled).paths["hop"].frames
        frames = [f._replace(info={"image": k}, forces=None) for k, f in enumerate(frames)]
        write_frames(place / "many" / f"{name}.xyz", frames)
    for name, epsilon in (("argon", 0.0104), ("hard", 0.02)):
        potential = lennard_jones((18,), epsilon=epsilon, sigma=3.4, cutoff=CUTOFF)
        card = Card(name=name, elements=("Ar",), model=potential.model.settings,
                    reference="none", functional="PBE")  # fmt: skip
        store.save(place / name, potential, card)
    return place


def settings(*overrides, **entries):
    data = {
        "paths": {"hop": {"file": "many/hop.xyz"}},
        "models": {"argon": {"potential": "argon"}},
        "relaxation": RELAXATION,
        "lattice": "isotropic",
    }
    return assemble(data | entries, NebConfig, overrides, where="test")


@pytest.fixture(scope="module")
def batch(folder, tmp_path_factory):
    """A folder of two paths with two models, done."""
    out = tmp_path_factory.mktemp("out")
    models = {name: {"potential": name} for name in ("argon", "hard")}
    config = settings(folder="many", paths={}, models=models)
    said = []
    report = run(config, folder, out, observe=lambda *event: said.append(event))
    return config, out, report, said


def test_every_pair_has_three_barriers_of_its_own(batch, folder):
    _, out, report, said = batch
    assert report["failures"] == []
    assert report == json.loads((out / "neb.json").read_text())
    assert [(row["path"], row["model"]) for row in report["rows"]] == [
        (path, model) for path in ("bare", "hop") for model in ("argon", "hard")
    ]
    assert [(done, every) for _, done, every in said] == [(k, 4) for k in (1, 2, 3, 4)]
    potential, _ = store.load(folder / "argon")
    band = bands.from_path(read_path(folder / "many" / "hop.xyz", "hop"))
    outcome = relax_bands([potential], [band], Elastic(**RELAXATION))[0][0]
    row = report["rows"][2]
    assert row["barrier_relaxed"] == pytest.approx(outcome.barrier, abs=1e-10)
    assert row["barrier_reference"] == pytest.approx(0.3, abs=1e-8)
    values = [row[f"barrier_{kind}"] for kind in ("fixed", "matched", "relaxed")]
    assert min(abs(np.diff([*values, values[0]]))) > 1e-3
    # Twice the depth, twice the barrier: fixed images scale exactly.
    hard = report["rows"][3]["barrier_fixed"]
    assert hard == pytest.approx(row["barrier_fixed"] * 0.02 / 0.0104, rel=1e-9)
    assert "barrier_reference" not in report["rows"][0]


def test_what_lies_on_disk(batch):
    _, out, report, _ = batch
    row = report["rows"][2]
    arrays = np.load(out / "pairs" / "argon" / "hop.npz")
    assert arrays["energy_fixed"].max() == pytest.approx(row["barrier_fixed"])
    assert arrays["energy_model"].max() == pytest.approx(row["barrier_relaxed"])
    assert len(arrays["trace_residual"]) == row["iterations"]
    frames = read_frames(out / "pairs" / "argon" / "hop.extxyz")
    assert all(frame.energy is None for frame in frames)  # a model's energies are no labels
    places = [frame.system.positions for frame in frames]
    np.testing.assert_allclose(places, arrays["positions_model"], atol=1e-7)
    lines = (out / "neb.csv").read_text().splitlines()
    assert lines[0].startswith("path,model,barrier_reference,barrier_fixed,barrier_matched")
    assert len(lines) == 5


def test_finished_pairs_are_not_repeated(batch, folder, monkeypatch):
    config, out, report, _ = batch
    asked = []

    def counted(potentials, pairs, settings):
        asked.append(len(pairs))
        return relax_pairs(potentials, pairs, settings)

    monkeypatch.setattr(neb_batch, "relax_pairs", counted)
    assert run(config, folder, out) == report
    assert asked == []
    (out / "pairs" / "hard" / "hop.json").unlink()
    again = run(config, folder, out)
    assert asked == [1]
    assert again["rows"][3]["barrier_relaxed"] == report["rows"][3]["barrier_relaxed"]


def test_another_setting_is_another_pair(folder, tmp_path):
    config = settings(barriers=["fixed"])
    first = run(config, folder, tmp_path)["rows"][0]
    assert first["status"] == "not relaxed"
    assert first["barrier_fixed"] is not None
    assert "barrier_relaxed" not in first
    second = run(settings(barriers=["matched"]), folder, tmp_path)["rows"][0]
    assert second["fingerprint"] != first["fingerprint"]
    assert "barrier_fixed" not in second


def test_failed_bands_are_listed_and_kept(folder, tmp_path):
    config = settings("relaxation.max_steps=2", "relaxation.retry=false", barriers=["relaxed"])
    report = run(config, folder, tmp_path)
    (failure,) = report["failures"]
    assert failure.startswith("path 'hop', model 'argon': max_steps: ")
    row = report["rows"][0]
    assert row["barrier_relaxed"] is None
    assert row["height_last"] is not None
    assert (tmp_path / "pairs" / "argon" / "hop.extxyz").is_file()
    assert run(config, folder, tmp_path) == report  # it took its steps; no more are spent


def test_an_error_ends_one_pair_and_is_tried_again(folder, tmp_path, monkeypatch):
    def broken(potentials, pairs, settings):
        raise RuntimeError("no memory")

    with monkeypatch.context() as patch:
        patch.setattr(neb_batch, "relax_pairs", broken)
        report = run(settings(), folder, tmp_path)
    assert "error: RuntimeError: no memory" in report["failures"][0]
    assert report["rows"][0].get("barrier_relaxed") is None
    assert run(settings(), folder, tmp_path)["failures"] == []


def test_many_paths_and_models_in_one_call_give_what_they_give_alone(
    batch, folder, tmp_path, monkeypatch
):
    config, _, report, _ = batch
    calls = []

    def counted(potentials, pairs, settings):
        calls.append([which for _, which in pairs])
        return relax_pairs(potentials, pairs, settings)

    monkeypatch.setattr(neb_batch, "relax_pairs", counted)
    found = run(config.model_copy(update={"together": 3}), folder, tmp_path)
    assert calls == [[0, 1, 0], [1]]  # two models on two paths
    for row, alone in zip(found["rows"], report["rows"], strict=True):
        for kind in ("fixed", "matched", "relaxed"):
            name = f"barrier_{kind}"
            assert row[name] == pytest.approx(alone[name], abs=1e-9)


def test_an_error_of_one_pair_costs_no_other_of_its_call(folder, tmp_path, monkeypatch):
    def fragile(potentials, pairs, settings):
        if any(which == 1 for _, which in pairs):
            raise RuntimeError("no memory")
        return relax_pairs(potentials, pairs, settings)

    monkeypatch.setattr(neb_batch, "relax_pairs", fragile)
    models = {name: {"potential": name} for name in ("argon", "hard")}
    report = run(settings(models=models, together=2, barriers=["relaxed"]), folder, tmp_path)
    assert [row["status"] for row in report["rows"]] == ["converged", "error"]


def test_a_saddle_is_refined_on_request(folder, tmp_path):
    saddle = {"temperatures_k": [40.0], "dimensions": 3, "jumps": 6}
    entries = {"barriers": ["relaxed"], "saddle": saddle, "fixed": list(range(8))}
    (row,) = run(settings(**entries), folder, tmp_path)["rows"]
    found = row["saddle"]
    assert found["status"] == "found"
    assert found["negative_modes"] == 1
    # A band converged to 0.02 eV/Å against a saddle converged to 1e-6.
    assert found["barrier"] == pytest.approx(row["barrier_relaxed"], abs=1e-3)
    assert found["rate/40K"] > 0
    arrays = np.load(tmp_path / "pairs" / "argon" / "hop.npz")
    assert arrays["frequencies_saddle_model"][0] == pytest.approx(-found["imaginary_frequency"])
    failed = settings("relaxation.max_steps=2", "relaxation.retry=false", **entries | {"fixed": []})
    report = run(failed, folder, tmp_path)
    assert report["rows"][0]["saddle"]["status"] == "no_band"
    assert len(report["failures"]) == 1


def test_a_calculator_stands_beside_potentials(folder, tmp_path):
    models = {"argon": {"potential": "argon"}, "ase": {"calculator": ASE}}
    report = run(settings(models=models, barriers=["fixed", "relaxed"]), folder, tmp_path)
    assert report["failures"] == []
    for row in report["rows"]:
        assert row["barrier_relaxed"] < row["barrier_fixed"]
    # Smoothing the cutoff changes the energy of a pair at 4 Å by some per cent.
    ours, theirs = (row["barrier_relaxed"] for row in report["rows"])
    assert theirs == pytest.approx(ours, rel=0.3)


@pytest.mark.parametrize(
    ("entries", "message"),
    [({"paths": {}}, "or a 'folder' of paths"),
     ({"models": {}}, "at least 1"),
     ({"models": {"x": {}}}, "either 'potential' or 'calculator'"),
     ({"barriers": ["fixed"], "saddle": {}}, "add relaxed to 'barriers'"),
     ({"models": {"x": {"calculator": {"kind": "lennard_jones"}}}}, "needs no weights"),
     ({"lattice": "none"}, "needs a lattice"),
     ({"barriers": ["fast"]}, "fixed"),
     ({"paths": {"../x": {"file": "a"}}}, "pattern")],
)  # fmt: skip
def test_contradictions_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        settings(**entries)


def test_bad_paths_are_refused_together_before_anything_runs(folder, tmp_path):
    frames = list(read_frames(folder / "many" / "hop.xyz"))
    first = frames[0]
    swapped = first.system._replace(numbers=np.array([1, *first.system.numbers[1:]], np.int32))
    larger = first.system._replace(cell=1.1 * first.system.cell)
    cases = {
        "few": frames[:2],
        "equal_ends": [*frames[:3], first._replace(info={"image": 9})],
        "standing": [first, first._replace(info={"image": 0.5}), *frames[1:]],
        "other_atoms": [first._replace(system=swapped), *frames[1:]],
        "other_cell": [first._replace(system=larger), *frames[1:]],
    }
    for name, images in cases.items():
        write_frames(tmp_path / f"{name}.xyz", images)
    with pytest.raises(InputError) as caught:
        planned(settings(paths={}, folder=str(tmp_path)), folder)
    lines = str(caught.value).splitlines()
    assert len(lines) == 1 + len(cases)
    for name, what in (
        ("few", "at least 3 images, got 2"),
        ("equal_ends", "two different ends"),
        ("standing", "different from"),
        ("other_atoms", "different atoms"),
        ("other_cell", "cell"),
    ):
        assert any(f"path {name!r}" in line and what in line for line in lines), name


def test_folders_and_elements_that_cannot_be(folder, tmp_path):
    with pytest.raises(ConfigError, match="expected a directory"):
        planned(settings(folder="nowhere"), folder)
    with pytest.raises(ConfigError, match="got none"):
        planned(settings(folder=str(tmp_path)), folder)
    with pytest.raises(ConfigError, match="'hop' twice"):
        planned(settings(folder="many"), folder)
    with pytest.raises(CompatibilityError, match=r"got \[18\] too in path 'hop'"):
        planned(settings(models={"x": {"potential": "bundled:generalist"}}), folder)
    (tmp_path / "a b.xyz").write_text((folder / "many" / "hop.xyz").read_text())
    with pytest.raises(ConfigError, match="rename it"):
        planned(settings(paths={}, folder=str(tmp_path)), folder)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of torch and e3nn about the line below
def test_sevennet_is_scored_on_the_bundled_path(tmp_path, monkeypatch):
    """Its weights come with its package; the path was relaxed with it, so nothing is left to do."""
    pytest.importorskip("sevenn", reason="needs sevenn")
    # Its e3nn reads its constants with torch.load, which since torch 2.6 refuses the class slice.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    section = {
        "kind": "ase",
        "factory": "sevenn.calculator:SevenNetCalculator",
        "arguments": {"model": "7net-0", "device": "cpu"},
        "cutoff": 5.0,
    }
    data = {
        "paths": {"in_gap": {"file": "bundled:cr_sb2te3_pbe/neb_in_gap.xyz"}},
        "models": {"sevennet": {"calculator": section}},
        "barriers": ["fixed", "relaxed"],
    }
    report = run(assemble(data, NebConfig, (), where="test"), tmp_path, tmp_path)
    (row,) = report["rows"]
    assert row["status"] == "converged"
    # Seen: 0.821 eV for both; the band is converged to 0.05 eV/Å, as the bundled images were.
    assert row["barrier_relaxed"] == pytest.approx(row["barrier_fixed"], abs=0.01)
    assert row["path_shift"] < 0.2
