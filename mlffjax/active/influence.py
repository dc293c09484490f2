"""How much each training frame pulls at a number of the trained potential, such as a barrier.

With the training loss L = mean over frames z of l_z, its Gauss-Newton matrix G at the trained
weights w and the gradient g of the number q, leaving out frame z changes the number by about

    q(without z) - q = g · (G + d)⁻¹ grad l_z / frames

(influence function; Koh and Liang, ICML 2017, arXiv:1703.04730). One linear system is solved by
conjugate gradients, whatever the number of frames. ``tracin`` follows the path of training
instead: sum over checkpoints of rate · g · grad l_z (Pruthi et al., NeurIPS 2020,
arXiv:2002.08484), without any inverse; with optimizers that rescale gradients (Adam) only its
ranking means something.

Both suppose that training ends where the loss is flat. Stopping early, choosing the best epoch
(``keep: best``) and random batches add changes they do not see, so check them with
``leave_one_out``: it trains again with the weight of one frame set to zero, all else, the sequence
of batches included, being equal. Measured rank correlations (Spearman) with training again:

    =====================================================  ==========  ======================
    model, training (all with ``keep: last``)               influence   tracin, final weights
    =====================================================  ==========  ======================
    Lennard-Jones, 24 noisy frames, converged                   0.999                    0.90
    MACE of 3296 weights, 20 PBE frames, 100 Adam steps          0.80                    0.25
        damping 1e-2; 0.66 at 1e-3, 0.50 at 1e-4
    the same, 400 Adam steps                                     0.80                   -0.11
        damping 1e-3; 0.04 at 1e-2
    =====================================================  ==========  ======================

So ranks of a network can be trusted moderately, and only with a damping that fits the length of
the training (short training, large damping): choose it by leaving out a few frames. ``tracin``
from the final weights of a network trained with Adam ranks no better than chance.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pydantic
from jax.flatten_util import ravel_pytree
from jaxtyping import Float64
from scipy.sparse.linalg import LinearOperator, cg

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int, PyTree
from mlffjax.config import Config
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.pathways.mapping import lanes, mapped
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import Prediction, energies_and_forces, predict
from mlffjax.structures.system import Frame
from mlffjax.training.batches import EMPTY, Batch, Bucket, Sample, collect, gather, plan, samples
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.losses import residual_loss
from mlffjax.training.recipe import Recipe

Weights = dict[str, Array]
"""The weights that count, by name."""

POWER_STEPS = 12
"""Iterations for the largest eigenvalue; it sets a scale only."""


class InfluenceConfig(Config):
    """What to differentiate by, and how far to trust directions the data say little about."""

    loss: LossConfig = LossConfig()
    weights: tuple[str, ...] = pydantic.Field(
        default=("*",), min_length=1, description="names of weights, with wildcards"
    )
    damping: float = pydantic.Field(
        default=1e-3, gt=0, description="added to the matrix, part of its largest eigenvalue"
    )
    steps: int = pydantic.Field(default=200, ge=1, description="conjugate gradients, at most")
    tolerance: float = pydantic.Field(default=1e-3, gt=0, description="their relative residual")
    buckets: int = pydantic.Field(default=2, ge=1, description="most array shapes")


class Influence(NamedTuple):
    """The pull of each frame."""

    left_out: Float64[np.ndarray, " frames"]  # predicted change if the frame is left out, eV
    residual: float  # of the linear system, relative; 0 for ``tracin``
    damping: float  # as added to the matrix; 0 for ``tracin``


class Retrained(NamedTuple):
    """What training again without single frames gave."""

    value: float  # with all frames
    change: Float64[np.ndarray, " frames"]  # without each frame, minus ``value``


def influence(
    potential: Potential,
    frames: Sequence[Frame],
    gradient: PyTree,
    config: InfluenceConfig | None = None,
) -> Influence:
    """Predicted change of a number if each frame had been left out of training.

    Computed in float64 where JAX allows it.

    Args:
        potential: as trained on the frames.
        frames: all training frames.
        gradient: of the number by ``potential.params``, a tree like it, such as
            ``sensitivity.path_gradient(...).params``.
        config: the loss must be that of the training; defaults if None.

    Raises:
        InputError: there are no frames, no weight has a configured name, or the gradient has
            another tree or is not finite.
        TrainingError: a frame has no forces.
        CompatibilityError: a frame holds an element the potential does not know, or the potential
            has no weights.
    """
    config = config or InfluenceConfig()
    problem = _problem(potential, frames, config)
    target = _chosen(gradient, potential, config)
    solution, residual, damping = _solve(problem, target, config)
    pulls = _pulls(problem, solution, config)
    return Influence(pulls / len(frames), residual, damping)


def tracin(
    checkpoints: Sequence[Potential],
    rates: Sequence[float],
    frames: Sequence[Frame],
    gradients: Sequence[PyTree],
    config: InfluenceConfig | None = None,
) -> Influence:
    """Change of a number if each frame had been left out, from the gradients along training.

    Args:
        checkpoints: potentials met in training, at least one; the final one alone gives a ranking.
        rates: for each, learning rate times the epochs it stands for, divided by the batch size.
        frames: all training frames.
        gradients: of the number by the parameters of each checkpoint.
        config: loss and weights; the rest is not used. Defaults if None.

    Raises:
        InputError: checkpoints, rates and gradients differ in number or there are none; otherwise
            as ``influence``.
    """
    config = config or InfluenceConfig()
    if not checkpoints or not len(checkpoints) == len(rates) == len(gradients):
        raise InputError(
            "expected as many rates and gradients as checkpoints, at least one, got "
            f"{len(checkpoints)} checkpoints, {len(rates)} rates and {len(gradients)} gradients"
        )
    total = np.zeros(len(frames))
    for potential, rate, gradient in zip(checkpoints, rates, gradients, strict=True):
        problem = _problem(potential, frames, config)
        total += rate * _pulls(problem, _chosen(gradient, potential, config), config)
    return Influence(total, 0.0, 0.0)


def leave_one_out(
    recipe: Recipe,
    train: Sequence[Frame],
    validation: Sequence[Frame],
    config: TrainingConfig,
    observable: Callable[[Potential], float],
    *,
    seed: int,
    leave: Sequence[int] | None = None,
) -> Retrained:
    """Train again without each frame and see what becomes of a number.

    A frame is left out by giving it no weight in the loss, so batches, shapes and random numbers
    stay as they were and steps are compiled once.

    Args:
        recipe: what a strategy has built.
        train: training frames.
        validation: validation frames.
        config: the protocol.
        observable: the number.
        seed: of the sequence of batches.
        leave: which frames; all by default.

    Raises:
        TrainingError, CompatibilityError: as ``training.fit``.
    """
    potential = recipe.realize(recipe.trainable)
    learned = recipe.mix(samples(train, potential))
    systems = [sample.system for sample in (*learned, *samples(validation, potential))]
    shapes = plan(systems, potential.cutoff, most=config.buckets)

    def value(left: int | None) -> float:
        mix = functools.partial(_silenced, recipe.mix, left)
        run = recipe._replace(mix=mix)
        return observable(fit(run, train, validation, config, seed=seed, shapes=shapes).potential)

    complete = value(None)
    left = range(len(train)) if leave is None else leave
    return Retrained(complete, np.array([value(index) for index in left]) - complete)


def _silenced(
    mix: Callable[[Sequence[Sample]], Sequence[Sample]],
    left: int | None,
    members: Sequence[Sample],
) -> Sequence[Sample]:
    """The mix of a recipe with one of its members given no weight."""
    return mix(
        [
            member._replace(weight=0.0) if index == left else member
            for index, member in enumerate(members)
        ]
    )


class _Problem(NamedTuple):
    potential: Potential
    weights: Weights
    buckets: tuple[Bucket, ...]
    dtype: Any


def _problem(potential: Potential, frames: Sequence[Frame], config: InfluenceConfig) -> _Problem:
    if not frames:
        raise InputError("expected the frames of the training, got none")
    dtype = _precision()
    potential = trees.cast(potential, dtype)
    members = samples(frames, potential)
    systems = [member.system for member in members]
    shapes = plan(systems, potential.cutoff, most=config.buckets)
    buckets = collect(members, potential.elements, potential.cutoff, shapes, dtype=dtype)
    return _Problem(potential, _chosen(potential.params, potential, config), buckets, dtype)


def _precision() -> Any:
    return np.float64 if jax.config.read("jax_enable_x64") else np.float32


def _chosen(tree: PyTree, potential: Potential, config: InfluenceConfig) -> Weights:
    """The weights that count, from parameters or a gradient by them."""
    params: Any = potential.params
    if not isinstance(params, dict) or "weights" not in params:
        raise CompatibilityError(
            f"expected a potential with weights, got a {type(potential.model).__name__}"
        )
    if jax.tree.structure(tree) != jax.tree.structure(params):
        raise InputError(
            f"expected a gradient with the tree of the parameters, {jax.tree.structure(params)}, "
            f"got {jax.tree.structure(tree)}"
        )
    named = trees.names(trees.cast(tree["weights"], _precision()))
    chosen = {
        name: jnp.asarray(leaf)
        for name, leaf in named.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in config.weights)
    }
    if not chosen:
        raise InputError(
            f"no weight is called {' or '.join(config.weights)}; there are {', '.join(named)}"
        )
    if not all(np.isfinite(leaf).all() for leaf in chosen.values()):
        raise InputError(
            "expected finite weights and gradients, got NaN or infinity; is the point stationary?"
        )
    return chosen


def _with(potential: Potential, weights: Weights) -> Potential:
    named = trees.names(potential.params["weights"]) | weights
    return dataclasses.replace(
        potential, params={**potential.params, "weights": trees.from_names(named)}
    )


def _prediction(potential: Potential, batch: Batch, loss: LossConfig) -> Prediction:
    """What the loss looks at; the stress only if it counts."""
    if loss.stress:
        return predict(potential, batch.graph)
    energy, forces = energies_and_forces(potential, batch.graph)
    return Prediction(energy, forces, jnp.zeros_like(batch.stress), energy)


def _pulls(problem: _Problem, direction: Weights, config: InfluenceConfig) -> np.ndarray:
    """Derivative of each frame's loss along a direction of the weights."""
    result = np.zeros(sum(len(bucket.index) for bucket in problem.buckets))
    for bucket in problem.buckets:
        found = _directional(
            problem.potential, problem.weights, bucket.rows, direction, loss=config.loss
        )
        result[bucket.index] = np.asarray(found)
    return result


