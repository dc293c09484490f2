"""A trap that tells whether anything of a file was run."""

import sys

import pytest


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that appears if the module ``hostile`` is imported; its path is for commands."""
    path = tmp_path / "canary"
    folder = tmp_path / "modules" / "hostile"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"open({str(path)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(folder.parent)
    yield path
    assert not path.exists(), "code of the input was run"
    assert "hostile" not in sys.modules
