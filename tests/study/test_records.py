import json

import numpy as np
import pytest

from mlffjax import durable
from mlffjax.errors import InputError
from mlffjax.study import records


@pytest.fixture
def study(study_of, measured, tmp_path):
    study_of({"a": ("scratch", [measured(0.1, 0.2, 0.3), measured(0.2, 0.3, 0.4)])})
    return tmp_path


def test_round_trip(study):
    found = records.load_study(study)
    assert [run.info.seed for run in found.by_name()["a"]] == [0, 1]
    assert list(found.probes()) == ["accuracy", "in_gap", "slide"]
    assert found.runs[0].metric("in_gap", "barrier_error") == 0.2
    assert found.runs[0].metric("nothing", "at_all") is None
    assert (found.missing(), found.warnings, found.summary) == ((), (), None)


@pytest.mark.parametrize("damage", ["truncated", "list", "schema", "field"])
def test_damaged_record_counts_as_missing_with_a_warning(study, damage):
    path = next((study / "runs").glob("a-s0-*/records/in_gap.json"))
    text = path.read_text()
    data = json.loads(text)
    path.write_text(
        {
            "truncated": text[: len(text) // 2],
            "list": "[1]",
            "schema": json.dumps(data | {"schema_version": 0}),
            "field": json.dumps(data | {"status": "perhaps"}),
        }[damage]
    )
    found = records.load_study(study)
    assert set(found.runs[0].probes) == {"accuracy", "slide"}
    (warning,) = found.warnings
    assert str(path) in warning
    assert "missing" in warning


def test_damaged_run_is_a_missing_run(study):
    (path,) = (study / "runs").glob("a-s1-*/run.json")
    path.write_text("{")
    found = records.load_study(study)
    assert found.missing() == (path.parent.name,)
    assert len(found.warnings) == 1


def test_no_study_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"no usable study.json.*mlffjax study"):
        records.load_study(tmp_path)


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match=r"Out of range|not JSON compliant"):
        records.write_json(tmp_path / "x.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []
    assert records.number_or_none(float("inf")) is None
    assert records.number_or_none(np.float64(2.0)) == 2.0


def test_failing_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    records.write_json(path, {"x": 1})

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(durable.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        records.write_json(path, {"x": 2})
    assert json.loads(path.read_text()) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_round_trip_and_damage(tmp_path):
    path = tmp_path / "a.npz"
    arrays = {"x": np.arange(3.0), "names": np.array(["b", "c"])}
    records.write_arrays(path, arrays)
    found = records.read_arrays(path)
    assert found is not None
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)
    path.write_bytes(path.read_bytes()[:60])
    assert records.read_arrays(path) is None
    assert records.read_arrays(tmp_path / "none.npz") is None


def test_parity_cuts_out_one_split():
    arrays = {
        "energy_reference": np.arange(3.0),
        "energy_model": np.arange(3.0) + 0.5,
        "forces_reference": np.arange(12.0).reshape(4, 3),
        "forces_model": np.arange(12.0).reshape(4, 3) + 1,
        "frame_split": np.array([0, 2, -1]),
        "frame_config_type": np.array([1, 0, 1]),
        "atom_frame": np.array([0, 1, 1, 2]),
        "config_types": np.array(["cold", "hot"]),
    }
    test = records.parity(arrays, "test")
    assert test.energy_model.tolist() == [1.5]
    assert test.forces_reference.tolist() == [[3, 4, 5], [6, 7, 8]]
    assert test.atom_config_type.tolist() == [0, 0]
    assert test.config_types == ("cold", "hot")
    assert len(records.parity(arrays, "validation").energy_model) == 0


def test_failures_name_runs_and_probes(study_of, measured, tmp_path):
    study_of({"a": ("scratch", ["failed"]), "b": ("scratch", [measured(0.1, 0.1, 0.1)])})
    path = next((tmp_path / "runs").glob("b-s0-*/records/slide.json"))
    record = durable.unsealed(json.loads(path.read_text()))
    path.write_text(json.dumps(record | {"status": "failed", "message": "x"}))
    lines = records.load_study(tmp_path).failures()
    assert len(lines) == 2
    assert lines[0].startswith("a-s0")
    assert lines[1].endswith("probe slide: x")
