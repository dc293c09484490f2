"""Ingredients for strategies: argon labelled by one method, a foundation trained with another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training.conftest import CUTOFF, crystal

from mlffjax import trees
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.paths import Path
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.reference_energies import with_constants


@pytest.fixture(scope="session")
def dataset(frames):
    """Labels with -7 eV per atom on top of the interaction."""
    raised = tuple(f._replace(energy=f.energy - 7.0 * len(f.system.numbers)) for f in frames)
    return Dataset(frames=raised, isolated={18: -7.0}, reference="code A, PBE", digest="0" * 16)


@pytest.fixture(scope="session")
def foundation(guess):
    """A wrong potential with the reference energies of another code."""
    card = Card(
        name="argon",
        elements=("Ar",),
        model={"kind": "pair"},
        reference="code B, PBE",
        functional="PBE",
    )
    return with_constants(guess, {"atomic_energies": np.array([-100.0])}), card


@pytest.fixture(scope="session")
def ingredients(dataset, foundation):
    return Ingredients(
        dataset=dataset,
        training=TrainingConfig(epochs=2, learning_rate=1e-4),
        architecture=foundation[0].model,
        foundation=foundation,
    )


@pytest.fixture
def same_reference(ingredients):
    """A foundation whose card names the reference of the data."""
    potential, card = ingredients.foundation
    return ingredients._replace(
        foundation=(potential, card.model_copy(update={"reference": "Code A,  PBE"}))
    )


@pytest.fixture
def zero():
    """The only reference energy of a potential of one element, eV."""
    return lambda potential: float(jnp.squeeze(potential.params["constants"]["atomic_energies"]))


@pytest.fixture(scope="session")
def generic(label):
    """Two families of other argon crystals in pairs of one start, labelled by a third method."""
    method = trees.cast(
        lennard_jones((18,), epsilon=0.0095, sigma=3.37, cutoff=CUTOFF), jnp.float64
    )
    random = np.random.default_rng(5)
    frames = [
        label(crystal((1, 1, 1), random), method, energy=-40.0, config_type=kind, index=index)
        for kind in ("squeezed", "stretched")
        for index in range(8)
    ]
    frames = [f._replace(trajectory=f"{f.config_type}_{int(f.order) // 2}") for f in frames]
    return Dataset(tuple(frames), {}, "code C, PBE", "1" * 16)


@pytest.fixture(scope="session")
def hop(label, truth):
    """Five images from one rattled crystal to another, with energies and forces."""
    random = np.random.default_rng(6)
    first = crystal((1, 1, 1), random)
    last = first.positions + random.normal(scale=0.15, size=first.positions.shape)
    images = [
        first._replace(positions=(1 - x) * first.positions + x * last) for x in np.linspace(0, 1, 5)
    ]
    frames = [label(image, truth, energy=-7.0, index=i) for i, image in enumerate(images)]
    return Path("hop", tuple(frames), closed=False)


@pytest.fixture(scope="session")
def rich(ingredients, generic, hop):
    """Ingredients with generic structures and a path; one shape, double precision."""
    training = TrainingConfig(epochs=2, learning_rate=1e-4, precision="float64", buckets=1)
    return ingredients._replace(generic=generic, paths={"hop": hop}, training=training)


@pytest.fixture(scope="session")
def network():
    """A small MACE with random weights as a foundation for argon, single precision."""
    architecture = MaceConfig(
        r_max=CUTOFF, num_bessel=2, max_ell=1, correlation=2, hidden_irreps="3x0e + 3x1o",
        radial_mlp=(3,), mlp_irreps="2x0e",
    )  # fmt: skip
    model = MaceModel((18,), architecture)
    params = model.init(key=jax.random.key(2))
    constants = params["constants"] | {
        "scale": jnp.float32(0.03),
        "average_neighbors": jnp.float32(18),
    }
    return Potential(params | {"constants": constants}, model)


@pytest.fixture(scope="session")
def ingredients_of_network(ingredients, network):
    """Ingredients with the network as foundation."""
    training = TrainingConfig(epochs=2, batch=2, loss=LossConfig(stress=0), buckets=1)
    return ingredients._replace(foundation=(network, ingredients.foundation[1]), training=training)
