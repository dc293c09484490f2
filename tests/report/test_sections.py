"""Order and completeness of what the report says."""

from typing import Any

from mlffjax.report import style
from mlffjax.report.sections import Text, sections
from mlffjax.study.records import load_study


def content(out) -> dict[str, Any]:
    records = load_study(out)
    found = sections(records, style.looks(list(records.by_name())))
    return {section.key: section.blocks for section in found}


def test_the_verdict_comes_first_and_states_its_rule(study):
    found = content(study)
    assert next(iter(found)) == "verdict"
    emphases = [block.emphasis for block in found["verdict"] if isinstance(block, Text)]
    assert emphases[0] == "verdict"
    assert emphases[-1] == "rule"


def test_problems_name_failures_reasons_and_warnings_once(study):
    (block,) = content(study)["problems"]
    lines = block.lines
    assert "FT-600K, seed 9: the run diverged" in lines[0]
    assert not any("path 'slide_doped' has no reference energies" in line for line in lines)
    assert any("closure error" in line and "foundation" in line for line in lines)
    assert any("spin-orbit" in line for line in lines)


def test_what_was_not_asked_for_is_no_problem_and_said_once(study):
    left_out, *_ = content(study)["provenance"]
    shared = [t for t in left_out.lines if "path 'slide_doped' has no reference energies" in t]
    assert len(shared) == 1
    assert "every run" in shared[0]


def test_unfinished_runs_are_problems_and_make_the_verdict_preliminary(study):
    run = load_study(study).runs[0]
    (run.directory / "run.json").unlink()
    found = content(study)
    assert found["problems"][0].lines[0] == f"Not finished: {run.info.id}."
    assert found["verdict"][0].emphasis == "alarm"


def test_a_note_of_several_candidates_is_said_once(study):
    notes = [b for b in content(study)["training"] if isinstance(b, Text)]
    assert len(notes) == 1
    assert len(notes[0].lines) == 1
    assert notes[0].lines[0].startswith("scratch, foundation, FT-600K")
