import numpy as np
import pytest
from study import small

from mlffjax.config import validate
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.plan import make_plan

GENERIC = {"files": ["generic.xyz"], "reference": "another code", "functional": "none"}


def study(*strategies, **changes):
    runs = [{"name": s["kind"], "strategy": s, "seeds": [0]} for s in strategies]
    return validate(small.settings(runs=runs, **changes), StudyConfig, where="test")


def plan(base, *strategies, **changes):
    return make_plan(study(*strategies, **changes), base)


def doubled(system):
    """Two cells, one beside the other."""
    step = np.array([system.cell[0], system.cell[0]]) * np.array([[0.0], [1.0]])
    return system._replace(
        positions=np.concatenate([system.positions + shift for shift in step]),
        numbers=np.tile(system.numbers, 2),
        cell=system.cell * np.array([[2.0], [1.0], [1.0]]),
    )


def fingerprints(made):
    return {run.config.name: run.fingerprint for run in made.runs}


@pytest.fixture
def base(tmp_path):
    small.write_inputs(tmp_path)
    frames = read_frames(tmp_path / "frames.xyz")[:4]
    write_frames(tmp_path / "generic.xyz", [small.stretched(frame) for frame in frames])
    return tmp_path


TUNED, REPLAY = {"kind": "finetune"}, {"kind": "replay"}
PSEUDO = {"kind": "pseudolabel"}


def path_aware(*paths):
    return {"kind": "path_aware", "paths": list(paths)}


def test_generic_structures_are_read_only_where_needed(base):
    assert plan(base, TUNED, generic={**GENERIC, "files": ["none.xyz"]}).generic is None
    made = plan(base, TUNED, REPLAY, generic=GENERIC)
    assert len(made.generic.frames) == 4
    with pytest.raises(InputError, match=r"generic: none.xyz: expected at least one file"):
        plan(base, REPLAY, generic={**GENERIC, "files": ["none.xyz"]})


def test_labels_are_asked_for_only_by_those_who_learn_from_them(base):
    frames = read_frames(base / "generic.xyz")
    bare = [frame._replace(energy=None, forces=None) for frame in frames]
    write_frames(base / "generic.xyz", bare)
    assert len(plan(base, PSEUDO, generic=GENERIC).generic.frames) == 4
    with pytest.raises(InputError, match=r"generic: .*expected a label REF_energy"):
        plan(base, REPLAY, PSEUDO, generic=GENERIC)


def test_bundled_generic_structures_are_the_default(base):
    """Argon knows nothing of them, so the foundation refuses."""
    with pytest.raises(CompatibilityError, match=r"foundation 'soft argon': .*cr_sb_te"):
        plan(base, REPLAY)


def test_fingerprints_change_with_the_generic_set_where_it_is_used(base):
    strategies = (TUNED, REPLAY, PSEUDO)
    before = fingerprints(plan(base, *strategies, generic=GENERIC))
    frames = read_frames(base / "generic.xyz")
    write_frames(base / "generic.xyz", frames[:3])
    after = fingerprints(plan(base, *strategies, generic=GENERIC))
    assert {name for name in before if before[name] != after[name]} == {"replay", "pseudolabel"}
    other = fingerprints(plan(base, *strategies, generic={**GENERIC, "reference": "a third"}))
    assert other["replay"] != after["replay"]
    assert other["finetune"] == after["finetune"] == before["finetune"]


def test_fingerprints_change_with_the_images_learned_from(base):
    before = fingerprints(plan(base, TUNED, path_aware("hop")))
    frames = read_frames(base / "hop.xyz")
    frames[3] = frames[3]._replace(energy=frames[3].energy + 0.1)
    write_frames(base / "hop.xyz", frames)
    after = fingerprints(plan(base, TUNED, path_aware("hop")))
    assert before["finetune"] == after["finetune"]
    assert before["path_aware"] != after["path_aware"]


def test_a_path_stays_out_of_training(base):
    made = plan(base, path_aware("hop"))
    (warning,) = made.warnings
    assert "trained on images of hop" in warning
    assert "only slide is predicted" in warning
    with pytest.raises(ConfigError, match=r"learns from every path .*\(hop, slide\)"):
        plan(base, path_aware("hop", "slide"))


def test_copy_of_a_learned_path_is_no_prediction(base):
    paths = small.settings()["paths"] | {"copy": {"file": "hop.xyz"}}
    probes = [{"kind": "fixed_path", "name": "copy", "path": "copy"}]
    with pytest.raises(ConfigError, match="learns from every path"):
        plan(base, path_aware("hop"), paths=paths, probes=probes)
    (run,) = plan(base, path_aware("hop"), paths=paths).runs
    assert run.learned_paths == ("hop", "copy")


