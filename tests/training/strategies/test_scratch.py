import jax
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.training.strategies import scratch

TINY = MaceConfig(
    r_max=4.0, num_bessel=4, max_ell=1, correlation=1, num_interactions=1, hidden_irreps="2x0e",
    radial_mlp=(4,),
)  # fmt: skip


def start(ingredients, key=0, **choices):
    recipe = scratch.build(scratch.Config(**choices), ingredients, key=jax.random.key(key))
    return recipe.realize(recipe.trainable)


@pytest.fixture(scope="module")
def untrained(ingredients):
    return ingredients._replace(architecture=MaceModel((18,), TINY), foundation=None)


def test_constants_describe_the_data(untrained, zero):
    frames = untrained.dataset.frames
    constants = start(untrained).params["constants"]
    forces = np.concatenate([frame.forces.ravel() for frame in frames])
    edges = [neighbors_within(frame.system, 4.0).mask.sum() for frame in frames]
    per_atom = [frame.energy / len(frame.forces) + 7.0 for frame in frames]
    # Constants are stored in single precision.
    assert float(constants["scale"]) == pytest.approx(np.sqrt((forces**2).mean()), rel=1e-6)
    assert float(constants["shift"]) == pytest.approx(np.mean(per_atom), rel=1e-5)
    assert float(constants["average_neighbors"]) == pytest.approx(sum(edges) / 64, rel=1e-6)
    assert float(constants["atomic_energies"][0]) == -7.0


def test_least_squares_needs_no_isolated_atoms(untrained, zero):
    bare = untrained._replace(dataset=untrained.dataset._replace(isolated={}))
    with pytest.raises(CompatibilityError, match="got none for Ar"):
        start(bare)
    potential = start(bare, reference_energies="least_squares")
    frames = untrained.dataset.frames
    expected = np.mean([frame.energy / len(frame.forces) for frame in frames])
    assert zero(potential) == pytest.approx(expected, rel=1e-6)
    # What the E0 explain is not explained again.
    assert float(potential.params["constants"]["shift"]) == pytest.approx(0, abs=1e-6)


def test_the_key_decides_the_weights(untrained):
    def weights(key):
        leaves = jax.tree.leaves(start(untrained, key).params["weights"])
        return np.concatenate([np.ravel(leaf) for leaf in leaves])

    np.testing.assert_array_equal(weights(0), weights(0))
    assert not np.array_equal(weights(0), weights(1))


def test_architecture_is_needed(ingredients):
    with pytest.raises(CompatibilityError, match="scratch needs an architecture"):
        start(ingredients._replace(architecture=None))
