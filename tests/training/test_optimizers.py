import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mlffjax.training.config import ScheduleConfig, TrainingConfig
from mlffjax.training.leash import Leash, held
from mlffjax.training.optimizers import (
    IDLE,
    averaged,
    decays,
    evaluated,
    optimizer,
    rate_factor,
)

KINDS = ["adam", "amsgrad", "adamw", "schedule_free_adamw"]


def configured(kind, clip=None):
    choices = {"weight_decay": 0.01} if kind == "adamw" else {}
    return TrainingConfig(optimizer=kind, clip=clip, ema=None, **choices)


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


@pytest.mark.parametrize("kind", KINDS)
def test_first_step_has_the_length_of_the_rate(kind):
    """Adam's first update is the sign of the gradient, whatever its size and however clipped."""
    rule = optimizer(configured(kind, clip=0.5))
    weights = jnp.zeros(3)
    updates, _ = rule.update(jnp.array([3.0, -200.0, 0.1]), rule.init(weights), weights, rate=1.0)
    np.testing.assert_allclose(updates, [-1, 1, -1], rtol=1e-4)  # eps against 0.1 * 0.5/200


def test_amsgrad_remembers_the_largest_gradient():
    def moved(kind):
        rule = optimizer(TrainingConfig(optimizer=kind, clip=None))
        state, updates = rule.init(jnp.zeros(())), jnp.zeros(())
        for gradient in [10.0] + [0.01] * 300:
            updates, state = rule.update(jnp.asarray(gradient), state, jnp.zeros(()), rate=1.0)
        return abs(float(updates))

    assert moved("amsgrad") < 0.5 * moved("adam")


def test_clipping_limits_the_memory_of_one_wild_gradient():
    def second_step(clip):
        rule = optimizer(TrainingConfig(clip=clip))
        state = rule.init(jnp.zeros(()))
        for gradient in (1e6, 1.0):
            updates, state = rule.update(jnp.asarray(gradient), state, jnp.zeros(()), rate=1.0)
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


def test_decay_of_weights_is_apart_from_the_gradient_and_spares_what_is_no_matrix():
    """AdamW after one step: w - rate (sign + decay w), whatever the size of the gradient."""
    rule = optimizer(TrainingConfig(optimizer="adamw", weight_decay=0.5, clip=None))
    weights = {"matrix": jnp.full((2, 2), 3.0), "bias": jnp.full(2, 3.0)}
    gradient = jax.tree.map(lambda leaf: 1e3 * jnp.ones_like(leaf), weights)
    updates, _ = rule.update(gradient, rule.init(weights), weights, rate=0.01)
    np.testing.assert_allclose(updates["matrix"], -0.01 * (1 + 0.5 * 3), rtol=1e-6)
    np.testing.assert_allclose(updates["bias"], -0.01, rtol=1e-6)
    assert decays(weights) == {"matrix": True, "bias": False}


@pytest.mark.parametrize("kind", KINDS)
def test_factors_scale_the_steps_of_single_leaves(kind):
    """On top of the rate: the first updates have the lengths of rate times factor."""
    rule = optimizer(configured(kind), (1.0, 0.25))
    weights = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    gradient = {"a": jnp.array([2.0, -1.0]), "b": jnp.array([-3.0, 0.5])}
    updates, _ = rule.update(gradient, rule.init(weights), weights, rate=0.1)
    np.testing.assert_allclose(updates["a"], [-0.1, 0.1], rtol=1e-4)
    np.testing.assert_allclose(updates["b"], [0.025, -0.025], rtol=1e-4)


def test_schedule_free_follows_its_equations():
    """z, x, y written out (arXiv:2405.15682, algorithm 1 with Adam's scaling), varying rates."""
    random = np.random.default_rng(3)
    rule = optimizer(configured("schedule_free_adamw"))
    y = {"w": jnp.asarray(random.normal(size=3))}
    memory, beta, second = rule.init(y), 0.9, np.zeros(3)
    x = z = reference = np.asarray(y["w"])
    total, largest = 0.0, 0.0
    for step in range(1, 8):
        rate, gradient = 0.01 * min(step, 3), random.normal(size=3)
        updates, memory = rule.update({"w": jnp.asarray(gradient)}, memory, y, rate=rate)
        y = {"w": y["w"] + updates["w"]}
        second = 0.999 * second + 0.001 * gradient**2
        z = z - rate * gradient / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        largest = max(largest, rate)
        total += largest**2
        x = (1 - largest**2 / total) * x + largest**2 / total * z
        reference = (1 - beta) * z + beta * x
        np.testing.assert_allclose(y["w"], reference, rtol=1e-10)
        np.testing.assert_allclose(evaluated(y, memory)["w"], x, rtol=1e-10)


def test_only_schedule_free_evaluates_other_weights_than_it_trains():
    weights = {"w": jnp.ones(2)}
    for kind in ("adam", "amsgrad", "adamw"):
        assert evaluated(weights, optimizer(configured(kind)).init(weights)) is weights


