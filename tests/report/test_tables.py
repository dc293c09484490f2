"""Tables: rounding for readers, unrounded numbers for CSV."""

import pytest

from mlffjax.report import panels, tables
from mlffjax.report.tables import Cell, Column, Table
from mlffjax.study.records import load_study
from mlffjax.study.verdict import VerdictConfig, judge

PLAIN = Column("m", "M", 1e3, 1)
SIGNED = Column("m", "M", digits=2, signed=True)
WORST = Column("m", "M", worst=True)


@pytest.mark.parametrize(
    ("value", "spread", "column", "text"),
    [
        (0.0372, None, PLAIN, "37.2"),
        (0.0372, 0.0006, PLAIN, "37.2 ± 0.6"),
        (None, None, PLAIN, tables.DASH),
        (0.16, None, SIGNED, "+0.16"),
        (-0.001, None, SIGNED, "+0.00"),  # no sign is left of what rounds to nothing
        (-3e-5, None, WORST, "-3.0e-5"),
    ],
)
def test_numbers_are_rounded_for_reading(value, spread, column, text):
    assert tables.number(value, column, spread=spread).text == text


def test_csv_keeps_every_digit_and_the_deviation():
    cells = (Cell("a", "a"), tables.number(1 / 3, PLAIN, spread=1e-3))
    table = Table(
        "k", "t", "c", ("Name", "M"), (cells, (Cell("b", "b"), tables.number(None, PLAIN)))
    )
    columns, rows = tables.numbers_of(table)
    assert columns == ("Name", "M", "M std")
    assert rows == [["a", 1e3 / 3, 1.0], ["b", "", None]]
    assert panels.csv_text(columns, rows).splitlines()[2] == "b,,"


def test_paths_have_a_row_per_candidate_and_path(study):
    records = load_study(study)
    table = tables.path_table(records)
    assert len(table.rows) == 2 * len(records.by_name())
    assert all(len(row) == len(table.columns) for row in table.rows)
    scratch = table.rows[0]
    assert scratch[table.columns.index("Force slope")].text == tables.DASH


def test_closure_shows_the_worst_seed_and_its_limit(study):
    table = tables.sliding_table(load_study(study))
    cell = {row[0].text: row[-1] for row in table.rows}["foundation"]
    assert cell.value == 3e-5
    assert "1e-6 eV" in table.caption


def test_scores_list_every_candidate_best_first(study):
    verdict = judge(load_study(study), VerdictConfig.model_validate({}))
    table = tables.score_table(verdict)
    assert [row[0].text for row in table.rows] == [c.name for c in verdict.candidates]
    assert {cell.look for row in table.rows for cell in row} >= {"pass", "fail", "unknown"}


def test_errors_by_kind_of_frame(study):
    table = tables.kinds_table(load_study(study))
    assert {row[1].text for row in table.rows} == {"md_doped_600K", "md_doped_300K"}
    assert table.rows[0][2].text == "82.7"


def test_runs_and_provenance_are_complete(study):
    records = load_study(study)
    assert len(tables.runs_table(records).rows) == len(records.runs)
    entries = {row[0].text: row[1].text for row in tables.provenance_table(records).rows}
    assert entries["Data digest"] == "ab12cd34ef56"
    assert entries["Functional"] == "PBE"


def test_without_records_tables_say_so(make_study):
    records = load_study(make_study({"foundation": (0,)}, probes={}))
    for make in (
        tables.accuracy_table,
        tables.path_table,
        tables.sliding_table,
        tables.kinds_table,
    ):
        assert make(records).missing
