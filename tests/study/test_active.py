"""Campaigns on Lennard-Jones argon: the truth labels, a softer potential learns."""

import json

import pytest
import yaml
from study import small

from mlffjax.active.labelers import oracle
from mlffjax.active.labelers._labeler import LabelError
from mlffjax.cli import main
from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential import store
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.splits import ENTRY
from mlffjax.study import active as loop
from mlffjax.study.active_config import CampaignConfig
from mlffjax.study.active_inputs import read_inputs
from mlffjax.study.active_records import load_campaign
from mlffjax.study.records import load_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    small.write_inputs(folder)
    frames = read_frames(folder / "frames.xyz")
    write_frames(folder / "pool.xyz", frames)
    return folder


def settings(**changes):
    """Plain data of a campaign with one arm, one member and one round of two labels."""
    given = small.settings()
    shared = {key: given[key] for key in ("data", "splits", "foundation", "paths")}
    return {
        **shared,
        "name": "argon",
        "training": {"epochs": 1, "buckets": 1, "learning_rate": 1e-3},
        "strategy": {"kind": "finetune"},
        "start": {"count": 3, "method": "random"},
        "probes": [{"kind": "fixed_path", "name": "hop", "path": "hop"}],
        "held_out": ["hop"],
        "labeler": {
            "kind": "oracle", "reference": "Lennard-Jones", "files": ["pool.xyz"],
        },
        "arms": {"pool": arm("pool.xyz")},
        "seeds": [0],
        "committee": 1,
        "batch": 2,
        "budget": {"rounds": 1},
    } | changes  # fmt: skip


def arm(*files, kind="at_random", **acquisition):
    return {
        "candidates": [{"kind": "files", "files": list(files)}],
        "acquisition": {"select": {"kind": kind}, **acquisition},
    }


def config(**changes):
    return validate(settings(**changes), CampaignConfig, where="test")


def outcome(info):
    """Everything but times and directories."""
    rounds = [one.model_dump(exclude={"seconds"}) for one in info.rounds]
    return rounds, [end.model_dump() for end in info.ends]


@pytest.fixture(scope="module")
def whole(folder):
    two = {"pool": arm("pool.xyz"), "far": arm("pool.xyz", kind="farthest_point")}
    asked = config(arms=two, budget={"rounds": 2})
    return asked, loop.campaign(asked, folder, folder / "whole")


def test_every_round_is_a_study_over_more_labels(whole, folder):
    asked, info = whole
    assert [(one.arm, one.number, one.labels, one.frames) for one in info.rounds] == [
        (name, n, 2 * n, 3 + 2 * n) for name in ("pool", "far") for n in range(3)
    ]
    assert {end.status for end in info.ends} == {"budget"}
    assert load_campaign(folder / "whole") == info
    first, other = (one for one in info.rounds if one.number == 0)
    assert first.study == other.study
    start = {f.identifier for f in read_inputs(asked, folder).beginning(asked, 0)}
    for one in info.rounds:
        records = load_study(folder / "whole" / one.study)
        found = records.runs[0].metric("hop", "barrier")
        assert one.values["hop"]["barrier"] == pytest.approx(found, abs=1e-12)
        frames = read_frames(folder / "whole" / one.study / "frames.xyz")
        assert sum(f.info[ENTRY] == "train" for f in frames) == one.frames
        names = [pick.name for choice in one.choices for pick in choice.picks]
        assert len(set(names)) == (2 if one.number else 0)
        assert not set(names) & start


def test_kept_parts_never_become_candidates(whole, folder):
    asked, info = whole
    inputs = read_inputs(asked, folder)
    kept = [*inputs.parts.validation, *inputs.parts.test]
    closed = {inputs.dataset.frames[i].identifier for i in kept}
    chosen = {p.name for one in info.rounds for c in one.choices for p in c.picks}
    assert not closed & chosen
    assert info.rounds[1].choices[0].dropped["it is a frame of the validation or test part"] == len(
        kept
    )


@pytest.mark.parametrize("where", ["label", "execute", "write_json"])
def test_killed_anywhere_it_goes_on_to_the_same_records(
    whole, folder, tmp_path, where, monkeypatch
):
    asked, info = whole
    calls = iter(range(100))
    original = getattr(loop, where)

    def dying(*given, **more):
        if next(calls) == 2:
            raise KeyboardInterrupt
        return original(*given, **more)

    monkeypatch.setattr(loop, where, dying)
    with pytest.raises(KeyboardInterrupt):
        loop.campaign(asked, folder, tmp_path)
    monkeypatch.setattr(loop, where, original)
    assert outcome(loop.campaign(asked, folder, tmp_path)) == outcome(info)


def test_what_is_done_is_not_done_again(whole, folder, monkeypatch):
    asked, info = whole
    monkeypatch.setattr(loop, "acquire", lambda *a, **k: pytest.fail("chosen again"))
    monkeypatch.setattr(oracle.Oracle, "label", lambda *a: pytest.fail("labelled again"))
    assert loop.campaign(asked, folder, folder / "whole") == info