def test_paths_that_share_a_minimum_are_two(base):
    """The other path starts where the learned one does, and goes elsewhere."""
    hop = read_frames(base / "hop.xyz")
    others = [small.labelled(f.system, "other", i, image=i) for i, f in enumerate(hop)]
    for index, frame in enumerate(others[1:], start=1):
        moved = frame.system.positions.copy()
        moved[-1] += 0.1 * index
        system = frame.system._replace(positions=moved)
        others[index] = small.labelled(system, "other", index, image=index)
    write_frames(base / "other.xyz", others)
    paths = {"hop": {"file": "hop.xyz"}, "other": {"file": "other.xyz"}}
    probes = [{"kind": "fixed_path", "name": name, "path": name} for name in paths]
    (run,) = plan(base, path_aware("hop"), paths=paths, probes=probes).runs
    assert run.learned_paths == ("hop",)


def test_missing_optional_path_cannot_be_learned_from(base):
    paths = small.settings()["paths"] | {"gone": {"file": "gone.xyz", "optional": True}}
    with pytest.raises(ConfigError, match="path 'gone', whose file is missing"):
        plan(base, path_aware("gone"), paths=paths)


def test_selection_by_uncertainty_takes_what_the_foundation_misses_most(base):
    data = {"method": "uncertainty", "count": 3}
    runs = [{"name": "worst", "strategy": {"kind": "scratch"}, "data": data},
            {"name": "all", "strategy": {"kind": "scratch"}}]  # fmt: skip
    config = validate(small.settings(runs=runs), StudyConfig, where="test")
    made = make_plan(config, base)
    worst, candidates = (run.splits["train"] for run in made.runs)
    errors = {}
    for index in candidates:
        frame = made.dataset.frames[index]
        soft = small.forces_of(small.FOUNDATION, frame.system)
        errors[index] = np.linalg.norm(soft - frame.forces, axis=1).max()
    # Forces of 1 eV/Å in single precision are good to 1e-6; the errors differ by much more.
    assert list(worst) == sorted(errors, key=errors.get, reverse=True)[:3]
    with pytest.raises(ConfigError, match="how far the foundation is off"):
        make_plan(config.model_copy(update={"foundation": None}), base)


def test_learning_curves_are_nested(base):
    run = {"name": "ft", "strategy": TUNED, "fractions": [0.2, 0.5, 1.0]}
    for method in ("random", "farthest_point", "uncertainty"):
        one = run | {"data": {"method": method}}
        config = validate(small.settings(runs=[one]), StudyConfig, where="test")
        small_, half, whole = (r.splits["train"] for r in make_plan(config, base).runs)
        assert half[: len(small_)] == small_
        assert whole[: len(half)] == half
        assert len(small_) < len(half) < len(whole)


def test_runs_that_learn_from_other_data_leave_their_traces(base, tmp_path):
    """Generic cells are larger than all frames, so they need room in the arrays."""
    frames = [f._replace(system=doubled(f.system)) for f in read_frames(base / "generic.xyz")]
    write_frames(base / "generic.xyz", [small.labelled(f.system, f.identifier, 0) for f in frames])
    runs = [
        {"name": "replay", "strategy": {"kind": "replay", "ratio": 0.5}, "fractions": [0.5, 1.0]},
        {"name": "pseudo", "strategy": {"kind": "pseudolabel", "copies": 1}},
        {"name": "aware", "strategy": path_aware("hop")},
    ]
    config = validate(
        small.settings(
            runs=runs,
            generic=GENERIC,
            training={"epochs": 1, "buckets": 1, "loss": {"stress": 0}},
            probes=[{"kind": "accuracy", "name": "accuracy"}],
        ),
        StudyConfig,
        where="test",
    )
    records = execute(config, base, tmp_path / "out")
    assert not records.failures()
    infos = {run.info.name: run.info for run in records.runs}
    assert list(infos) == ["replay-50pct", "replay-100pct", "pseudo", "aware"]
    assert [(i.family, i.fraction) for i in infos.values()] == [
        ("replay", 0.5), ("replay", 1.0), ("pseudo", None), ("aware", None)
    ]  # fmt: skip
    assert infos["aware"].learned_paths == ("hop",)
    assert infos["replay-50pct"].frames["train"] < infos["replay-100pct"].frames["train"]
    for name in ("replay-50pct", "pseudo"):
        assert any("2 held-out generic structures" in note for note in infos[name].notes)