@pytest.mark.parametrize("kind", KINDS)
def test_rates_are_data_and_precision_is_that_of_the_weights(kind):
    """One trace serves all rates, numbers and arrays alike, and the state keeps its types."""
    rule, traces = optimizer(configured(kind, clip=1.0)), []

    @jax.jit
    def step(weights, memory, rate):
        traces.append(kind)
        updates, memory = rule.update(weights, memory, weights, rate=rate)
        return jax.tree.map(jnp.add, weights, updates), memory

    weights = {"w": jnp.ones((2, 2), jnp.float32)}
    memory = rule.init(weights)
    for rate in (0.1, 0.2, 0.3):
        weights, memory = step(weights, memory, rate)
    assert len(traces) == 1
    weights, memory = step(weights, memory, jnp.float64(0.1))
    assert weights["w"].dtype == jnp.float32
    floats = [x.dtype for x in jax.tree.leaves(memory) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(floats) == {jnp.dtype(jnp.float32)}


def test_nothing_to_train_needs_no_choice():
    assert IDLE.update({}, IDLE.init({}), {}, rate=0.1)[0] == {}


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"optimizer": "adamw"}, "needs a weight_decay"),
        ({"weight_decay": 0.1}, "adam has no weight_decay, got 0.1"),
        ({"optimizer": "schedule_free_adamw"}, "averages weights itself, got ema 0.99"),
        (
            {"optimizer": "schedule_free_adamw", "ema": None, "schedule": {"kind": "cosine"}},
            "replaces schedules, got cosine",
        ),
        ({"epochs": 5, "schedule": {"warmup": 5}}, "got 5 of 5"),
    ],
)
def test_choices_that_exclude_each_other_are_refused_by_name(choices, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**choices)


def test_warm_up_rises_linearly_to_what_follows():
    schedule = ScheduleConfig(warmup=3)
    factors = [rate_factor(schedule, epoch, 10, []) for epoch in range(1, 6)]
    assert factors == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["cosine", "plateau"])
def test_after_a_warm_up_schedules_begin_anew(kind):
    errors = [9.0, 8.0, 7.0, 3.0, 2.0, 2.5, 2.5, 2.5, 1.0, 1.5]
    later = ScheduleConfig(kind=kind, patience=2, warmup=2)
    without = ScheduleConfig(kind=kind, patience=2)
    for epoch in range(3, 11):
        assert rate_factor(later, epoch, 10, errors[:epoch]) == rate_factor(
            without, epoch - 2, 8, errors[2:epoch]
        )


@pytest.mark.parametrize("clip", [0.5, 50.0])
def test_largest_norm_is_data_of_the_optimizer(clip):
    rule, other = (optimizer(TrainingConfig(clip=norm)) for norm in (clip, 2.0))
    assert rule.update is other.update
    assert rule is optimizer(TrainingConfig(clip=clip))
    gradient = {"a": jnp.array([3.0, -4.0]), "b": jnp.array(12.0)}  # norm 13
    state = rule.init(gradient)
    _, state = rule.update(gradient, state, gradient, rate=1.0)
    plain = optax.clip_by_global_norm(clip)
    expected, _ = plain.update(gradient, plain.init(gradient))
    memory = optax.tree.get(state, "mu")  # 0.1 of the first gradient
    for name, leaf in expected.items():
        np.testing.assert_allclose(memory[name], 0.1 * leaf, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_leash_is_minimised_around_the_move_in_the_metric_of_the_move(kind):
    """Slope of k/2 (v - w*)² + (v - w')² / 2s at the new weights v, varying rates and factors."""
    random = np.random.default_rng(4)
    factors = (1.0, 0.25)
    rule = optimizer(configured(kind, clip=None), factors)
    weights = {
        "a": jnp.asarray(random.normal(size=(2, 2))),
        "b": jnp.asarray(random.normal(size=3)),
    }
    leash = Leash(
        jax.tree.map(lambda leaf: leaf + 0.3, weights),
        {"a": jnp.asarray(random.uniform(0, 50, size=(2, 2))), "b": jnp.asarray(7.0)},
    )
    memory = rule.init(weights)
    second, largest = (jax.tree.map(jnp.zeros_like, weights) for _ in range(2))
    for step in range(1, 5):
        rate = 0.01 * step
        slope = jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape)), weights)
        free, after = rule.update(slope, memory, weights, rate=rate)
        tied, memory_tied = rule.update(slope, memory, weights, rate=rate, leash=leash)
        step_taken = free
        if kind == "schedule_free_adamw":  # its base moves z, with gradients at the weights
            free, tied = (
                jax.tree.map(jnp.subtract, new[0].z, memory[0].z) for new in (after, memory_tied)
            )
        correction = 1 - 0.999**step
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, second, slope)
        corrected = jax.tree.map(lambda v, by=correction: v / by, second)
        largest = jax.tree.map(jnp.maximum, largest, corrected)
        for (name, weight), factor in zip(weights.items(), factors, strict=True):
            moment = largest if kind == "amsgrad" else corrected
            size = rate * factor / (np.sqrt(moment[name]) + 1e-8)
            new = weight + tied[name]
            pull = leash.stiffness[name] * (new - leash.origin[name])
            np.testing.assert_allclose(pull, -(tied[name] - free[name]) / size, rtol=1e-9)
        weights, memory = jax.tree.map(jnp.add, weights, step_taken), after


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_leash_from_none_to_the_strongest(dtype):
    """No stiffness changes no bit, an endless one brings back what has gone astray."""
    origin = jnp.asarray([0.3, -2.0, 1e-3], dtype)
    moves, sizes = 0.1 * origin**2, jnp.asarray([1e-3, 1e5, 0.0], dtype)
    weights = origin + 0.5
    nothing = held(moves, weights, sizes, Leash(origin, jnp.zeros((), dtype)))
    assert nothing.tolist() == moves.tolist()
    strong = held(moves, weights, sizes, Leash(origin, jnp.full(3, 1e36, dtype)))
    assert strong.dtype == dtype
    # One rounding of the way back; a size of zero means that nothing is moved.
    np.testing.assert_allclose((weights + strong)[:2], origin[:2], rtol=4 * jnp.finfo(dtype).eps)
    assert strong[2] == moves[2]
    staying = held(moves, origin, sizes, Leash(origin, jnp.full(3, 1e36, dtype)))
    assert (origin + staying)[:2].tolist() == origin[:2].tolist()
