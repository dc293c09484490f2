"""A model file of mace-torch, and a trap that tells whether anything of a file was run."""

import sys

import pytest
from references import torch_checkpoint

from mlffjax.potential.convert.read_torch import read

FOREIGN = ("torch", "mace", "e3nn", "hostile")


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """Path of a model file that mace-torch wrote."""
    return torch_checkpoint.unpack(tmp_path_factory.mktemp("stored") / "tiny.model")


@pytest.fixture
def root(stored):
    """The module in it, to be altered at will."""
    return read(stored).root


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that appears if anything is run, or if torch, mace or e3nn are imported."""
    path = tmp_path / "canary"
    touch = f"open({str(path)!r}, 'w').close()\n"
    folder = tmp_path / "modules"
    for module in FOREIGN:
        (folder / module).mkdir(parents=True)
        (folder / module / "__init__.py").write_text(touch)
    monkeypatch.syspath_prepend(folder)
    before = {name: sys.modules.get(name) for name in FOREIGN}
    yield path
    assert not path.exists()
    assert {name: sys.modules.get(name) for name in FOREIGN} == before
