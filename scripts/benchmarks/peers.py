"""The sides of the benchmark: their environments, and processes that are asked to measure."""

import argparse
import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

# glibc's allocator maps and unmaps large buffers on every call; keeping them makes mace-torch up to
# twice as fast. It must be asked for before a process starts.
TUNED_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "1073741824",
}


class Side(NamedTuple):
    """A program that takes part."""

    script: str
    environment: str
    options: tuple[str, ...] = ()


SIDES = {
    "mlffjax": Side("side_mlffjax.py", "mlffjax"),
    "mace_torch": Side("side_mace_torch.py", "mace_torch"),
    "mace_torch_script": Side("side_mace_torch.py", "mace_torch", ("--script",)),
    "torch_sim": Side("side_torch_sim.py", "torch_sim"),
    "mlip": Side("side_mlip.py", "mlip"),
    "mace_jax": Side("side_mace_jax.py", "mace_jax"),
}

# What pip is asked for, in turn: mace-torch alone takes whatever torch is newest. jax 0.10.2, which
# mlip would get, computes wrong numbers on CPUs (jax-ml/jax#39103).
REQUIREMENTS = {
    "mace_torch": (["torch==2.13.0"], ["mace-torch==0.3.16"]),
    "torch_sim": (["torch==2.13.0"], ["mace-torch==0.3.16", "torch-sim-atomistic"]),
    "mlip": (["mlip==0.2.5", "jax!=0.10.2,!=0.11.1"],),
    "mace_jax": (["torch==2.13.0"], ["mace-torch==0.3.16", "jax!=0.10.2,!=0.11.1"]),
}


class Failed(Exception):
    """A side could not do what it was asked for; the message says why."""


def interpreter(side: str, options: argparse.Namespace) -> Path:
    """The Python of a side; makes its environment if there is none.

    Raises:
        SystemExit: an environment that was named does not exist, or pip fails.
    """
    name = SIDES[side].environment
    given = dict(each.split("=", 1) for each in options.python)
    if name in given:
        if not Path(given[name]).exists():
            raise SystemExit(f"expected a Python for {name}, found nothing at {given[name]}")
        return Path(given[name])
    if name == "mlffjax":
        return Path(sys.executable)
    folder = options.environments.resolve() / name
    python, finished = folder / "bin" / "python", folder / "finished"
    if not finished.exists():
        print(f"making an environment for {name} in {folder}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        for wanted in REQUIREMENTS[name]:
            _run([str(python), "-m", "pip", "install", "--quiet", *wanted])
        if name == "mace_jax":
            _run([str(python), "-m", "pip", "install", "--quiet", "-e", str(options.mace_jax)])
        finished.touch()
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")


class Worker:
    """A side that waits for requests in a process of its own."""

    def __init__(
        self, side: str, python: Path, case: Mapping[str, Any], options: argparse.Namespace
    ) -> None:
        """Start it on the cores of the case.

        Raises:
            Failed: it does not start, or does not know the work.
        """
        self._patience, self._memory = options.patience, options.memory
        all_cores = os.sched_getaffinity(0)
        cores = sorted(all_cores)[: case["cores"]]
        made = SIDES[side]
        script = Path(__file__).parent / made.script
        self._log = open(options.out / f"{side}.log", "a")  # noqa: SIM115 - closed by stop
        os.sched_setaffinity(0, cores)  # which a new process inherits
        try:
            self._process = subprocess.Popen(
                [str(python), str(script), *made.options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=environment(
                    len(cores), tuned=case["malloc"] == "tuned", devices=case.get("devices", 1)
                ),
            )
        finally:
            os.sched_setaffinity(0, all_cores)
        try:
            hello = self._answer()
            if case["work"] not in hello["works"]:
                raise Failed("offers nothing of the kind")
        except Failed:
            self.stop()
            raise
        self._versions = hello["versions"]

    def prepare(self, case: Mapping[str, Any], weights: Path) -> dict[str, Any]:
        """Make the work of a case and do it once."""
        request = {"do": "prepare", "case": dict(case), "weights": str(weights)}
        if case["work"] == "paths":
            request["case"]["paths"] = 100
        return self._asked(request) | {"versions": self._versions}

    def measure(self, calls: int) -> dict[str, Any]:
        """CPU and wall seconds of one unit."""
        return self._asked({"do": "measure", "calls": calls})

    def end(self) -> dict[str, Any]:
        """Peak memory; the process leaves."""
        return self._asked({"do": "end"})

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._log):
            if file is not None:
                with contextlib.suppress(BrokenPipeError):
                    file.close()

    def _asked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except OSError as error:
            raise Failed("it died") from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        """Its next line; it may neither take forever nor all the memory."""
        pipe = self._process.stdout
        assert pipe is not None
        start = time.monotonic()
        while not select.select([pipe], [], [], 0.2)[0]:
            if time.monotonic() - start > self._patience:
                raise Failed(f"no answer within {self._patience:g} s")
            if (size := self._resident()) > self._memory:
                raise Failed(f"takes more than {self._memory:g} GB ({size:.1f})")
        line = pipe.readline()
        while line and not line.startswith("{"):  # what an import printed
            line = pipe.readline()
        if not line:
            raise Failed(f"it died with exit code {self._process.wait()}; see its log")
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def _resident(self) -> float:
        """GB."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0.0
        return int(pages) * os.sysconf("SC_PAGE_SIZE") / 1e9


def environment(threads: int, *, tuned: bool, devices: int = 1) -> dict[str, str]:
    """Environment variables of a side: so many threads, allocator as asked, nothing cached."""
    left_out = {*TUNED_MALLOC, "XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    counts = ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    kept |= dict.fromkeys(counts, str(threads))
    kept |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    if devices > 1:
        kept["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    return kept | (TUNED_MALLOC if tuned else {})
