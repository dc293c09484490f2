"""Each check of the doctor passes here, and one that fails is seen in table and exit code."""

import pytest
from typer.testing import CliRunner

from mlffjax.cli import doctor


@pytest.mark.parametrize("name", doctor.CHECKS)
def test_checks_pass_here(name):
    assert doctor.CHECKS[name]()


@pytest.mark.parametrize(
    ("checks", "code", "text"),
    [
        ({"one": lambda: "fine"}, 0, "ok"),
        ({"one": lambda: "fine", "two": lambda: 1 / 0}, 1, "WRONG"),
    ],
)
def test_a_failed_check_is_told(monkeypatch, checks, code, text):
    monkeypatch.setattr(doctor, "CHECKS", checks)
    result = CliRunner().invoke(doctor.app, [])
    assert result.exit_code == code
    assert text in result.stdout
