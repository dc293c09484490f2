"""Events become a bar on a terminal and a few lines elsewhere."""

import io

import pytest
from rich.console import Console

from mlffjax.cli import _progress
from mlffjax.study.progress import Event


def event(text, done, *, finished=False, left: float | None = 100.0):
    return Event("train", "run", text, done, 200.0, left, finished)


@pytest.fixture
def shown():
    """Show events, on a terminal or not, and return what was printed."""

    def show(*events, terminal):
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
        with _progress.Display(console) as display:
            for one in events:
                display(one)
        return file.getvalue()

    return show


def test_without_a_terminal_finished_work_is_a_line(shown):
    events = [
        event("start [0]", 0.0, left=None),
        event("epoch 1", 50.0),  # too soon after the line before
        event("run: ok", 100.0, finished=True),
    ]
    assert shown(*events, terminal=False).splitlines() == [
        "[  0 %] start [0]",
        "[ 50 %, about 2 min left] run: ok",
    ]


def test_without_a_terminal_long_work_shows_life(shown, monkeypatch):
    clock = iter([0.0, 31.0, 40.0])
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    lines = shown(*(event(f"epoch {n}", 10.0 * n) for n in (1, 2, 3)), terminal=False)
    assert [line.rsplit("]")[-1] for line in lines.splitlines()] == [" epoch 1", " epoch 2"]


def test_a_terminal_has_a_bar_with_the_time_left(shown):
    text = shown(event("epoch 7", 50.0), terminal=True)
    assert "epoch 7" in text
    assert "25%" in text
    assert "about 2 min left" in text


def test_an_empty_study_has_no_share(shown):
    done = Event("done", "", "complete", 0.0, 0.0, None, True)
    assert shown(done, terminal=False) == "[  0 %] complete\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, ""),
        (30.0, "under 1 min left"),
        (600.0, "about 10 min left"),
        (7200.0, "about 2.0 h left"),
    ],
)
def test_time_left_in_words(seconds, words):
    assert _progress.remaining(seconds) == words


def test_records_take_the_place_of_lines(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 8.0])
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    file, records = io.StringIO(), []
    with _progress.Display(Console(file=file), records.append) as display:
        for number, finished in enumerate((False, False, True, False)):
            display(event(f"{number}", 10.0 * number, finished=finished))
    assert [record.text for record in records] == ["0", "2", "3"]
    assert file.getvalue() == ""


def test_the_pace_leaves_out_the_first_piece(monkeypatch):
    """The first takes 100 s, most of it to compile; the others take 2 s each."""
    clock = iter([100.0, 102.0, 102.0, 104.0])
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(clock))
    events = []
    count = _progress.Counter(events.append)
    count("line", "1 of 4", 1, 4)
    assert events[-1].seconds_left is None
    count("line", "2 of 4", 2, 4)
    assert events[-1].seconds_left == pytest.approx(4.0)
    assert count.rate("line", 2) == pytest.approx(0.5)
    count("line", "4 of 4", 4, 4)
    assert (events[-1].finished, events[-1].seconds_left) == (True, 0.0)