@functools.partial(jax.jit, static_argnames="loss")
def _directional(
    potential: Potential, weights: Weights, rows: Batch, direction: Weights, *, loss: LossConfig
) -> Float[Array, "frames"]:
    def single(row: Int[Array, ""]) -> Float[Array, ""]:
        batch = gather(rows, row[None])

        def value(weights: Weights) -> Float[Array, ""]:
            return residual_loss(_prediction(_with(potential, weights), batch, loss), batch, loss)

        return jax.jvp(value, (weights,), (direction,))[1]

    return mapped(single, jnp.arange(rows.weight.shape[0]))


def _solve(
    problem: _Problem, target: Weights, config: InfluenceConfig
) -> tuple[Weights, float, float]:
    """(G + damping)⁻¹ target, the relative residual and the damping in absolute terms."""
    right, unravel = ravel_pytree(target)
    right = np.asarray(right, np.float64)
    buckets = tuple(bucket.rows for bucket in problem.buckets)
    frames = sum(len(bucket.index) for bucket in problem.buckets)

    def curved(vector: np.ndarray) -> np.ndarray:
        direction = unravel(jnp.asarray(vector.reshape(-1), problem.dtype))
        product = _curved(problem.potential, problem.weights, buckets, direction, loss=config.loss)
        return np.asarray(ravel_pytree(product)[0], np.float64) / frames

    size = np.linalg.norm(right)
    if not size:
        return target, 0.0, 0.0
    vector, largest = right / size, 0.0
    for _ in range(POWER_STEPS):
        product = curved(vector)
        largest = float(np.linalg.norm(product))
        if not largest:
            raise InputError(
                "expected a loss that feels the chosen weights, but it does not change with them; "
                "choose weights that were trained"
            )
        vector = product / largest
    damping = config.damping * largest

    def damped(vector: np.ndarray) -> np.ndarray:
        return curved(vector) + damping * vector.reshape(-1)

    shape = len(right), len(right)
    operator = LinearOperator(shape, matvec=damped, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    solution, _ = cg(operator, right, rtol=config.tolerance, maxiter=config.steps)
    residual = float(np.linalg.norm(damped(solution) - right) / size)
    return unravel(jnp.asarray(solution, problem.dtype)), residual, damping


@functools.partial(jax.jit, static_argnames="loss")
def _curved(
    potential: Potential,
    weights: Weights,
    buckets: tuple[Batch, ...],
    direction: Weights,
    *,
    loss: LossConfig,
) -> Weights:
    """Gauss-Newton matrix, summed over frames, times a direction."""

    def single(batch: Batch) -> Weights:
        return _gauss_newton(potential, weights, batch, direction, loss)

    total = [_summed(single, rows, direction) for rows in buckets]
    return jax.tree.map(lambda *parts: sum(parts), *total)


def _gauss_newton(
    potential: Potential, weights: Weights, batch: Batch, direction: Weights, loss: LossConfig
) -> Weights:
    """Jᵀ (second derivative of the loss by predictions) J direction, of one batch."""

    def outputs(weights: Weights) -> Prediction:
        return _prediction(_with(potential, weights), batch, loss)

    def slope(prediction: Prediction) -> Prediction:
        return jax.grad(residual_loss)(prediction, batch, loss)

    prediction, change = jax.jvp(outputs, (weights,), (direction,))
    _, bent = jax.jvp(slope, (prediction,), (change,))
    return jax.vjp(outputs, weights)[1](bent)[0]


def _summed(function: Callable[[Batch], Weights], rows: Batch, like: Weights) -> Weights:
    """Sum over the frames of a bucket; some at a time on accelerators, one by one on CPUs."""
    count = rows.weight.shape[0]
    width = lanes(count)
    index = np.full(-(-count // width) * width, EMPTY, np.int32)
    index[:count] = np.arange(count)

    def add(total: Weights, chunk: Int[Array, "width"]) -> tuple[Weights, None]:
        parts = jax.vmap(lambda row: function(gather(rows, row[None])))(chunk)
        return jax.tree.map(lambda t, p: t + p.sum(axis=0), total, parts), None

    zero = jax.tree.map(jnp.zeros_like, like)
    return jax.lax.scan(add, zero, jnp.asarray(index.reshape(-1, width)))[0]
