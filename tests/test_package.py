"""Importing the package is free, and its two convenient names lead to the store."""

import subprocess
import sys

import pytest

import mlffjax


def test_import_loads_nothing_heavy():
    code = (
        "import sys; import mlffjax; "
        "print([m for m in ('jax', 'numpy', 'ase', 'pydantic', 'yaml') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert out.stderr == ""


def test_version_is_text():
    assert mlffjax.__version__[0].isdigit()


def test_load_and_save_are_those_of_the_store():
    from mlffjax.potential import store

    assert mlffjax.load is store.load
    assert mlffjax.save is store.save


def test_unknown_names_are_errors():
    assert {"load", "save", "__version__"} <= set(dir(mlffjax))
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        mlffjax.laod  # noqa: B018