def test_a_failed_label_is_noted_and_skipped(folder, tmp_path, monkeypatch):
    right, seen = oracle.Oracle.label, []

    def label(self, frame):
        seen.append(frame.identifier)
        if len(seen) <= 3:  # the whole first batch, and one of the second
            raise LabelError("did not converge")
        return right(self, frame)

    monkeypatch.setattr(oracle.Oracle, "label", label)
    info = loop.campaign(config(), folder, tmp_path)
    last = info.rounds[-1]
    assert (last.labels, last.asked, len(last.choices)) == (1, 4, 2)
    assert [failure.name for failure in last.failures] == seen[:3]
    assert len(set(seen)) == 4
    assert sum("did not converge" in line for line in info.failures()) == 3


def test_the_budget_counts_calculations_that_fail(folder, tmp_path, monkeypatch):
    def label(self, frame):
        raise LabelError("did not converge")

    monkeypatch.setattr(oracle.Oracle, "label", label)
    info = loop.campaign(config(budget={"rounds": 5, "labels": 3}), folder, tmp_path)
    assert [(end.status, "did not converge" in end.reason) for end in info.ends] == [
        ("budget", True)
    ]
    assert len(info.rounds) == 1


def test_more_asked_than_there_are_and_then_nothing(folder, tmp_path):
    info = loop.campaign(config(batch=50, budget={"rounds": 5}), folder, tmp_path)
    (end,) = info.ends
    assert end.status == "exhausted"
    assert info.rounds[-1].number == 1
    assert any("only" in note for note in info.notes())
    left = len(read_inputs(config(), folder).parts.train) - 3
    assert info.rounds[-1].labels == left


def test_it_ends_when_the_barrier_has_settled(folder, tmp_path):
    rule = {"probe": "hop", "change": 10.0, "times": 2}
    info = loop.campaign(config(settle=rule, budget={"rounds": 9}), folder, tmp_path)
    assert info.ends[0].status == "settled"
    assert info.rounds[-1].number == 2


def test_a_metric_that_does_not_exist_ends_it_at_once(folder, tmp_path):
    info = loop.campaign(config(settle={"probe": "hop", "metric": "barier"}), folder, tmp_path)
    assert info.ends[0].status == "failed"
    assert "barrier" in info.ends[0].reason
    assert len(info.rounds) == 1


def test_images_of_a_path_that_is_held_out_are_no_candidates(folder, tmp_path):
    info = loop.campaign(config(arms={"all": arm("hop.xyz")}), folder, tmp_path)
    assert [end.status for end in info.ends] == ["exhausted"]


def test_a_command_waits_for_labels_and_goes_on(folder, tmp_path, monkeypatch, capsys):
    entries = settings(labeler={"kind": "files", "reference": "Lennard-Jones", "folder": "jobs"})
    for name in ("frames.xyz", "pool.xyz", "hop.xyz", "slide.xyz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    store.save(tmp_path / "foundation", *store.load(folder / "foundation"))
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(entries))))
    monkeypatch.chdir(tmp_path)
    assert _left(["active", "mine.yaml", "--quiet"]) == 3
    assert "waiting for labels" in capsys.readouterr().err
    for place in {file.parent for file in (tmp_path / "jobs").glob("*/structure.extxyz")}:
        (asked,) = read_frames(place / "structure.extxyz")
        write_frames(place / "result.extxyz", [small.labelled(asked.system, "new", 0)])
    assert _left(["active", "mine.yaml"]) == 0
    assert "budget" in capsys.readouterr().out
    info = load_campaign(tmp_path / "results" / "argon")
    assert (info.rounds[-1].labels, info.ends[0].status) == (2, "budget")
    report = (tmp_path / "results" / "argon" / "report.html").read_text()
    assert "What labels bring" in report
    assert "table-active-rounds" in report


def _left(arguments):
    try:
        main.main(arguments)
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labeler": {"kind": "oracle", "reference": "B3LYP", "files": ["pool.xyz"]}}, "B3LYP"),
        ({"held_out": ["hip"]}, "not under 'paths'"),
        ({"arms": {"a": {"candidates": [{"kind": "paths", "paths": ["hop"]}],
                         "acquisition": {"select": {"kind": "at_random"}}}}}, "held out"),
        ({"arms": {"a": arm("pool.xyz", kind="force_disagreement")}}, "at least 2, got 1"),
        ({"settle": {"probe": "hip"}}, "there are hop"),
        ({"start": {"method": "uncertainty"}}, "farthest_point or random"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"arms": {}}, "at least 1"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        config(**change)


def test_the_directory_of_a_study_is_left_alone(whole, folder):
    start = folder / "whole" / "start" / "s0"
    with pytest.raises(InputError, match="found the study"):
        loop.campaign(config(), folder, start)
    with pytest.raises(InputError, match="mlffjax active"):
        load_campaign(start)
