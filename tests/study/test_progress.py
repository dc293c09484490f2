import pytest

from mlffjax.study import progress
from mlffjax.study.progress import Meter


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left_follows_from_the_speed_of_work_done_here(clock):
    events = []
    meter = Meter(events.append)
    for name in ("old", "a", "b"):
        meter.plan(name, 100.0)
    meter.skip("old")
    meter.tell("train", "a", "", fraction=0.0)
    assert events[-1].seconds_left is None
    clock[0] = 10.0
    meter.tell("train", "a", "", fraction=0.5)
    # 50 frames in 10 s; 150 are left.
    assert (events[-1].done, events[-1].total) == (150.0, 300.0)
    assert events[-1].seconds_left == pytest.approx(30.0)


def test_what_a_run_does_not_need_is_not_counted_as_speed(clock):
    events = []
    meter = Meter(events.append)
    meter.plan("a", 100.0)
    meter.plan("b", 100.0)
    meter.tell("train", "a", "", fraction=0.0)
    clock[0] = 10.0
    meter.tell("train", "a", "", fraction=0.2)
    meter._done["a"] = 100.0  # stopped early
    meter.tell("train", "b", "", fraction=0.0)
    # 20 frames took 10 s, so the 100 of b take 50 s.
    assert events[-1].seconds_left == pytest.approx(50.0)


def test_never_goes_back(clock):
    events = []
    meter = Meter(events.append)
    meter.plan("a", 10.0)
    for fraction in (0.5, 0.2, 0.6):
        meter.tell("train", "a", "", fraction=fraction)
    assert [event.done for event in events] == [5.0, 5.0, 6.0]
    meter.tell("train", "a", "", fraction=0.6, finished=True)
    assert events[-1].done == 10.0
