"""The loop that hands out tasks, with jobs that do as they are told."""

from pathlib import Path

import pytest

from mlffjax.study.executors import _messages
from mlffjax.study.executors._executor import Executor, Task, drive


class Script:
    """An executor whose jobs end as written: name of the task -> one ending per try."""

    def __init__(self, endings, places=None, lag=0.0):
        self.endings, self.places, self.lag = endings, places, lag
        self.tried: list[str] = []
        self.most = self.running = 0

    def submit(self, payload):
        name = payload["name"]
        ending = self.endings[name][self.tried.count(name)]
        self.tried.append(name)
        self.running += 1
        self.most = max(self.most, self.running)
        return Scripted(self, ending, Path(payload["messages"]))


class Scripted:
    """Runs for three looks, says its last words unless it dies."""

    def __init__(self, executor, ending, file):
        self.executor, self.ending, self.file = executor, ending, file
        self.looks = 3

    def ended(self):
        self.looks -= 1
        if self.looks:
            _messages.write(self.file, {"look": self.looks})
            return None
        self.executor.running -= 1
        if self.ending == "says nothing":
            return ""
        if not self.ending.startswith("died"):
            _messages.end(self.file, self.ending)
            return ""
        return self.ending


def never(task, reason):
    pytest.fail(reason)


def driven(endings, folder, *, retries=1, **options):
    executor = Script(endings, **options)
    assert isinstance(executor, Executor)
    heard, failed = [], {}
    drive(
        [Task(name, {"name": name}) for name in endings],
        executor,
        retries=retries,
        folder=folder,
        hear=lambda task, message: heard.append((task.name, message)),
        fail=lambda task, reason: failed.update({task.name: reason}),
    )
    return executor, heard, failed


def test_all_tasks_are_done_and_heard(tmp_path):
    executor, heard, failed = driven({"a": [""], "b": [""]}, tmp_path)
    assert (executor.tried, failed) == (["a", "b"], {})
    assert heard == [("a", {"look": 2}), ("b", {"look": 2}), ("a", {"look": 1}), ("b", {"look": 1})]


def test_no_more_at_a_time_than_there_are_places(tmp_path):
    endings = {name: [""] for name in "abcde"}
    assert driven(endings, tmp_path, places=2)[0].most == 2
    assert driven(endings, tmp_path / "all")[0].most == 5


def test_dead_tasks_are_tried_again_after_the_others(tmp_path):
    executor, heard, failed = driven({"a": ["died", ""], "b": [""]}, tmp_path, places=1)
    assert (executor.tried, failed) == (["a", "b", "a"], {})
    assert ("a", {"note": "a: died; trying again"}) in heard


@pytest.mark.parametrize(("retries", "tries"), [(0, ""), (2, " after 3 tries")])
def test_tasks_that_always_die_are_given_up_with_the_last_reason(tmp_path, retries, tries):
    endings = {"a": ["died of cold", "died of heat", "died"][-1 - retries :], "b": [""]}
    executor, _, failed = driven(endings, tmp_path, retries=retries)
    assert failed == {"a": f"given up{tries}: died"}
    assert executor.tried.count("a") == 1 + retries


def test_errors_that_workers_report_are_reasons(tmp_path):
    _, _, failed = driven({"a": ["InputError: no such file"]}, tmp_path, retries=0)
    assert failed == {"a": "given up: InputError: no such file"}


def test_silence_after_a_clean_end_hints_at_the_file_system(tmp_path):
    _, _, failed = driven({"a": ["says nothing"]}, tmp_path, retries=0)
    assert "a file system that all machines share" in failed["a"]


def test_last_words_may_arrive_late(tmp_path):
    """As on network file systems, which show the end of the job before what it wrote."""

    class Late(Scripted):
        def ended(self):
            if super().ended() is None:
                return None
            self.late = getattr(self, "late", 0) + 1
            return ""

    class Network(Script):
        def submit(self, payload):
            return Late(self, "says nothing", Path(payload["messages"]))

    executor = Network({}, lag=30.0)
    looks = 0

    def hear(task, message):
        nonlocal looks
        looks += 1

    reader = _messages.Reader.new
    calls = 0

    def delayed(self):
        nonlocal calls
        calls += 1
        if calls == 6:
            _messages.end(self.file)
        return reader(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_messages.Reader, "new", delayed)
        drive([Task("a", {})], executor, retries=0, folder=tmp_path, hear=hear, fail=never)
    assert calls == 6


def test_what_the_listener_raises_ends_the_loop(tmp_path):
    def raise_error(task, message):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(
            [Task("a", {"name": "a"})],
            Script({"a": [""]}),
            retries=0,
            folder=tmp_path,
            hear=raise_error,
            fail=never,
        )
