"""A network with two heads, on argon crystals, in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.derivatives import energies
from mlffjax.potential.sources import mace
from mlffjax.training.batches import collect, gather, plan, samples
from mlffjax.training.fit import fit
from mlffjax.training.recipe import unchanged
from mlffjax.training.strategies import finetune, multihead
from mlffjax.training.strategies.multihead import OTHER

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def network(rich):
    """Ingredients with a small MACE as foundation."""
    model = mace.energy_model(mace.example(), (18,))
    potential = trees.cast(Potential(model.init(key=jax.random.key(3)), model), jnp.float64)
    card = Card(name="net", elements=("Ar",), model={}, reference="code C, PBE", functional="PBE")
    # Small cells only: one shape, one compilation.
    dataset = rich.dataset._replace(frames=rich.dataset.frames[:6])
    return rich._replace(foundation=(potential, card), architecture=model, dataset=dataset)


@pytest.fixture(scope="module")
def recipe(network):
    return multihead.build(multihead.Config(weight=0.5), network, key=KEY)


@pytest.fixture(scope="module")
def fitted(network, recipe):
    frames = network.dataset.frames
    return fit(recipe, frames[:4], frames[4:], network.training, seed=0)


@pytest.fixture(scope="module")
def gradients(network, recipe):
    """Gradients of the loss of samples of one head alone, [material, other]."""
    members = samples(network.dataset.frames, recipe.realize(recipe.trainable))
    mixed = recipe.mix(members)
    potential = recipe.realize(recipe.trainable)
    shapes = plan([sample.system for sample in mixed], potential.cutoff, most=1)
    (bucket,) = collect(mixed, potential.elements, potential.cutoff, shapes, dtype=np.float64)
    gradient = jax.jit(jax.grad(recipe.loss))
    half = len(members)
    return [
        gradient(recipe.trainable, gather(bucket.rows, np.arange(start, start + half)))
        for start in (0, half)
    ]


def test_generic_samples_carry_the_other_head_and_their_weight(network, recipe):
    members = samples(network.dataset.frames, recipe.realize(recipe.trainable))
    mixed = recipe.mix(members)
    assert [(s.head, s.weight) for s in mixed] == [(0, 1.0)] * 6 + [(OTHER, 0.5)] * 6


def test_both_heads_start_as_the_foundation(network, recipe):
    foundation, _ = network.foundation
    graph = build(
        [frame.system for frame in network.dataset.frames[:2]], (18,), 4.0, dtype=np.float64
    )
    heads = [recipe.loss.args[k](recipe.trainable) for k in (0, 1)]
    expected = jax.jit(energies)(foundation, graph)
    for head in heads:
        np.testing.assert_array_equal(jax.jit(energies)(head, graph), expected)
    e0 = [float(head.params["constants"]["atomic_energies"][0]) for head in heads]
    # -7 eV of the material's labels, -40 eV of the generic ones, up to what the network gives.
    assert e0[0] - e0[1] == pytest.approx(33.0, abs=1.0)


def test_energies_of_heads_are_those_of_whole_potentials(network, recipe):
    """Summed in another order at most: 1e-12 of energies of some eV."""
    shaken = recipe.trainable | {
        "other_head": jax.tree.map(lambda leaf: leaf[::-1] + 0.1, recipe.trainable["other_head"])
    }
    material, other = (recipe.loss.args[k](shaken) for k in (0, 1))
    graph = build([network.dataset.frames[0].system], (18,), 4.0, dtype=np.float64)
    model = network.foundation[0].model
    both = jax.jit(model.head_energies)([material.params, other.params], graph)
    for row, head in zip(both, (material, other), strict=True):
        alone = jax.jit(model.atomic_energies)(head.params, graph)
        np.testing.assert_allclose(row, alone, rtol=1e-10)
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_data_of_one_head_never_touch_the_other(recipe, gradients):
    material, other = gradients

    def size(tree):
        return float(max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(tree)))

    own = [multihead.readouts(gradient["weights"]) for gradient in gradients]
    assert size(material["other_head"]) == 0
    assert size(own[1]) == 0
    assert min(size(own[0]), size(other["other_head"])) > 1e-6
    # The trunk learns from both.
    for gradient in gradients:
        assert float(jnp.abs(gradient["weights"]["embedding"]).max()) > 1e-8


def test_result_is_the_material_head_in_the_usual_tree(network, fitted):
    foundation, _ = network.foundation
    assert jax.tree.structure(fitted.potential) == jax.tree.structure(foundation)
    assert float(fitted.potential.params["constants"]["atomic_energies"][0]) > -20
    before, after = (p.params["weights"]["embedding"] for p in (foundation, fitted.potential))
    assert not np.array_equal(before, after)


def test_both_heads_are_reported(fitted):
    assert fitted.best.validation.forces_mae > 0  # the material's
    (line,) = [note for note in fitted.notes if "held-out" in note]
    assert "8 held-out generic structures: force MAE from" in line
    assert "energy MAE from" in line


def test_without_weight_it_is_finetuning(network):
    """The same recipe, so the same bits: one head, the given samples alone."""
    ours = multihead.build(multihead.Config(weight=0.0), network, key=KEY)
    theirs = finetune.build(finetune.Config(), network, key=KEY)
    assert ours.mix is theirs.mix is unchanged
    for one, other in zip(ours[:2], theirs[:2], strict=True):
        assert jax.tree.structure(one) == jax.tree.structure(other)
        jax.tree.map(np.testing.assert_array_equal, one, other)
    assert jax.tree.structure(ours.loss) == jax.tree.structure(theirs.loss)
    assert jax.tree.structure(ours.penalty) == jax.tree.structure(theirs.penalty)


def test_pair_potentials_have_no_second_readout(rich):
    with pytest.raises(CompatibilityError, match=r"LennardJonesModel has no features.*use replay"):
        multihead.build(multihead.Config(), rich, key=KEY)
