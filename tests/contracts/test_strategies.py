"""What every kind of training strategy promises, tried with its own example."""

import dataclasses
import json
from typing import Annotated

import jax
import numpy as np
import pytest
from contracts import noble

from mlffjax import config, registry, trees
from mlffjax.errors import CompatibilityError
from mlffjax.potential.base import Potential
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import LennardJonesModel
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.recipe import Recipe

KINDS = registry.kinds("training.strategies")
MODULES = {kind: registry.resolve("training.strategies", kind) for kind in KINDS}
NETWORKS = [kind for kind in KINDS if MODULES[kind].Config.needs_network]
TRAINED = [kind for kind in KINDS if MODULES[kind].example().trains]
TRAINING = TrainingConfig(
    epochs=1, batch=2, learning_rate=1e-4, loss=LossConfig(stress=0), buckets=1
)
TRACES: list[str] = []


@dataclasses.dataclass(frozen=True)
class CountedPair(LennardJonesModel):
    """Notes when Python runs through it, which is when JAX traces."""

    def atomic_energies(self, params, graph):
        TRACES.append("pair")
        return super().atomic_energies(params, graph)


@dataclasses.dataclass(frozen=True)
class CountedNetwork(MaceModel):
    """The same for a network, however many heads it is asked for."""

    def fold(self, params):
        TRACES.append("network")
        return super().fold(params)


class Section(config.Config):
    """A section of a study that takes any strategy."""

    strategy: Annotated[config.Config, config.by_kind("training.strategies")]


@pytest.fixture(scope="module")
def ingredients():
    """Crystals of argon and krypton in several proportions, and a foundation that is a bit off."""
    return noble.with_pairs(TRAINING, CountedPair)


@pytest.fixture(scope="module")
def network(ingredients):
    """The same with a small MACE as foundation, for strategies that need a network."""
    return noble.with_network(ingredients, CountedNetwork)


@pytest.fixture(scope="module")
def given(ingredients, network):
    """Ingredients that a kind works on."""
    return {kind: network if kind in NETWORKS else ingredients for kind in KINDS}


@pytest.fixture(scope="module")
def recipes(given):
    return {kind: recipe_of(kind, given[kind]) for kind in KINDS}


@pytest.fixture(scope="module")
def fitted(recipes, given):
    return {kind: trained(recipes[kind], given[kind]) for kind in KINDS}


def recipe_of(kind, ingredients, key=1):
    module = MODULES[kind]
    return module.build(module.example(), ingredients, key=jax.random.key(key))


def trained(recipe, ingredients, seed=0):
    frames = ingredients.dataset.frames
    return fit(recipe, frames[:4], frames[4:], TRAINING, seed=seed)


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_is_named_by_its_kind_and_plain(kind):
    example = MODULES[kind].example()
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
    for name in ("realize", "penalty", "leash"):
        leaves = jax.tree.leaves(getattr(recipe, name))
        assert all(isinstance(leaf, jax.Array | np.ndarray) for leaf in leaves), name
    # Weights of the loss may be plain numbers, which are data as well.
    leaves = jax.tree.leaves(recipe.loss)
    assert all(isinstance(leaf, jax.Array | np.ndarray | float) for leaf in leaves)
    hash(recipe.optimizer)


@pytest.mark.parametrize("kind", KINDS)
def test_building_again_gives_the_same(kind, recipes, given):
    again = recipe_of(kind, given[kind])
    trees_of_both = [r.realize(r.trainable) for r in (recipes[kind], again)]
    jax.tree.map(np.testing.assert_array_equal, *trees_of_both)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "scratch"])
def test_step_zero_is_the_foundation(kind, recipes, given):
    """Bit for bit, but for the reference energies, which are those of the labels."""
    recipe = recipes[kind]
    start, (foundation, _) = recipe.realize(recipe.trainable), given[kind].foundation
    assert start.model == foundation.model
    ours, theirs = (trees.names(potential.params) for potential in (start, foundation))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"constants/atomic_energies"}:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


@pytest.mark.parametrize("kind", TRAINED)
def test_training_moves_weights_and_never_constants(kind, recipes, fitted):
    recipe = recipes[kind]
    before, after = recipe.realize(recipe.trainable).params, fitted[kind].potential.params
    jax.tree.map(np.testing.assert_array_equal, before["constants"], after["constants"])
    if fitted[kind].best.number:
        assert bits(before["weights"]) != bits(after["weights"])
    assert fitted[kind].history[-1].train_loss is not None


@pytest.mark.parametrize("kind", KINDS)
def test_reference_energies_are_those_of_the_labels(kind, fitted):
    """Whatever the strategy starts from: -2 and -3 eV, up to what the interactions leave."""
    energies = fitted[kind].potential.params["constants"]["atomic_energies"]
    np.testing.assert_allclose(energies, [-2.0, -3.0], atol=0.2)


@pytest.mark.parametrize("kind", TRAINED)
def test_runs_share_compilations_and_equal_seeds_give_equal_bits(kind, fitted, given):
    """Another run, with another draw and another sequence of frames, compiles nothing."""
    before = len(TRACES)
    other = trained(recipe_of(kind, given[kind], key=2), given[kind], seed=1)
    assert len(TRACES) == before > 0
    again = trained(recipe_of(kind, given[kind]), given[kind])
    assert bits(again.potential) == bits(fitted[kind].potential)
    losses = [run.history[-1].train_loss for run in (fitted[kind], again, other)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("kind", NETWORKS)
def test_kinds_that_need_a_network_refuse_a_pair_potential_by_name(kind, ingredients):
    with pytest.raises(CompatibilityError, match=f"strategy {kind}"):
        recipe_of(kind, ingredients)


def test_potentials_of_all_strategies_stack(fitted):
    networks = [fitted[kind].potential for kind in NETWORKS]
    pairs = [fitted[kind].potential for kind in KINDS if kind not in NETWORKS]
    assert trees.length(trees.stack(networks)) == len(NETWORKS)
    assert trees.length(trees.stack(pairs)) == len(KINDS) - len(NETWORKS)
