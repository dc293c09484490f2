"""Starts commands, kills them, and starts them again until they are done."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faults import commands, mortal
from faults.commands import Command

TESTS = Path(__file__).parents[1]
KILLED = -9
LEAST = 10  # changes among which the last kills of a round fall
SAID = 3000  # characters of what a command said in the message of a failure


@dataclass
class Undisturbed:
    """A command that nobody disturbed."""

    contents: dict
    changes: int
    seconds: float


@dataclass
class Tally:
    """What a campaign came to."""

    kills: int = 0
    starts: int = 0
    rounds: int = 0
    at_changes: int = 0
    at_times: int = 0
    kept: int = 0
    """Finished files that were found untouched after a later start."""


@dataclass(frozen=True)
class Moment:
    """When a process dies: before a change of its output, or after some seconds."""

    change: int = 0
    seconds: float | None = None


class Harness:
    """Runs commands in a folder with their inputs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        commands.write_inputs(folder)
        path = os.pathsep.join(entry for entry in (str(TESTS.parent), str(TESTS)) if entry)
        self.environment = os.environ | {
            "PYTHONPATH": path,
            "JAX_PLATFORMS": "cpu",
            # A cache of its own, also for small programs: every start compiles the same ones, and
            # a process that is killed while it writes there must not spoil the next.
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }

    def count_of(self, out: Path) -> Path:
        """File with the number of changes; not on the disk of the output, which may be full."""
        return self.folder / f"{out.parent.name}-{out.name}.count"

    def begin(self, command: Command, out: Path, fatal: int = 0) -> subprocess.Popen:
        """Start a command that dies before a change of its output; 0: it does not."""
        return subprocess.Popen(
            [sys.executable, mortal.__file__, str(out), str(fatal), str(self.count_of(out)),
             *command.arguments, str(out)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def complete(self, command: Command, out: Path) -> Undisturbed:
        """Run a command to its end, which must be a good one."""
        start = time.monotonic()
        process = self.begin(command, out)
        said, _ = process.communicate()
        seconds = time.monotonic() - start
        assert process.returncode == 0, said.decode()[-SAID:]
        count = int(self.count_of(out).read_text())
        return Undisturbed(commands.contents(out), count, seconds)

    def kill(self, command: Command, out: Path, moment: Moment) -> bool:
        """Start a command and kill it; whether it was killed before it was done."""
        process = self.begin(command, out, moment.change)
        try:
            said, _ = process.communicate(timeout=moment.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            said, _ = process.communicate()
        assert process.returncode in (0, KILLED), said.decode()[-SAID:]
        return process.returncode == KILLED


def moment_of(rng: np.random.Generator, undisturbed: Undisturbed, left: int) -> Moment:
    """A random moment, three of four at a change of a file, where there is most to lose.

    Args:
        rng: decides.
        undisturbed: the command without a kill.
        left: changes that may be left to do.
    """
    if rng.random() < 0.75:
        return Moment(change=int(rng.integers(1, left + 1)))
    return Moment(seconds=float(rng.uniform(0.2, 0.9)) * undisturbed.seconds)


def campaign(
    harness: Harness,
    command: Command,
    undisturbed: Undisturbed,
    rng: np.random.Generator,
    *,
    kills: int,
    each: int,
    tally: Tally,
    until: float = np.inf,
) -> None:
    """Kill a command again and again, and compare what comes of it.

    Args:
        harness: where the inputs are.
        command: to be killed.
        undisturbed: what must come of it.
        rng: decides about the moments.
        kills: in all.
        each: most kills of one output directory, before the command may finish.
        tally: is kept up.
        until: of the monotonic clock; no round begins later.
    """
    wanted = tally.kills + kills
    while tally.kills < wanted and time.monotonic() < until:
        tally.rounds += 1
        out = harness.folder / f"{command.name}-{tally.rounds}"
        prepare(command, harness, out)
        before: dict[str, tuple[int, bytes]] = {}
        left = undisturbed.changes
        for _ in range(min(each, wanted - tally.kills)):
            moment = moment_of(rng, undisturbed, left)
            tally.starts += 1
            died = harness.kill(command, out, moment)
            if out.is_dir():
                commands.contents(out)  # whatever is there is whole
            before = _kept(before, out, tally)
            if not died:
                break
            left = max(left - moment.change, LEAST)
            tally.kills += 1
            tally.at_changes += bool(moment.change)
            tally.at_times += not moment.change
        tally.starts += 1
        found = harness.complete(command, out)
        _kept(before, out, tally)
        where = f"{command.name}, round {tally.rounds}"
        commands.assert_equal(found.contents, undisturbed.contents, command.rtol, where)
        assert leftovers(out) == [], where


def prepare(command: Command, harness: Harness, out: Path) -> None:
    """A report needs a study to tell of."""
    if command.name == "report":
        study = harness.folder / "study-done"
        if not study.exists():
            harness.complete(commands.COMMANDS["study"], study)
        shutil.copytree(study, out)
        (out / "report.html").unlink()


def leftovers(out: Path) -> list[str]:
    """Files that killed processes left and nobody has use for."""
    hidden = (f.relative_to(out) for f in out.rglob(".*") if f.name != ".lock")
    return sorted(str(file) for file in hidden)


def _kept(
    before: dict[str, tuple[int, bytes]], out: Path, tally: Tally
) -> dict[str, tuple[int, bytes]]:
    """Files that were finished before must be the same files still; those finished now."""
    now = commands.finished(out) if out.is_dir() else {}
    for name, (written, content) in before.items():
        assert name in now, f"{name} was finished and is gone"
        assert now[name] == (written, content), f"{name} was finished and is written again"
        tally.kept += 1
    return now
