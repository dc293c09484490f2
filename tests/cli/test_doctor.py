"""Each check of the doctor passes here, and one that fails is seen in table and exit code."""

import pytest
from typer.testing import CliRunner

from mlffjax.cli import doctor


@pytest.mark.parametrize("name", doctor.CHECKS)
def test_checks_pass_here(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFFJAX_CACHE", str(tmp_path))
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


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFFJAX_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        doctor.CHECKS["cache"]()


def test_extras_that_are_absent_are_named(monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"one": "json", "two": "no_such_module_here"})
    assert doctor.CHECKS["extras"]() == "found: one; not installed, and not required: two"
