import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.study.config import StudyConfig
from mlffjax.study.plan import make_plan, used_frames


def study(**changes):
    return validate(small.settings(**changes), StudyConfig, where="test")


@pytest.fixture
def base(tmp_path):
    small.write_inputs(tmp_path)
    return tmp_path


def identifiers(plan):
    return {(run.config.name, run.seed): run.fingerprint for run in plan.runs}


def test_a_run_per_entry_and_seed_with_disjoint_splits(base):
    plan = make_plan(study(), base)
    assert list(identifiers(plan)) == [("scratch", 0), ("zero", 0), ("tuned", 0), ("tuned", 1)]
    assert len({run.id for run in plan.runs}) == 4
    for run in plan.runs:
        parts = [set(part) for part in run.splits.values()]
        assert sum(map(len, parts)) == len(set.union(*parts))
    assert used_frames(plan) == tuple(range(16))


def test_fingerprints_change_with_what_matters_only(base):
    before = identifiers(make_plan(study(), base))
    assert (
        identifiers(make_plan(study(name="renamed", verdict={"energy_rmse_ev": 1}), base)) == before
    )
    model = identifiers(make_plan(study(model={"kind": "lennard_jones", "cutoff": 5.0}), base))
    assert {key for key in before if before[key] != model[key]} == {("scratch", 0)}
    slower = identifiers(make_plan(study(training={"epochs": 4}), base))
    assert all(before[key] != slower[key] for key in before)
    write_frames(base / "frames.xyz", read_frames(base / "frames.xyz")[::-1])
    assert not set(identifiers(make_plan(study(), base)).values()) & set(before.values())


def test_validation_frames_are_of_the_kinds_trained_on(base):
    plan = make_plan(study(), base)
    kinds = {plan.dataset.frames[i].config_type for i in plan.runs[2].splits["validation"]}
    assert kinds == {"hot"}


def test_path_images_among_the_frames_are_pointed_out(base):
    files = ["frames.xyz", "hop.xyz"]
    data = {"files": files, "reference": "x", "functional": "y"}
    (warning,) = make_plan(study(data=data), base).warnings
    assert "7 images of path 'hop'" in warning


def test_missing_optional_path_takes_its_probes_along(base):
    paths = small.settings()["paths"] | {"hop": {"file": "none.xyz", "optional": True}}
    plan = make_plan(study(paths=paths), base)
    assert [probe.name for probe in plan.probes] == ["accuracy", "slide"]
    assert "path 'hop' is left out" in plan.warnings[0]
    with pytest.raises(InputError, match=r"none.xyz"):
        make_plan(study(paths=paths | {"hop": {"file": "none.xyz"}}), base)


@pytest.mark.parametrize(("section", "kind"), [("model", "scratch"), ("foundation", "zero_shot")])
def test_missing_start_is_named(base, section, kind):
    with pytest.raises(ConfigError, match=f"{kind} starts from the section '{section}'"):
        make_plan(study(**{section: None}), base)


def test_selection_that_matches_nothing_names_the_run(base):
    runs = [{"name": "cold", "strategy": {"kind": "scratch"}, "data": {"config_types": ["icy"]}}]
    with pytest.raises(InputError, match=r"run 'cold', data: .*'icy'"):
        make_plan(study(runs=runs), base)


def test_no_validation_frames_are_refused(base):
    with pytest.raises(ConfigError, match=r"splits.validation"):
        make_plan(study(splits={"validation": 0.0, "test": 0.2}), base)


def test_element_unknown_to_the_foundation_is_named_with_file_and_frame(base):
    frames = read_frames(base / "hop.xyz")
    frames = [
        frame._replace(system=frame.system._replace(numbers=np.full(9, 36, np.int32)))
        for frame in frames
    ]
    write_frames(base / "hop.xyz", frames)
    with pytest.raises(CompatibilityError, match=r"soft argon.*hop.xyz frame 0.*Kr"):
        make_plan(study(), base)


def test_given_parts_keep_all_validation_frames_whatever_is_trained_on(tmp_path):
    small.write_inputs(tmp_path)
    frames = read_frames(tmp_path / "frames.xyz")
    parts = ["validation" if i % 4 == 1 else "train" for i in range(len(frames))]
    marked = [f._replace(info={"split": p}) for f, p in zip(frames, parts, strict=True)]
    write_frames(tmp_path / "frames.xyz", marked)
    settings = small.settings(splits={"kind": "given"})
    plan = make_plan(validate(settings, StudyConfig, where="test"), tmp_path)
    for run in plan.runs:  # one of them trains on hot frames only
        assert run.splits["validation"] == tuple(range(1, len(frames), 4))
