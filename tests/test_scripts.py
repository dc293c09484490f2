"""The two commands install once, pass arguments on, and say clearly what stops them.

They run against a pretended Python that writes down what it is asked to install.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PRETENDED = """#!/usr/bin/env bash
case "$*" in
    *version_info*) exit "${TOO_OLD:-0}" ;;
    --version) echo "Python 3.99.0" ;;
    "-m venv "*)
        mkdir -p "$3/bin"
        cp "$0" "$3/bin/python"
        printf '#!/usr/bin/env bash\\necho "mlffjax in $PWD: $*"' >"$3/bin/mlffjax"
        chmod +x "$3/bin/mlffjax" ;;
    "-m pip install"*) echo "$*" >>"$LOG"; echo "pip says no"; exit "${PIP_FAILS:-0}" ;;
    "-m pytest"*) echo "pytest in $PWD: $*" ;;
    "-m pdoc"*) echo "pdoc: $*" ;;
esac
"""


class Checkout:
    """A copy of the scripts, and the environment they run in."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        shutil.copytree(ROOT / "scripts", self.root / "scripts")
        (self.root / "mlffjax" / "graphs").mkdir(parents=True)
        (self.root / "mlffjax" / "assets").mkdir()
        for module in ("__init__", "graphs/__init__", "units"):
            (self.root / "mlffjax" / f"{module}.py").touch()
        shutil.copy(ROOT / "pyproject.toml", self.root)
        python = folder / "python"
        python.write_text(PRETENDED)
        python.chmod(0o755)
        self.log = folder / "log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "LOG": str(self.log),
            "MLFFJAX_PYTHON": str(python),
        }

    def run(self, script: str, *arguments: str, **environment: str):
        return subprocess.run(
            ["bash", str(self.root / "scripts" / script), *arguments],
            env=self.environment | environment,
            cwd=self.elsewhere,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def installed(self) -> list[str]:
        """What pip was asked for, one entry a call, without its options."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        wanted = [line.split("--disable-pip-version-check ")[1] for line in lines]
        return [entry.replace(str(self.root), ".") for entry in wanted]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_study_installs_once_and_runs_the_quickstart(checkout):
    first, second = checkout.run("study.sh", "--set", "a=1"), checkout.run("study.sh")
    config = checkout.root / "configs" / "quickstart.yaml"
    assert first.stdout == f"mlffjax in {checkout.elsewhere}: study {config} --set a=1\n"
    assert second.stdout == f"mlffjax in {checkout.elsewhere}: study {config}\n"
    assert second.stderr == ""
    assert checkout.installed == ["-e ."]


def test_study_takes_another_configuration(checkout):
    result = checkout.run("study.sh", "own.yaml", "--out", "x y")
    assert result.stdout == f"mlffjax in {checkout.elsewhere}: study own.yaml --out x y\n"


def test_tests_run_in_the_checkout_with_their_arguments(checkout):
    result = checkout.run("test.sh", "-k", "graph or pair")
    assert result.stdout.startswith(f"pytest in {checkout.root}: -m pytest")
    assert result.stdout.endswith("-k graph or pair\n")
    assert checkout.installed == ["-e .[test]"]


def test_the_reference_has_every_package_and_is_rendered_where_it_is_wanted(checkout):
    said = "pdoc: -m pdoc mlffjax mlffjax.graphs mlffjax.units --docformat google"
    shown = checkout.run("docs.sh").stdout
    assert shown == f"{said} --output-directory {checkout.root}/docs\n"
    assert checkout.run("docs.sh", "here").stdout == f"{said} --output-directory here\n"
    assert checkout.run("study.sh").returncode == 0
    assert checkout.installed == ["-e .[docs]"]


def test_the_larger_installation_serves_the_smaller(checkout):
    assert checkout.run("test.sh", "--parity").stdout.endswith("--parity\n")
    checkout.run("test.sh")
    checkout.run("study.sh")
    assert checkout.installed == ["torch==2.13.0", "-e .[test,torch]"]


def test_changed_dependencies_are_installed(checkout):
    checkout.run("study.sh")
    with (checkout.root / "pyproject.toml").open("a") as file:
        file.write("# another\n")
    checkout.run("study.sh")
    checkout.run("study.sh")
    assert checkout.installed == ["-e .", "-e ."]


def test_a_failed_installation_is_told_and_tried_again(checkout):
    result = checkout.run("study.sh", PIP_FAILS="1")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "pip says no" in result.stderr
    assert "installation failed" in result.stderr
    assert checkout.run("study.sh").returncode == 0
    assert checkout.installed == ["-e .", "-e ."]


def test_too_old_a_python_is_told(checkout):
    result = checkout.run("study.sh", TOO_OLD="1")
    assert result.returncode == 2
    assert "is not a working Python >= 3.11" in result.stderr
    assert not (checkout.root / ".venv").exists()


def test_missing_python_is_told(checkout, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cat", "cksum"):
        (tools / name).symlink_to(shutil.which(name))
    result = checkout.run("study.sh", PATH=str(tools), MLFFJAX_PYTHON="")
    assert result.returncode == 2
    assert "Python >= 3.11 is needed, found no python3" in result.stderr


def test_an_environment_that_became_too_old_is_told(checkout):
    checkout.run("study.sh")
    result = checkout.run("study.sh", TOO_OLD="1")
    assert result.returncode == 2
    assert "remove" in result.stderr


@pytest.mark.parametrize("study", [0, 3])
@pytest.mark.parametrize("tests", [0, 1])
def test_continuous_integration_fails_if_either_fails(tmp_path, study, tests):
    (tmp_path / ".ci").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "scripts" / "study.sh").write_text(f"echo the study $*; exit {study}\n")
    (tmp_path / "scripts" / "test.sh").write_text(f"echo 1 passed; exit {tests}\n")
    result = subprocess.run(
        [str(tmp_path / ".ci" / "run")], capture_output=True, text=True, check=False
    )
    assert (result.returncode == 0) == (study == tests == 0)
    assert result.stdout.splitlines()[0].startswith("the study --out /")
    assert result.stdout.splitlines()[-1] == "1 passed"
