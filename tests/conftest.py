"""Settings of all tests: float64 on the CPU, costly kinds on request, no state left behind."""

import gc
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import mlffjax

# Marker to the option that selects it. Without their option these tests are left out.
ON_REQUEST = {"slow": "--slow", "gpu": "--gpu", "torch": "--parity", "faults": "--faults"}

MOST_MAPS = 25_000
SWITCHES = ("jax_enable_x64", "jax_debug_nans", "jax_numpy_dtype_promotion")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run long physics")
    parser.addoption("--gpu", action="store_true", help="run on the GPU, with tests that need it")
    parser.addoption("--parity", action="store_true", help="also compare with mace-torch live")
    parser.addoption("--faults", action="store_true", help="also kill commands a hundred times")


def pytest_configure(config):
    # Tests compare numbers, so they run where numbers are the same for everybody.
    if not config.getoption("--gpu"):
        os.environ["JAX_PLATFORMS"] = "cpu"  # for programs that tests start
        jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    # Commands keep compiled programs in the user's cache; those that tests run do not.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        jax.config.update("jax_enable_compilation_cache", False)


def pytest_collection_modifyitems(config, items):
    absent = {marker for marker, option in ON_REQUEST.items() if not config.getoption(option)}
    left_out = [item for item in items if absent & {mark.name for mark in item.iter_markers()}]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(autouse=True)
def _no_state_left_behind():
    """Fail a test that leaves a process-wide switch in another position than it found it."""
    before = _switches()
    yield
    after = _switches()
    assert after == before, f"the test changed process-wide settings: {before} -> {after}"


def _switches() -> tuple[object, ...]:
    return (
        *(getattr(jax.config, name) for name in SWITCHES),
        os.getcwd(),
        tuple(sorted(np.geterr().items())),
    )


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_do_not_pile_up():
    """Forget compiled programs before the system runs out of memory maps, which XLA aborts at.

    Each program takes a few maps; Linux allows a process 65530 (vm.max_map_count).
    """
    yield
    if _memory_maps() > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


def _memory_maps() -> int:
    maps = Path("/proc/self/maps")
    return maps.read_bytes().count(b"\n") if maps.is_file() else 0


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded source of random numbers."""
    return np.random.default_rng(0)


SHAPES = {
    "__init__": '"""Shapes."""',
    "_shared": "raise RuntimeError('must not be imported')",
    "broken": "raise RuntimeError('must not be imported')",
    "round": """
from mlffjax import config

class Config(config.Config):
    radius: float
""",
    "square": """
from typing import Literal
from mlffjax import config

class Config(config.Config):
    kind: Literal["square"] = "square"
    side: float = 1.0
""",
}


@pytest.fixture
def fake_kinds(tmp_path, monkeypatch):
    """Name of a temporary sub-package of mlffjax with the kinds broken, round and square."""
    name = "temporary_kinds"
    folder = tmp_path / name
    folder.mkdir()
    for module, text in SHAPES.items():
        (folder / f"{module}.py").write_text(text)
    monkeypatch.setattr(mlffjax, "__path__", [*mlffjax.__path__, str(tmp_path)])
    yield name
    for module in [m for m in sys.modules if m.startswith(f"mlffjax.{name}")]:
        del sys.modules[module]
    mlffjax.__dict__.pop(name, None)
