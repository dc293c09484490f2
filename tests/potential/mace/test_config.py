import pytest

from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.potential.mace.config import MaceConfig


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"hidden_irreps": "8x0e + 4x1o"}, "one multiplicity"),
        ({"hidden_irreps": "8x1o"}, "contain 0e"),
        ({"hidden_irreps": "8x0e + 8x3o", "max_ell": 2}, "up to l = max_ell = 2"),
        ({"mlp_irreps": "8x1o"}, "must be scalars"),
        ({"radial_mlp": []}, "at least one positive width"),
        ({"r_max": 0}, "greater than 0"),
        ({"r_mx": 5.0}, "did you mean 'r_max'"),
        ({"correlation": 4}, "less than or equal to 3"),
    ],
)
def test_impossible_architectures_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        validate(entries, MaceConfig, where="model")
