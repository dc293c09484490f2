import pytest

from mlffjax.study.executors import _messages
from mlffjax.study.progress import Meter


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "task.1.jsonl"


def test_meter_hears_what_the_relay_is_told(file, monkeypatch):
    monkeypatch.setattr(_messages, "INTERVAL", 0.0)
    events, expected = [], []
    relay, meter, plain = _messages.Relay(file), Meter(events.append), Meter(expected.append)
    for subject in ("a", "b"):
        meter.plan(subject, 10.0)
        plain.plan(subject, 10.0)
    for one in (relay, plain):
        one.plan("c", 1e9)  # the other process knows what is planned
        one.tell("train", "a", "begins", fraction=0.0)
        one.tell("train", "a", "half", fraction=0.5)
        one.skip("b") if one is relay else one._done.update(b=10.0)
        one.tell("probe", "a", "ends", fraction=1.0, finished=True)
    for message in _messages.Reader(file).new():
        _messages.forward(message, meter)
    kept = [(e.stage, e.subject, e.text, e.done, e.finished) for e in events]
    assert kept == [(e.stage, e.subject, e.text, e.done, e.finished) for e in expected]
    assert events[-1].done == events[-1].total == 20.0


def test_unfinished_work_is_told_now_and_then(file):
    relay = _messages.Relay(file)
    for step in range(1000):
        relay.tell("train", "a", "", fraction=step / 1000)
    relay.tell("train", "a", "", fraction=1.0, finished=True)
    told = [message["fraction"] for message in _messages.Reader(file).new()]
    assert told[0] == 0.0
    assert told[-1] == 1.0
    assert len(told) < 10


def test_reader_follows_a_file_that_grows(file):
    reader = _messages.Reader(file)
    assert list(reader.new()) == []
    _messages.write(file, {"n": 1})
    with open(file, "a") as stream:
        stream.write('{"n": ')
    assert list(reader.new()) == [{"n": 1}]
    with open(file, "a") as stream:
        stream.write("2}\n")
    assert list(reader.new()) == [{"n": 2}]
    assert reader.end is None
    _messages.end(file, "because")
    assert list(reader.new()) == []
    assert reader.end == "because"


def test_line_torn_by_a_killed_process_is_passed_over(file):
    _messages.write(file, {"n": 1})
    with open(file, "a") as stream:
        stream.write('{"n": \n')
    _messages.end(file)
    reader = _messages.Reader(file)
    assert list(reader.new()) == [{"n": 1}]
    assert reader.end == ""


def test_progress_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "file").touch()
    _messages.Relay(tmp_path / "file" / "below").tell("train", "a", "", fraction=0.0)
    with pytest.raises(OSError, match="file"):
        _messages.end(tmp_path / "file" / "below")
