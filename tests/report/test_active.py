import numpy as np
import pytest

from mlffjax.report.active import choice_table, curve_figure, round_table
from mlffjax.study.active_records import CampaignInfo, Choice, End, Failure, Pick, Round

ERRORS = {("path", 0): [-0.4, 0.1], ("path", 1): [0.6, -0.3], ("md", 0): [-0.4, 0.5]}


def round_of(arm, seed, number, error):
    pick = Pick(name=f"image{number}", source="", score=0.25)
    choice = Choice(fingerprint="0", candidates=7, dropped={}, picks=(pick,))
    failure = Failure(name="image9", source="", reason="did not converge")
    return Round(
        arm=arm, seed=seed, number=number, study="", frames=4, labels=2 * number,
        asked=2 * number, choices=(choice,) * number, failures=(failure,) * number, members=1,
        values={"deep": {"barrier_error": error, "barrier": 1.0}},
    )  # fmt: skip


@pytest.fixture
def info():
    rounds = tuple(
        round_of(arm, seed, number, error)
        for (arm, seed), errors in ERRORS.items()
        for number, error in enumerate(errors)
    )
    end = End(arm="path", seed=0, status="budget", reason="1 rounds are done")
    return CampaignInfo(name="x", config={"held_out": ["deep"]}, rounds=rounds, ends=(end,))


def test_curves_are_means_of_magnitudes_over_seeds(info):
    (panel,) = curve_figure(info).panels
    band, line, *marks = [trace for trace in panel.traces if trace.series == "path"]
    assert line.x == (0.0, 2.0)
    assert line.y == pytest.approx([0.5, 0.2])
    spread = np.std([0.1, 0.3], ddof=1)
    assert (band.low[1], band.high[1]) == pytest.approx((0.2 - spread, 0.2 + spread))
    assert sorted(mark.y[0] for mark in marks) == pytest.approx([0.1, 0.3, 0.4, 0.6])
    single = [trace.form for trace in panel.traces if trace.series == "md"]
    assert single == ["line", "marks", "marks"]  # one seed has no band
    assert "held out from all arms: deep" in curve_figure(info).caption


def test_tables_say_what_was_chosen_and_how_it_ended(info):
    rows = {(row[0].text, row[1].text): row for row in round_table(info).rows}
    assert rows["path", "2"][3].value == pytest.approx(0.2)
    assert rows["path", "2"][2].text == "2"
    first, second = choice_table(info).rows[:2]
    assert first[-1].text == ""
    assert "budget" in second[-1].text
    assert second[4].text == "image1 (0.25)"
    assert second[5].text == "image9: did not converge"


def test_without_references_the_figure_says_why_it_is_empty(info):
    bare = tuple(one.model_copy(update={"values": {}}) for one in info.rounds)
    assert "reference" in curve_figure(info.model_copy(update={"rounds": bare})).missing
