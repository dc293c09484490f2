"""Optimisers that follow a force to zero, over all coordinates of a structure or a band at once.

The force of a band is not a gradient, so nothing here looks at energies. ``init`` makes a state;
``step`` takes the place at which the force was found and returns the next place to look at. All
are pure, and no place is farther from the one before than ``reach``.

| kind | method | reach limits |
|---|---|---|
| ``fire`` | inertial, Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006), doi:10.1103/PhysRevLett.97.170201 | the norm of the whole step |
| ``ode12r`` | adaptive Euler, Makri, Ortner and Kermode, J. Chem. Phys. 150, 094109 (2019), doi:10.1063/1.5064465 | the step of any atom |
| ``lbfgs`` | limited memory, without line search; Sheppard, Terrell and Henkelman, J. Chem. Phys. 128, 134106 (2008), doi:10.1063/1.2841941 | the step of any atom |
"""  # noqa: E501

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Bool, Float, Int

Kind = Literal["fire", "ode12r", "lbfgs"]

# FIRE, with the values of the paper and unit masses; time in units in which 1 eV/Å moves 1 Å/s².
FIRST_TIME, LONGEST_TIME, PATIENCE = 0.1, 1.0, 5
GROW, SHRINK, MIXING, FADE = 1.1, 0.5, 0.1, 0.99
# ODE12r: relative tolerance, demanded contraction, allowed growth of the residual, smallest step.
TOLERANCE, CONTRACTION, GROWTH, SMALLEST = 0.1, 1e-2, 2.0, 1e-10
# L-BFGS: pairs kept, and the curvature assumed before there is one, eV/Å^2.
MEMORY, CURVATURE = 10, 70.0
STEEPEST = 0.05  # cosine to the force below which a direction of L-BFGS is not believed


class Fire(NamedTuple):
    """State of ``fire``."""

    velocity: Float[Array, "*any"]
    time: Float[Array, ""]
    mixing: Float[Array, ""]
    downhill: Int[Array, ""]  # steps since the force last opposed the velocity


class Ode12r(NamedTuple):
    """State of ``ode12r``: the last accepted place."""

    place: Float[Array, "*any"]
    force: Float[Array, "*any"]
    residual: Float[Array, ""]  # infinite until there is one
    time: Float[Array, ""]


class Lbfgs(NamedTuple):
    """State of ``lbfgs``: the last place, and differences before it, the newest last."""

    place: Float[Array, "*any"]
    force: Float[Array, "*any"]
    moves: Float[Array, "memory *any"]
    changes: Float[Array, "memory *any"]  # of minus the force
    inverse: Float[Array, "memory"]  # 1 / (move · change); 0 where there is no pair
    started: Bool[Array, ""]


def init(kind: Kind, place: Float[Array, "*any"]) -> Any:
    """The state before the first step."""
    # Arrays of the final type: a Python number would be traced anew as an array.
    number = lambda value: jnp.asarray(value, place.dtype)  # noqa: E731
    nothing = jnp.zeros_like(place)
    if kind == "fire":
        return Fire(nothing, number(FIRST_TIME), number(MIXING), jnp.zeros((), jnp.int32))
    if kind == "ode12r":
        return Ode12r(place, nothing, number(jnp.inf), number(0.0))
    history = jnp.zeros((MEMORY, *place.shape), place.dtype)
    inverse = jnp.zeros(MEMORY, place.dtype)
    return Lbfgs(place, nothing, history, history, inverse, jnp.zeros((), bool))


def step(
    kind: Kind,
    state: Any,
    place: Float[Array, "*rows 3"],
    force: Float[Array, "*rows 3"],
    reach: Float[Array, ""],
) -> tuple[Any, Float[Array, "*rows 3"]]:
    """The state after learning the force (eV/Å) at a place (Å), and the next place."""
    return {"fire": _fire, "ode12r": _ode12r, "lbfgs": _lbfgs}[kind](state, place, force, reach)


def _fire(state: Fire, place: Array, force: Array, reach: Array) -> tuple[Fire, Array]:
    power = (force * state.velocity).sum()
    ok = power > 0
    size = jnp.sqrt((state.velocity**2).sum())
    norm = jnp.sqrt((force**2).sum())
    steered = (1 - state.mixing) * state.velocity
    steered += state.mixing * size * force / jnp.where(norm > 0, norm, 1.0)
    long = ok & (state.downhill > PATIENCE)
    # The very first step is not a failure: there was no velocity the force could oppose.
    failed = ~ok & (size > 0)
    time = jnp.where(long, jnp.minimum(GROW * state.time, LONGEST_TIME), state.time)
    time = jnp.where(failed, SHRINK * time, time)
    mixing = jnp.where(long, FADE * state.mixing, state.mixing)
    velocity = jnp.where(ok, steered, 0.0) + time * force
    change = time * velocity
    length = jnp.sqrt((change**2).sum())
    change *= jnp.minimum(1.0, reach / jnp.where(length > 0, length, 1.0))
    downhill = jnp.where(ok, state.downhill + 1, 0)
    return Fire(velocity, time, jnp.where(failed, MIXING, mixing), downhill), place + change


