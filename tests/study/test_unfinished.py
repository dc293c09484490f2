import re

import pytest
from study import small

from mlffjax.config import validate
from mlffjax.errors import CompatibilityError
from mlffjax.study import runs
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.records import load_study
from mlffjax.study.runs import UNFINISHED
from mlffjax.training import fit as loop


class Interruption(Exception):
    """What the observer raises to end a study in the middle."""


def study(**training):
    settings = small.settings()
    run = next(r for r in settings["runs"] if r["strategy"]["kind"] == "scratch")
    zero = next(r for r in settings["runs"] if r["strategy"]["kind"] == "zero_shot")
    settings |= {"runs": [zero, {**run, "seeds": [0]}], "probes": settings["probes"][:1]}
    settings["training"] = {**settings["training"], "checkpoint_seconds": 0, **training}
    return validate(settings, StudyConfig, where="test")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    return folder


@pytest.fixture
def interrupted(base, tmp_path, monkeypatch):
    """Output of a study that was cut short in the second epoch of its second run."""
    monkeypatch.setattr(loop, "PEEK", 1)

    def observe(event):
        if event.subject.startswith("scratch") and "epoch 2" in event.text:
            raise Interruption

    with pytest.raises(Interruption):
        execute(study(), base, tmp_path / "out", observe=observe)
    return tmp_path / "out"


def kept(out):
    return sorted(path.parent.name for path in out.glob(f"runs/*/{UNFINISHED}"))


def epochs(base, out, config, **choices):
    """First epochs that are trained when a study goes on."""
    texts = []
    execute(config, base, out, observe=lambda event: texts.append(event.text), **choices)
    return [int(n) for text in texts for n in re.findall(r"epoch (\d+)", text)]


def test_interrupted_training_goes_on_and_leaves_nothing_behind(base, interrupted):
    assert len(kept(interrupted)) == 1
    assert epochs(base, interrupted, study())[0] == 2
    assert kept(interrupted) == []
    records = load_study(interrupted)
    whole = interrupted.parent / "whole"
    execute(study(), base, whole)
    for run, other in zip(records.runs, load_study(whole).runs, strict=True):
        assert run.info.id == other.info.id
        weights = [(r.directory / "weights.safetensors").read_bytes() for r in (run, other)]
        assert weights[0] == weights[1]


def test_changed_settings_are_refused_with_the_difference(base, interrupted):
    old = study().training.learning_rate
    changed = study(learning_rate=2 * old)
    message = rf"scratch-s0-.*training\.learning_rate was {old} and is now {2 * old}.*--restart"
    with pytest.raises(CompatibilityError, match=message):
        execute(changed, base, interrupted)
    assert len(kept(interrupted)) == 1
    # The refusal changes nothing: the old settings still continue it.
    assert epochs(base, interrupted, study())[0] == 2


def test_restart_drops_what_is_half_done_and_keeps_what_is_finished(base, interrupted):
    finished = list(interrupted.glob("runs/zero*/run.json"))
    stamps = [path.stat().st_mtime_ns for path in finished]
    assert epochs(base, interrupted, study(), restart=True)[0] == 1
    assert kept(interrupted) == []
    assert len(finished) == 1
    assert [path.stat().st_mtime_ns for path in finished] == stamps


def test_changed_settings_with_restart_begin_the_new_training(base, interrupted):
    changed = study(learning_rate=2 * study().training.learning_rate)
    assert epochs(base, interrupted, changed, restart=True)[0] == 1
    assert load_study(interrupted).missing() == ()


def test_settings_that_do_not_change_results_do_not_matter(base, interrupted):
    assert epochs(base, interrupted, study(checkpoint_seconds=30, storage="memory"))[0] == 2


def test_finished_runs_do_not_stand_in_the_way_of_changed_settings(base, tmp_path):
    execute(study(), base, tmp_path)
    changed = study(learning_rate=2 * study().training.learning_rate)
    execute(changed, base, tmp_path)
    assert len(list(tmp_path.glob("runs/scratch-*/run.json"))) == 2


def test_changed_shapes_begin_the_training_again_and_say_so(base, interrupted, monkeypatch):
    """Shapes hang on the frames of all runs, so another entry in the study can change them."""
    planned = runs.plan_shapes

    def larger(*arguments, **choices):
        shapes = planned(*arguments, **choices)
        return tuple(shape._replace(slots=shape.slots + 8) for shape in shapes)

    monkeypatch.setattr(runs, "plan_shapes", larger)
    with pytest.warns(RuntimeWarning, match="began again"):
        assert epochs(base, interrupted, study())[0] == 1
    records = load_study(interrupted)
    assert records.failures() == ()
    (run,) = records.by_name()["scratch"]
    assert any("began again" in note and "shapes" in note for note in run.info.notes)


def test_what_a_finished_run_left_behind_is_removed(base, tmp_path):
    execute(study(), base, tmp_path)
    (run,) = tmp_path.glob("runs/scratch-*")
    (run / UNFINISHED).mkdir()
    (run / UNFINISHED / "000000000001.npz").write_bytes(b"")
    execute(study(), base, tmp_path)
    assert kept(tmp_path) == []
