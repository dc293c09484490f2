"""The self-test passes here, and would not pass if the compiled operation were wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import health
from mlffjax.errors import HealthError


@pytest.fixture
def fresh():
    """Forget that the test has already run in this process, before and after."""
    health.require_sound_jax.cache_clear()
    yield
    health.require_sound_jax.cache_clear()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_installed_jax_is_sound(dtype):
    assert health.count_wrong(dtype) == 0


def test_wrong_numbers_are_refused(fresh, monkeypatch):
    def miscompiled(matrix, rows):
        lengths = jnp.sum((rows @ matrix.T) ** 2, axis=1)
        return lengths.at[-3:].set(0.0)

    monkeypatch.setattr(health, "squared_lengths", miscompiled)
    with pytest.raises(HealthError, match=rf"jax {jax.__version__}.* 3 of 40000 .*pip install"):
        health.require_sound_jax()


def test_runs_once_per_process(fresh, monkeypatch):
    calls = []
    monkeypatch.setattr(health, "count_wrong", lambda dtype: calls.append(dtype) or 0)
    health.require_sound_jax()
    health.require_sound_jax()
    assert calls == [np.float32, np.float64]


def test_devices_tell_where_and_how_precisely():
    assert "float64 by default" in health.devices()
    assert jax.devices()[0].device_kind in health.devices()
