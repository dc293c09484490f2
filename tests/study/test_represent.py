"""Models of any origin compared outside a study."""

import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import mace
from mlffjax.probes import _example
from mlffjax.representation.features import node_features
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.study import represent
from mlffjax.study.records import read_json, write_arrays, write_json
from mlffjax.study.represent_inputs import RepresentConfig, read_inputs, write_structures

SECTION = {"frames": 12, "rows": 60, "permutations": 3}


def stored(folder, potential):
    card = Card(name=folder.name, elements=("Ar",), model=potential.model.settings,
                reference="none", functional="none")  # fmt: skip
    store.save(folder, potential, card)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Argon of two kinds, a model with features, one without, and features of another program."""
    folder = tmp_path_factory.mktemp("models")
    model = mace.energy_model(mace.example(), (_example.ARGON,))
    potential = trees.cast(Potential(model.init(key=jax.random.key(0)), model), np.float64)
    stored(folder / "tiny", potential)
    stored(folder / "pair", lennard_jones((_example.ARGON,), epsilon=0.01, sigma=3.4, cutoff=6.0))
    write_frames(folder / "argon.extxyz", _example.frames(12).frames)
    config = RepresentConfig.model_validate(asked(folder))
    at = folder / "at.extxyz"
    assert write_structures(config, read_inputs(config, folder), at) == 12
    systems = [frame.system for frame in read_frames(at)]
    layers = node_features(potential, systems).layers
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(layers[-1].shape[1],) * 2))[0]
    turned = {f"layer{n}": rows for n, rows in enumerate((*layers[:-1], layers[-1] @ turn), 1)}
    write_arrays(folder / "turned.npz", turned)
    bad = {name: np.where(np.arange(len(rows))[:, None] == 5, np.nan, rows)
           for name, rows in turned.items()}  # fmt: skip
    write_arrays(folder / "nan.npz", bad)
    return folder


def asked(folder, **models):
    return {
        "models": {"tiny": {"potential": str(folder / "tiny")}, **models},
        "structures": [str(folder / "argon.extxyz")],
        "foundation": str(folder / "tiny"),
        "comparisons": [SECTION],
    }


@pytest.fixture(scope="module")
def compared(folder):
    models = {
        "pair": {"potential": "pair"},
        "turned": {"features": "turned.npz"},
        "broken": {"features": "nan.npz"},
    }
    config, said = RepresentConfig.model_validate(asked(folder, **models)), []
    records = represent.run(config, folder, folder / "out", observe=lambda *told: said.append(told))
    return config, records, said


def test_models_of_all_kinds_have_records(compared):
    _, records, said = compared
    status = {run.info.id: run.probes["representation"].status for run in records.runs}
    assert status == {"tiny": "ok", "pair": "ok", "turned": "ok", "broken": "failed"}
    assert [done for _, done, _ in said] == [1, 2, 3, 4]
    (failure,) = records.failures()
    assert "NaN or infinities" in failure
    by_name = {run.info.id: run for run in records.runs}
    # Turned features hold the same relations between atoms; channels are others.
    assert by_name["turned"].metric("representation", "drift") == pytest.approx(0, abs=1e-9)
    assert by_name["turned"].metric("representation", "cosine") < 0.99
    assert by_name["pair"].metric("representation", "drift") is None


def test_features_of_any_origin_are_aligned(compared):
    _, records, _ = compared
    known = read_json(records.directory / "representation.json", []) or {}
    layers = known["probes"]["representation"]
    last = [name for name in layers["layers"] if name.startswith("layer")][-1]
    assert layers["layers"][last]["runs"] == ["tiny", "turned"]
    assert layers["layers"][last]["linear"][0][1] == pytest.approx(1, abs=1e-4)  # float32
    assert layers["layers"]["forces"]["runs"] == ["tiny", "pair"]


def test_what_is_measured_is_kept(compared, folder):
    config, records, _ = compared
    files = [*records.directory.glob("runs/*/records/*.npz")]
    stamps = [file.stat().st_mtime_ns for file in files]
    assert stamps
    represent.run(config, folder, folder / "out")
    assert [file.stat().st_mtime_ns for file in files] == stamps


def test_a_comparison_is_a_model_of_a_study_too_but_never_overwrites_one(compared, folder):
    _, records, _ = compared
    entries = {"study": "out", "structures": [str(folder / "argon.extxyz")],
               "comparisons": [SECTION]}  # fmt: skip
    with pytest.raises(InputError):  # its runs hold no potentials
        read_inputs(RepresentConfig.model_validate(entries), folder)
    info = records.info.model_copy(update={"config": {"name": "another"}})
    other = folder / "study"
    write_json(other / "study.json", info)
    config = RepresentConfig.model_validate(asked(folder))
    with pytest.raises(InputError, match="would be overwritten"):
        represent.run(config, folder, other)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"models": {}}, "expected entries under 'models'"),
        ({"models": {"a": {}}}, "expected one of 'potential', 'calculator' and 'features'"),
        ({"comparisons": [{}, {}]}, "expected different names"),
    ],
)
def test_configurations_that_say_too_little_are_refused(entries, message):
    good = {"models": {"a": {"features": "a.npz"}}}
    with pytest.raises(ValueError, match=message):
        RepresentConfig.model_validate(good | entries)


def test_files_of_features_that_cannot_be_used_are_refused(folder, tmp_path):
    np.savez(tmp_path / "gap.npz", layer1=np.ones((4, 2)), layer3=np.ones((4, 2)))
    config = RepresentConfig.model_validate(
        asked(folder, gap={"features": str(tmp_path / "gap.npz")})
    )
    with pytest.raises(InputError, match="without a gap"):
        read_inputs(config, folder)


def test_differing_atom_counts_are_a_recorded_failure_of_the_recipe(folder):
    pytest.importorskip("dscribe")
    section = {"name": "paper", "mode": "paper", "trajectory": "two"}
    entries = asked(folder) | {
        "comparisons": [section],
        "trajectories": {"two": {"file": str(folder / "argon.extxyz"), "interval_fs": 1.0}},
    }
    with pytest.raises((InputError, ConfigError), match="atoms"):
        read_inputs(RepresentConfig.model_validate(entries), folder)
