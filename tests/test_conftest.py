"""Costly tests run on request only, and no test can leave process-wide settings changed."""

from pathlib import Path

import jax
import pytest

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent
MARKED = """
import jax, pytest

@pytest.mark.slow
def test_slow(): pass

@pytest.mark.torch
def test_torch(): pass

def test_plain(): pass

def test_careless(): jax.config.update("jax_debug_nans", True)
"""


@pytest.fixture
def outcomes(pytester, monkeypatch):
    """Run four tests below the conftest of this directory."""
    monkeypatch.setenv("PYTHONPATH", str(HERE.parent))  # the package need not be installed
    pytester.makeconftest((HERE / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n  slow: x\n  gpu: x\n  torch: x\n")
    pytester.makepyfile(MARKED)
    return lambda *options: pytester.runpytest_subprocess(*options).parseoutcomes()


def test_costly_tests_run_on_request(outcomes):
    # The careless test itself passes; putting things right is what fails.
    assert outcomes() == {"passed": 2, "deselected": 2, "errors": 1}
    assert outcomes("--slow", "--parity") == {"passed": 4, "errors": 1}


def test_numbers_are_float64_on_the_cpu(request):
    assert jax.numpy.ones(1).dtype == "float64"
    if not request.config.getoption("--gpu"):
        assert jax.default_backend() == "cpu"
