"""What ``study`` and ``sweep`` have in common: options, processes."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from mlffjax.study.config import StudyConfig

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=VALUE", help="Change an entry; may be repeated."),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Where to write.", show_default="results/<name>"),
]
Executor = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="KIND",
        help="Where runs are computed: local, ray or submitit (Slurm); as executor.kind.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Runs at a time; as executor.workers."),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Begin interrupted trainings again; what is finished stays."),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read and check everything, show the plan, do nothing.")
]
Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate",
        help="As --dry-run, and do a few steps to tell how long it may take and how much memory.",
    ),
]
Figures = Annotated[bool, typer.Option("--figures", help="Also write every figure as PDF and PNG.")]


def executor_entries(kind: str | None, workers: int | None) -> dict[str, str | int]:
    """The two options as entries of a study, by dotted path."""
    given = {"executor.kind": kind, "executor.workers": workers}
    return {path: value for path, value in given.items() if value is not None}


@contextlib.contextmanager
def leading(config: "StudyConfig", base: Path, *, known: bool = True) -> Iterator[bool]:
    """Join the other processes of a study, if there are any, and end with them.

    Args:
        config: the study, the same in all processes.
        base: directory that its relative paths start from.
        known: whether all runs are known beforehand, so that several processes can share them.

    Yields:
        Whether this process is the one to carry out the study; if not, it has already helped.

    Raises:
        ConfigError: the environment tells incompletely of other processes, or there are some and
            the runs are not known.
    """
    import jax

    from mlffjax import health
    from mlffjax.errors import ConfigError
    from mlffjax.study import distributed

    if not config.executor.in_process:
        _leave_accelerators_to_workers()  # before anything starts jax on them
        health.require_sound_jax()
        yield True
        return
    first = distributed.join()
    with _ending_together():
        if not known and jax.process_count() > 1:
            raise ConfigError(
                "a search chooses variants by what came of others, which the first process alone "
                f"knows; expected one process, got {jax.process_count()}: start one and give it "
                "workers (--executor), or ask for a grid"
            )
        health.require_sound_jax()
        if not first:
            distributed.assist(config, base)
        yield first


def _leave_accelerators_to_workers() -> None:
    """Plan and judge on the CPU: a process that starts jax on a GPU takes most of its memory."""
    import jax

    jax.config.update("jax_platforms", "cpu")


@contextlib.contextmanager
def _ending_together() -> Iterator[None]:
    """An error of one of several processes ends all of them.

    At its end a process waits for the others, which wait for it in the middle of a step. One that
    goes without waiting is missed at once by jax, which ends the others.
    """
    import jax

    try:
        yield
    except (typer.Exit, SystemExit):
        raise  # all is done
    except BaseException as error:
        if jax.process_count() > 1:
            _leave_at_once(error)
        raise


def _leave_at_once(error: BaseException) -> NoReturn:
    from mlffjax.cli import main

    code = main.tell(error, show=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
