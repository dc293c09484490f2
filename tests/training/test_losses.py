import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.potential.derivatives import Prediction
from mlffjax.training.batches import EMPTY, collect, gather, plan, samples
from mlffjax.training.config import LossConfig
from mlffjax.training.losses import adjustable, huber, residual_loss, supervised
from mlffjax.training.recipe import all_weights

CONFIGS = (
    LossConfig(),
    LossConfig(kind="huber", delta=0.02, energy=2.0, forces=3.0, stress=5.0),
    LossConfig(stress=0.0),
)


@functools.partial(jax.jit, static_argnames="config")
def value_and_gradient(weights, realize, batch, config):
    return jax.value_and_grad(lambda w: supervised(config)(realize, w, batch))(weights)


@pytest.fixture(scope="module")
def rows(frames, truth):
    """The cells of 8 atoms; the second lacks energy, the third stress."""
    chosen = list(frames[6:])
    chosen[1] = chosen[1]._replace(energy=None)
    chosen[2] = chosen[2]._replace(stress=None)
    shapes = plan([frame.system for frame in chosen], truth.cutoff, most=1)
    members = samples(chosen, truth)
    return collect(members, truth.elements, truth.cutoff, shapes, dtype=np.float64)[0].rows


@pytest.fixture(scope="module")
def batch(rows):
    return gather(rows, np.array([0, 1, 2, 3], np.int32))


def test_the_formula_against_plain_numpy(batch):
    """Every term written out structure by structure."""
    random = np.random.default_rng(2)
    energy = np.asarray(batch.energy) + random.normal(size=4)
    forces = np.asarray(batch.forces) + random.normal(size=(32, 3))
    stress = np.asarray(batch.stress) + random.normal(size=(4, 3, 3))
    weight = np.array([1.0, 2.0, 0.5, 3.0])
    config = LossConfig(energy=2.0, forces=3.0, stress=5.0)
    got = residual_loss(
        Prediction(*map(jnp.asarray, (energy, forces, stress, np.zeros(32)))),
        batch._replace(weight=jnp.asarray(weight)),
        config,
    )
    energy_terms = [weight[g] * ((energy - batch.energy)[g] / 8) ** 2 for g in (0, 2, 3)]
    force_terms = [weight[i // 8] * ((forces - batch.forces)[i] ** 2).mean() for i in range(32)]
    stress_terms = [weight[g] * ((stress - batch.stress)[g] ** 2).mean() for g in (0, 1, 3)]
    expected = 2 * np.mean(energy_terms) + 3 * np.mean(force_terms) + 5 * np.mean(stress_terms)
    assert float(got) == pytest.approx(float(expected), rel=1e-13)


def test_huber_is_a_parabola_that_turns_into_its_tangent():
    x = jnp.array([0.0, 0.05, 0.1, 0.4, -0.4])
    expected = [0.0, 0.05**2 / 2, 0.1**2 / 2, 0.1 * 0.35, 0.1 * 0.35]
    np.testing.assert_allclose(huber(x, delta=0.1), expected, rtol=1e-15)
    slopes = jax.vmap(jax.grad(lambda r: huber(r, delta=0.1)))(x)
    np.testing.assert_allclose(slopes, [0.0, 0.05, 0.1, 0.1, -0.1], rtol=1e-15)


@pytest.mark.parametrize("config", CONFIGS, ids=("weighted", "huber", "no stress"))
def test_gradient_is_the_finite_difference(config, batch, guess):
    weights, realize = all_weights(guess)
    _, gradient = value_and_gradient(weights, realize, batch, config)
    for name, step in (("epsilon", 1e-6), ("sigma", 1e-5)):
        up, down = (
            value_and_gradient({**weights, name: weights[name] + h}, realize, batch, config)[0]
            for h in (step, -step)
        )
        # The steps are 1e-4 and 3e-6 of the values: truncation and rounding stay below 1e-6.
        assert float(gradient[name]) == pytest.approx(float(up - down) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("config", CONFIGS, ids=("weighted", "huber", "no stress"))
def test_padding_changes_neither_loss_nor_gradient(config, rows, batch, guess):
    """Two structures and two empty places count as two structures."""
    weights, realize = all_weights(guess)
    half = gather(rows, np.array([EMPTY, 1, EMPTY, 3], np.int32))
    twice = gather(rows, np.array([1, 1, 3, 3], np.int32))
    first, second = (value_and_gradient(weights, realize, b, config) for b in (half, twice))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), first, second)


def test_labels_that_are_missing_do_not_count(batch, guess):
    weights, realize = all_weights(guess)
    wild = batch._replace(energy=batch.energy.at[1].set(1e6), stress=batch.stress.at[2].set(1e6))
    losses = [value_and_gradient(weights, realize, b, LossConfig())[0] for b in (batch, wild)]
    assert float(losses[0]) == float(losses[1])


def test_perfect_potential_has_no_loss(batch, truth):
    weights, realize = all_weights(truth)
    # Labels and predictions agree to rounding, 1e-15 eV, which is squared.
    assert float(value_and_gradient(weights, realize, batch, LossConfig())[0]) < 1e-26


def test_precision_follows_the_batch(frames, guess):
    """Frozen float64 constants do not turn a float32 step into a float64 one."""
    weights, realize = all_weights(guess)
    shapes = plan([frames[0].system], guess.cutoff, most=1)
    members = samples(frames[:1], guess)
    rows = collect(members, guess.elements, guess.cutoff, shapes, dtype=np.float32)[0].rows
    batch = gather(rows, np.array([0], np.int32))
    outcome = jax.eval_shape(supervised(LossConfig()), realize, weights, batch)
    assert outcome.dtype == jnp.float32


def test_equal_configurations_share_one_function():
    assert supervised(LossConfig(forces=7.0)) is supervised(LossConfig(forces=7.0))


@pytest.mark.parametrize("kind", ["weighted", "huber"])
def test_weights_as_data_give_the_same_loss_and_share_a_function(kind, batch, guess):
    weights, realize = all_weights(guess)
    pairs = [(forces, stress) for forces in (0.5, 7.0) for stress in (0.0, 2.0)]
    configs = [LossConfig(kind=kind, energy=3.0, forces=f, stress=s) for f, s in pairs]
    for config in configs:
        expected = value_and_gradient(weights, realize, batch, config)
        got = jax.value_and_grad(adjustable(config, realize))(weights, batch)
        for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
    functions = [adjustable(config, realize).func for config in configs]
    assert functions[0] is functions[2]
    assert functions[0] is not functions[1]  # without stresses none are computed
