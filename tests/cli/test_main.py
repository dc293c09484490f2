"""Asking for help is cheap; errors are one message and a distinct exit code."""

import subprocess
import sys

import pytest
import typer

from mlffjax import registry
from mlffjax.cli import main
from mlffjax.errors import ConfigError, HealthError, InputError

# pydantic is not among them: typer imports it.
HEAVY = ("jax", "numpy", "ase", "yaml", "matplotlib", "plotly", "sklearn", "flax")


def run(capsys, *arguments):
    """Exit code, standard output and standard error of a command."""
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.mark.parametrize("arguments", [["--help"], ["study", "--help"], ["data", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys; from mlffjax.cli import main\n"
        f"try: main.main({arguments})\n"
        f"finally: print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in out.stdout
    assert out.stdout.rstrip().endswith("heavy: []")


def test_every_file_is_a_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == main.OK
    assert "Exit codes" in out
    for name in registry.kinds("cli"):
        assert name == "main" or name in out


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out.split()[0]) == (main.OK, "mlffjax")


@pytest.mark.parametrize("arguments", [["nothing"], ["study", "--nothing"], ["data"]])
def test_wrong_usage_is_refused(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert code == main.REFUSED
    assert "Traceback" not in out + err


@pytest.fixture
def failing(monkeypatch):
    """Make the program consist of one command that raises what the test wants."""

    def prepare(error: BaseException) -> None:
        def fail() -> None:
            raise error

        app = typer.Typer(pretty_exceptions_enable=False)
        app.callback()(lambda: None)
        app.command("fail")(fail)
        monkeypatch.setattr(main, "make_app", lambda: app)

    return prepare


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("a.xyz frame 3: no energy"), main.REFUSED, "error: a.xyz frame 3: no energy\n"),
        (ConfigError("x"), main.REFUSED, "error: x\n"),
        (HealthError("x"), main.REFUSED, "error: x\n"),
        (KeyboardInterrupt(), main.INTERRUPTED, "interrupted; what was finished is kept\n"),
        (ZeroDivisionError("x"), main.UNEXPECTED, "unexpected error: ZeroDivisionError: x\n"),
        (typer.Exit(main.FAILED), main.FAILED, ""),
    ],
)
def test_errors_are_one_message_and_a_code(capsys, failing, error, code, message):
    failing(error)
    got, out, err = run(capsys, "fail")
    assert got == code
    assert out == ""
    assert err.startswith(message)
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [["--traceback", "fail"], ["fail", "--traceback"]])
@pytest.mark.parametrize("error", [InputError("bad"), ZeroDivisionError("bad")])
def test_traceback_shows_where(capsys, failing, arguments, error):
    failing(error)
    _, _, err = run(capsys, *arguments)
    assert "Traceback" in err
    assert "raise error" in err
    assert "run again" not in err
