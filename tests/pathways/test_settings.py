import numpy as np
import pytest

from mlffjax import config
from mlffjax.errors import ConfigError
from mlffjax.pathways.settings import (
    Bounds,
    Elastic,
    Relaxation,
    knobs_of_bands,
    knobs_of_structures,
)


def test_settings_survive_plain_data():
    settings = Elastic(spring_top=1.0, grow_to=12, bounds=Bounds(spike=10.0))
    assert config.validate(config.dump(settings), Elastic, where="test") == settings


@pytest.mark.parametrize(
    "data",
    [
        {"fmax": 0.0},
        {"optimizer": "newton"},
        {"endpoints": "maybe"},
        {"grow_to": 2},
        {"bounds": {"growth": 0.5}},
        {"spring": 0.5, "spring_top": 0.5},
        {"climbs": True},
    ],
)
def test_senseless_settings_are_refused(data):
    with pytest.raises(ConfigError, match=next(iter(data)).partition("_")[0]):
        config.validate(data, Elastic, where="test")


def test_numbers_reach_the_device_as_arrays_of_one_type():
    """A Python number would be traced anew as an array: a second compilation."""
    first = knobs_of_structures(Relaxation(fmax=0.3, max_steps=7))
    assert (first.fmax, first.max_steps, bool(first.climb)) == (0.3, 7, False)
    second = knobs_of_bands(Elastic(spring=0.2), max_step=0.1, climb=True, fmax=0.04)
    assert (second.softest, second.stiffest, second.reach) == (0.2, 0.2, 0.1)
    assert second.limits.detach == 3.0
    for knobs in (first, second):
        assert all(isinstance(v, np.generic) for v in (*knobs[:-1], *knobs.limits))
