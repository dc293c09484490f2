"""Entry point of ``mlffjax``: commands, exit codes and the manners of errors."""

import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer

import mlffjax
from mlffjax import registry
from mlffjax.cli import _output
from mlffjax.errors import MlffjaxError, said

OK, FAILED, REFUSED, UNEXPECTED, INTERRUPTED = 0, 1, 2, 70, 130
EXIT_CODES = (
    "Exit codes: 0 done; 1 done, but something failed (the output says what); 2 refused, with one "
    "message saying why; 3 waiting for labels (active); 70 an error nobody expected; 130 "
    "interrupted."
)

_arguments: list[str] = []
"""Of this process, for the form of errors."""


def make_app() -> typer.Typer:
    """The application with all commands; ``main`` adds the manners of errors."""
    app = typer.Typer(
        name="mlffjax",
        help="Machine-learned force fields: train, probe, compare, decide.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in registry.kinds("cli"):
        if name != "main":
            app.add_typer(registry.resolve("cli", name).app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    _arguments[:] = arguments
    show = "--traceback" in arguments  # accepted anywhere, before or after the command
    try:
        make_app()([argument for argument in arguments if argument != "--traceback"])
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        _leave(stop, show=show)
    except Exception as error:
        _leave(error, show=show)


def tell(error: BaseException, *, show: bool) -> int:
    """Tell the user of an error, as the command line asks; returns the exit code."""
    message, code = told(error, show=show)
    if _output.wants_json(_arguments):
        _output.emit("error", {"text": message.removeprefix("error: "), "exit_code": code})
    else:
        print(message, file=sys.stderr)  # noqa: T201
    return code


def told(error: BaseException, *, show: bool) -> tuple[str, int]:
    """What the user is told of an error, and the exit code; ``show``: a traceback is shown."""
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return "interrupted; what was finished is kept", INTERRUPTED
    if isinstance(error, MlffjaxError):
        return f"error: {error}", REFUSED
    hint = "" if show else "\nrun again with --traceback to see where"
    return f"unexpected error: {said(error)}{hint}", UNEXPECTED


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mlffjax {mlffjax.__version__}")
        raise typer.Exit


def _options(
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the code an error arose.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", is_eager=True, callback=_version
        ),
    ] = False,
) -> None:
    """Options of all commands; both act elsewhere and are declared here to appear in --help."""
    del traceback, version


def _leave(error: BaseException, *, show: bool) -> None:
    if show:
        traceback.print_exc()
    sys.exit(tell(error, show=show))


if __name__ == "__main__":
    main()
