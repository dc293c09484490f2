"""What every side of the benchmark does: take one case, prepare it, be timed on request, tell.

A side is a program of its own, run by the Python of its environment. It reads requests from its
standard input and answers on its standard output, a line of JSON each::

    {"do": "prepare", "case": {...}, "weights": "FILE.npz"}   -> first_s, first_cpu_s, answer
    {"do": "measure", "calls": 3}                             -> wall_s, cpu_s: of one unit
    {"do": "end"}                                             -> peak_rss_mb, call_mb

Memory is told twice: the peak of the process, with imports and compilation, and what the calls
after the first one need on top of what was there before them.

Sides differ in one dictionary only: from the name of a work to the function that makes it.
"""

import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Spent(NamedTuple):
    """Time that a call measured itself, for instance without its start."""

    wall_s: float
    cpu_s: float
    units: int


class Work(NamedTuple):
    """Something to be timed."""

    call: Callable[[], object]
    """Does it once and waits for the result; may return ``Spent``."""
    units: int = 1
    """How many of what is counted (steps, paths) a call does."""
    answer: Callable[[], dict[str, Any]] | None = None
    """Energies (eV) and forces (eV/Å) as lists, for comparison."""


Make = Callable[[Mapping[str, Any], str], Work]
"""From a case and the file of weights to the work."""


def serve(works: Mapping[str, Make], versions: Mapping[str, str]) -> None:
    """Answer requests until asked to end."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer

    def say(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    say(works=sorted(works), versions=dict(versions))
    work: Work | None = None
    memory = Memory()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                start = time.perf_counter()
                work = works[request["case"]["work"]](request["case"], request["weights"])
                prepared = time.perf_counter() - start
                wall, cpu, _ = timed(work)
                answer = work.answer() if work.answer else None
                memory.settle()
                times = {"prepare_s": prepared, "first_s": wall, "first_cpu_s": cpu}
                say(**times, units=work.units, answer=answer)
            elif request["do"] == "measure":
                assert work is not None
                say(**measured(work, request["calls"]))
            else:
                say(**memory.told())
                return
        except Exception as error:  # whatever it is, it is told
            say(error=f"{type(error).__name__}: {error}"[:500])


def timed(work: Work) -> Spent:
    """One call; its first one includes whatever is compiled."""
    wall, cpu = time.perf_counter(), time.process_time()
    found = work.call()
    own = Spent(time.perf_counter() - wall, time.process_time() - cpu, work.units)
    return found if isinstance(found, Spent) else own


def measured(work: Work, calls: int) -> dict[str, float]:
    """Mean over some calls, of one unit."""
    spent = [timed(work) for _ in range(calls)]
    units = sum(each.units for each in spent)
    wall, cpu = (sum(getattr(each, name) for each in spent) for name in ("wall_s", "cpu_s"))
    return {"wall_s": wall / units, "cpu_s": cpu / units, "calls": calls}


class Memory:
    """Memory of this process, MB; that of calls is known on Linux only."""

    def __init__(self) -> None:
        self._before: float | None = None
        self._first = 0.0

    def settle(self) -> None:
        """Give back what is free, note what is left, and forget the peak."""
        self._first = peak()
        try:
            ctypes.CDLL(None).malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")
            self._before = status("VmRSS")
        except (OSError, AttributeError, ValueError):
            self._before = None

    def told(self) -> dict[str, float | None]:
        """Peak of the process, and of what was done since ``settle``."""
        call = None if self._before is None else status("VmHWM") - self._before
        return {"peak_rss_mb": max(self._first, peak()), "call_mb": call}


def peak() -> float:
    """Largest resident memory so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def status(name: str) -> float:
    """An entry of the state of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{name}:"))
    return float(line.split()[1]) / 1024
