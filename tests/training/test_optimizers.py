import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.training.config import ScheduleConfig, TrainingConfig
from mlffjax.training.optimizers import averaged, optimizer, rate_factor


def test_average_is_the_weighted_sum_of_all_weights():
    """Unrolled: sum_k (1 - d_k) prod_{m > k} d_m w_k, with the first weights fading likewise."""
    values = np.random.default_rng(0).normal(size=30)
    decay, start = 0.9, 5.0
    average = jnp.asarray(start)
    for step, value in enumerate(values, start=1):
        average = averaged(average, jnp.asarray(value), jnp.asarray(step), decay)
    d = np.minimum(decay, (1 + np.arange(1, 31)) / (10 + np.arange(1, 31)))
    later = np.append(np.cumprod(d[::-1])[::-1][1:], 1.0)
    expected = ((1 - d) * later * values).sum() + d.prod() * start
    assert float(average) == pytest.approx(float(expected), rel=1e-14)


def test_no_decay_gives_the_weights_themselves():
    weights = {"w": jnp.array([0.1, -3.7], jnp.float32)}
    got = averaged(jax.tree.map(jnp.zeros_like, weights), weights, jnp.asarray(1), 0.0)
    assert got["w"].tolist() == weights["w"].tolist()
    assert got["w"].dtype == jnp.float32


@pytest.mark.parametrize("kind", ["adam", "amsgrad"])
def test_first_step_has_the_length_of_the_rate(kind):
    """Adam's first update is the sign of the gradient, whatever its size and however clipped."""
    rule = optimizer(TrainingConfig(optimizer=kind, clip=0.5))
    weights = jnp.zeros(3)
    updates, _ = rule.update(jnp.array([3.0, -200.0, 0.1]), rule.init(weights), weights)
    np.testing.assert_allclose(updates, [-1, 1, -1], rtol=1e-4)  # eps against 0.1 * 0.5/200


def test_amsgrad_remembers_the_largest_gradient():
    def moved(kind):
        rule = optimizer(TrainingConfig(optimizer=kind, clip=None))
        state, updates = rule.init(jnp.zeros(())), jnp.zeros(())
        for gradient in [10.0] + [0.01] * 300:
            updates, state = rule.update(jnp.asarray(gradient), state, jnp.zeros(()))
        return abs(float(updates))

    assert moved("amsgrad") < 0.5 * moved("adam")


def test_clipping_limits_the_memory_of_one_wild_gradient():
    def second_step(clip):
        rule = optimizer(TrainingConfig(clip=clip))
        state = rule.init(jnp.zeros(()))
        for gradient in (1e6, 1.0):
            updates, state = rule.update(jnp.asarray(gradient), state, jnp.zeros(()))
        return abs(float(updates))

    assert second_step(1.0) == pytest.approx(1.0, rel=1e-4)  # both gradients count alike
    assert second_step(None) < 0.7


def test_equal_choices_share_one_optimizer():
    assert optimizer(TrainingConfig(learning_rate=1.0)) is optimizer(TrainingConfig(batch=7))


def test_constant_schedule():
    assert {rate_factor(ScheduleConfig(), e, 10, [1.0] * e) for e in range(1, 11)} == {1.0}


def test_cosine_falls_from_one_to_the_floor():
    schedule = ScheduleConfig(kind="cosine", floor=0.1)
    factors = [rate_factor(schedule, epoch, 11, []) for epoch in range(1, 12)]
    assert factors[0] == 1.0
    assert factors[5] == pytest.approx(0.55)
    assert factors[-1] == pytest.approx(0.1)
    assert factors == sorted(factors, reverse=True)
    assert rate_factor(schedule, 1, 1, []) == 1.0


def test_plateau_waits_then_falls_and_stops_at_the_floor():
    schedule = ScheduleConfig(kind="plateau", patience=2, factor=0.5, floor=0.2)
    errors = [3.0, 2.0, 2.5, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]
    factors = [rate_factor(schedule, n, 100, errors[:n]) for n in range(1, len(errors) + 1)]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
