"""The probe ``representation`` with a potential that has features."""

import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import ConfigError
from mlffjax.potential.base import Potential
from mlffjax.potential.sources import mace
from mlffjax.probes import _example
from mlffjax.probes.representation import Config, build


@pytest.fixture(scope="module")
def foundation():
    model = mace.energy_model(mace.example(), (_example.ARGON,))
    return trees.cast(Potential(model.init(key=jax.random.key(0)), model), np.float64)


@pytest.fixture(scope="module")
def probe(foundation):
    context = _example.frames(12)._replace(
        cutoff=foundation.cutoff, foundation=foundation, paths=_example.migration().paths
    )
    return build(Config(frames=8, rows=40, permutations=20), context)


def test_the_foundation_has_not_drifted_and_others_have(probe, foundation):
    own = probe.measure(foundation)
    # Of equal features to the bit only rounding is left.
    assert float(own["drift"]) == pytest.approx(0, abs=1e-12)
    assert float(own["cosine"]) == pytest.approx(1, abs=1e-12)
    assert float(own["displacement"]) == 0
    assert float(own["drift"]) == float(own["drift/Ar"])  # the mean over one element

    moved = jax.tree.map(lambda leaf: 1.3 * leaf + 0.05, foundation.params["weights"])
    other = probe.measure(foundation.replace(params=foundation.params | {"weights": moved}))
    assert float(other["drift"]) > 1e-6
    assert float(other["displacement"]) > 1e-3


def test_rows_are_those_asked_for_and_structures_have_their_kinds(probe, foundation):
    arrays = probe.measure(foundation)
    assert arrays["layer1"].shape[0] == arrays["forces"].shape[0] == 40
    assert arrays["layer1"].dtype == np.float32
    kinds = set(probe.constants["frame_kind"].tolist())
    assert kinds == {"kind0", "kind1", "path hop"}
    assert probe.constants["frame_count"].sum() == sum(
        4 if kind == "kind0" else 8 if kind == "kind1" else 9
        for kind in probe.constants["frame_kind"].tolist()
    )


def test_nothing_to_look_at_is_refused(foundation):
    context = _example.frames()._replace(cutoff=foundation.cutoff)
    with pytest.raises(ConfigError):
        build(Config(config_types=("absent",)), context)
