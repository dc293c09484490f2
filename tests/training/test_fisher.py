import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import TrainingError
from mlffjax.potential.base import Potential
from mlffjax.training.batches import collect, plan, samples
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.fisher import fisher, summed_squares
from mlffjax.training.recipe import all_weights, standard

TRAINING = TrainingConfig(precision="float64", loss=LossConfig(stress=0), buckets=2)


def loss_of_one(potential, frame):
    """Of a single structure, as a function of the vector of both weights, without any batching."""
    weights, realize = all_weights(potential)
    shapes = plan([frame.system], potential.cutoff, most=1)
    (bucket,) = collect(
        samples([frame], potential), potential.elements, potential.cutoff, shapes, dtype=np.float64
    )
    batch = jax.tree.map(lambda leaf: leaf[0], bucket.rows)
    batch = batch._replace(graph=batch.graph._replace(shifts=batch.graph.shifts.astype(float)))
    loss = standard(weights, realize, TRAINING).loss
    flat, unflatten = jax.flatten_util.ravel_pytree(weights)
    return jax.jit(lambda vector: loss(unflatten(vector), batch)), flat


def test_equal_to_squared_finite_differences_of_every_sample(guess, frames):
    chosen = frames[4:8]  # two shapes
    found = fisher(guess, chosen, TRAINING)
    assert found.keys() == guess.params["weights"].keys()
    squares = []
    for frame in chosen:
        loss, start = loss_of_one(guess, frame)
        steps = 1e-5 * jnp.diag(start)
        slopes = [(loss(start + s) - loss(start - s)) / (2 * s.sum()) for s in steps]
        squares.append(np.array(slopes) ** 2)
    expected = np.mean(squares, axis=0)
    expected /= expected.mean()
    got = jnp.stack([found["epsilon"], found["sigma"]])
    np.testing.assert_allclose(got, expected, rtol=1e-6)  # of central differences


def test_samples_do_not_cancel(guess, truth, frames, label):
    """The squared gradient of a batch of opposite errors would be zero."""
    weights, realize = all_weights(guess)
    system = frames[0].system
    own = label(system, guess)
    pair = [own._replace(energy=own.energy + shift) for shift in (0.5, -0.5)]
    shapes = plan([system], guess.cutoff, most=1)
    loss = standard(weights, realize, TRAINING).loss
    (bucket,) = collect(
        samples(pair, guess), guess.elements, guess.cutoff, shapes, dtype=np.float64
    )
    both = summed_squares(loss, weights, bucket.rows)
    one = summed_squares(loss, weights, jax.tree.map(lambda leaf: leaf[:1], bucket.rows))
    for name in ("epsilon", "sigma"):
        assert float(one[name]) > 1e-8
        np.testing.assert_allclose(both[name], 2 * one[name], rtol=1e-12)


def test_mean_is_one(guess, frames):
    found = fisher(guess, frames[:2], TRAINING)
    assert sum(map(float, found.values())) / trees.size(found) == pytest.approx(1.0)


def test_labels_that_are_the_models_own_are_refused(guess, frames, label):
    """Without interaction everything is exactly zero: residuals, hence gradients."""
    weights = guess.params["weights"] | {"epsilon": jnp.zeros(())}
    silent = Potential({**guess.params, "weights": weights}, guess.model)
    with pytest.raises(TrainingError, match="must not be the model's own"):
        fisher(silent, [label(frames[0].system, silent)], TRAINING)


def test_frames_are_needed(guess):
    with pytest.raises(TrainingError, match="expected labelled frames"):
        fisher(guess, [], TRAINING)