def _ode12r(state: Ode12r, place: Array, force: Array, reach: Array) -> tuple[Ode12r, Array]:
    residual = _largest(force)
    first = jnp.isinf(state.residual)
    time = jnp.where(first, 0.5 * jnp.sqrt(TOLERANCE) / residual, state.time)
    error = jnp.abs(0.5 * time * (force - state.force)).max()
    contracts = residual <= state.residual * (1 - CONTRACTION * time)
    bearable = (residual <= GROWTH * state.residual) & (error <= TOLERANCE)
    accept = first | contracts | bearable
    change = state.force - force
    searched = time * (state.force * change).sum() / ((change**2).sum() + 1e-10)
    searched = jnp.where(searched < SMALLEST, jnp.inf, searched)  # the force grows: no zero ahead
    bounded = 0.5 * time * jnp.sqrt(TOLERANCE / jnp.maximum(error, 1e-300))
    longer = jnp.maximum(0.25 * time, jnp.minimum(4 * time, jnp.minimum(bounded, searched)))
    shorter = jnp.maximum(0.1 * time, jnp.minimum(0.25 * time, jnp.minimum(bounded, searched)))
    time = jnp.where(first, time, jnp.where(accept, longer, shorter))
    kept = Ode12r(
        jnp.where(accept, place, state.place),
        jnp.where(accept, force, state.force),
        jnp.where(accept, residual, state.residual),
        jnp.maximum(time, SMALLEST),
    )
    kept = kept._replace(time=jnp.minimum(kept.time, reach / kept.residual))
    return kept, kept.place + kept.time * kept.force


def _lbfgs(state: Lbfgs, place: Array, force: Array, reach: Array) -> tuple[Lbfgs, Array]:
    move, change = place - state.place, state.force - force
    curvature = (move * change).sum()
    # Where the curvature is not positive the memory would point uphill: it is given up.
    useful = state.started & (curvature > 1e-10 * (move**2).sum())
    state = state._replace(inverse=jnp.where(useful, state.inverse, 0.0))
    inverse = jnp.where(useful, 1 / jnp.where(useful, curvature, 1.0), 0.0)

    def pushed(values: Array, new: Array) -> Array:
        return jnp.where(useful, jnp.concatenate([values[1:], new[None]]), values)

    kept = Lbfgs(
        place,
        force,
        pushed(state.moves, move),
        pushed(state.changes, change),
        pushed(state.inverse, inverse),
        jnp.ones((), bool),
    )
    direction = _two_loops(kept, force)
    # A direction nearly across the force means that the memory is wrong: follow the force.
    sizes = jnp.sqrt((direction**2).sum() * (force**2).sum())
    sensible = (direction * force).sum() > STEEPEST * sizes
    direction = jnp.where(sensible, direction, force / CURVATURE)
    longest = _largest(direction)
    return kept, place + direction * jnp.minimum(1.0, reach / jnp.where(longest > 0, longest, 1.0))


def _two_loops(state: Lbfgs, force: Array) -> Array:
    """Approximate inverse Hessian times the force."""

    def back(q: Array, pair: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        move, change, inverse = pair
        amount = inverse * (move * q).sum()
        return q - amount * change, amount

    def forth(z: Array, pair: tuple[Array, Array, Array, Array]) -> tuple[Array, None]:
        move, change, inverse, amount = pair
        return z + (amount - inverse * (change * z).sum()) * move, None

    pairs = (state.moves, state.changes, state.inverse)
    q, amounts = jax.lax.scan(back, force, pairs, reverse=True)
    # The newest pair tells the scale of the rest (Nocedal and Wright, eq. 7.20).
    known = state.inverse[-1] > 0
    stiff = (state.changes[-1] ** 2).sum() * state.inverse[-1]
    return jax.lax.scan(forth, q / jnp.where(known, stiff, CURVATURE), (*pairs, amounts))[0]


def _largest(rows: Float[Array, "*rows 3"]) -> Float[Array, ""]:
    """Largest norm of a row."""
    return jnp.sqrt((rows**2).sum(axis=-1).max())
