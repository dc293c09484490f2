"""What every kind of training strategy promises, tried with its own example."""

import json
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import config, registry, trees
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.derivatives import predict
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.system import Frame, System
from mlffjax.training.config import TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.recipe import Recipe

KINDS = registry.kinds("training.strategies")
TRAINING = TrainingConfig(epochs=1, learning_rate=1e-4)


class Section(config.Config):
    """A section of a study that takes any strategy."""

    strategy: Annotated[config.Config, config.by_kind("training.strategies")]


@pytest.fixture(scope="module")
def ingredients():
    """Crystals of argon and krypton in several proportions, and a foundation that is a bit off."""
    random = np.random.default_rng(0)
    truth = trees.cast(lennard_jones((18, 36), cutoff=5.0), jnp.float64)
    basis = 5.4 * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frames = []
    for index, krypton in enumerate((0, 1, 2, 3, 1, 2)):
        numbers = np.array([36] * krypton + [18] * (4 - krypton), np.int32)
        positions = basis + random.normal(scale=0.1, size=(4, 3))
        system = System(positions, numbers, 5.4 * np.eye(3), np.ones(3, bool))
        graph = build([system], (18, 36), 5.0, shape=Shape(4, 24, 1), dtype=np.float64)
        label = jax.jit(predict)(truth, graph)
        energy = float(label.energy[0]) - 3.0 * krypton - 2.0 * (4 - krypton)
        forces, stress = np.asarray(label.forces), np.asarray(label.stress[0])
        frames.append(Frame(system, energy, forces, stress, "all", "all", index, "", "here", {}))
    foundation = trees.cast(lennard_jones((18, 36), epsilon=0.01, cutoff=5.0), jnp.float64)
    card = Card(
        name="noble", elements=("Ar", "Kr"), model={}, reference="another", functional="none"
    )
    dataset = Dataset(tuple(frames), {18: -2.0, 36: -3.0}, "this", "0" * 16)
    return Ingredients(dataset, TRAINING, foundation.model, (foundation, card))


@pytest.fixture(scope="module")
def recipes(ingredients):
    modules = {kind: registry.resolve("training.strategies", kind) for kind in KINDS}
    return {
        kind: module.build(module.example(), ingredients, key=jax.random.key(1))
        for kind, module in modules.items()
    }


@pytest.fixture(scope="module")
def fitted(recipes, ingredients):
    frames = ingredients.dataset.frames
    return {k: fit(r, frames[:4], frames[4:], TRAINING, seed=0) for k, r in recipes.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_is_named_by_its_kind_and_plain(kind):
    example = registry.resolve("training.strategies", kind).example()
    plain = json.loads(json.dumps(config.dump(example)))
    assert plain["kind"] == kind
    section = config.validate({"strategy": plain}, Section, where="here")
    assert section.strategy == example
    assert hash(example) == hash(section.strategy)


@pytest.mark.parametrize("kind", KINDS)
def test_recipe_realizes_a_potential_under_tracing(kind, recipes):
    recipe = recipes[kind]
    assert isinstance(recipe, Recipe)
    potential = jax.eval_shape(recipe.realize, recipe.trainable)
    assert isinstance(potential, Potential)


@pytest.mark.parametrize("kind", KINDS)
def test_callables_travel_as_arrays(kind, recipes):
    """No arrays are compiled in, or every run would compile anew."""
    recipe = recipes[kind]
    for name in ("realize", "loss", "penalty"):
        leaves = jax.tree.leaves(getattr(recipe, name))
        assert all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves), name
    hash(recipe.optimizer)


@pytest.mark.parametrize("kind", KINDS)
def test_building_again_gives_the_same(kind, recipes, ingredients):
    module = registry.resolve("training.strategies", kind)
    again = module.build(module.example(), ingredients, key=jax.random.key(1))
    trees_of_both = [r.realize(r.trainable) for r in (recipes[kind], again)]
    jax.tree.map(np.testing.assert_array_equal, *trees_of_both)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "scratch"])
def test_step_zero_is_the_foundation(kind, recipes, ingredients):
    """Bit for bit, but for the reference energies, which are those of the labels."""
    recipe = recipes[kind]
    start, (foundation, _) = recipe.realize(recipe.trainable), ingredients.foundation
    assert start.model == foundation.model
    ours, theirs = (trees.names(potential.params) for potential in (start, foundation))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"constants/atomic_energies"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_training_never_moves_constants(kind, recipes, fitted):
    recipe = recipes[kind]
    before = recipe.realize(recipe.trainable).params["constants"]
    jax.tree.map(np.testing.assert_array_equal, before, fitted[kind].potential.params["constants"])


@pytest.mark.parametrize("kind", KINDS)
def test_reference_energies_are_those_of_the_labels(kind, fitted):
    """Whatever the strategy starts from: -2 and -3 eV, up to what the interactions leave."""
    energies = fitted[kind].potential.params["constants"]["atomic_energies"]
    np.testing.assert_allclose(energies, [-2.0, -3.0], atol=0.2)


def test_potentials_of_all_strategies_stack(fitted):
    stacked = trees.stack([outcome.potential for outcome in fitted.values()])
    assert trees.length(stacked) == len(KINDS)
