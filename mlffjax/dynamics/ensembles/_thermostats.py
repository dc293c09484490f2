"""Thermostats, as changes of velocities.

References:
    [1] Leimkuhler and Matthews, J. Chem. Phys. 138, 174102 (2013), doi:10.1063/1.4802990.
    [2] Bussi, Donadio and Parrinello, J. Chem. Phys. 126, 014101 (2007), doi:10.1063/1.2408420.
    [3] Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992), doi:10.1063/1.463940.
    [4] Martyna, Tuckerman, Tobias and Klein, Mol. Phys. 87, 1117 (1996),
        doi:10.1080/00268979600100761; the factorisation used here.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mlffjax.arrays import Array, Float, PRNGKey
from mlffjax.dynamics.state import Conditions, at_rest_as_a_whole, kinetic_energy

# Fourth order: Yoshida, Phys. Lett. A 150, 262 (1990), doi:10.1016/0375-9601(90)90092-3.
_OUTER = 1 / (2 - 2 ** (1 / 3))
YOSHIDA = (_OUTER, 1 - 2 * _OUTER, _OUTER)


def langevin(
    conditions: Conditions,
    velocities: Float[Array, "atoms 3"],
    friction: Float[Array, ""],
    key: PRNGKey,
) -> Float[Array, "atoms 3"]:
    """Exact friction and noise over one step, the O of BAOAB [1]; the whole stays at rest.

    Noise without its centre of mass's part has the covariance of the canonical ensemble of zero
    total momentum.
    """
    kept = jnp.exp(-friction * conditions.timestep)
    width = jnp.sqrt(-jnp.expm1(-2 * friction * conditions.timestep) * conditions.kt)
    noise = jax.random.normal(key, velocities.shape, velocities.dtype)
    changed = kept * velocities + width * noise / jnp.sqrt(conditions.masses)[:, None]
    return at_rest_as_a_whole(changed, conditions.masses)


def rescaling(
    conditions: Conditions, kinetic: Float[Array, ""], time: Float[Array, ""], key: PRNGKey
) -> Float[Array, ""]:
    """Factor on all velocities that samples the canonical kinetic energy; appendix of [2]."""
    first, second = jax.random.split(key)
    kept = jnp.exp(-conditions.timestep / time)
    share = -jnp.expm1(-conditions.timestep / time) * conditions.kt / 2  # of the mean, per freedom
    normal = jax.random.normal(first, (), kinetic.dtype)
    # A sum of squares of (freedom - 1) normal numbers.
    others = 2 * jax.random.gamma(second, (conditions.freedom - 1) / 2, (), kinetic.dtype)
    root = jnp.sqrt(kept * kinetic) + jnp.sqrt(share) * normal  # its sign is that of the factor
    wanted = root**2 + share * others
    moving = kinetic > 0
    factor = jnp.sign(root) * jnp.sqrt(wanted / jnp.where(moving, kinetic, 1))
    return jnp.where(moving, factor, 1)  # nothing to scale at rest


class Chain(NamedTuple):
    """A Nose-Hoover chain; the first link acts on the system, every other on the one before."""

    positions: Float[Array, "links"]
    velocities: Float[Array, "links"]


class Coupling(NamedTuple):
    """What a chain is coupled to, and how."""

    freedom: Float[Array, ""]
    kt: Float[Array, ""]  # eV
    time: Float[Array, ""]  # period over 2 pi, internal units

    def masses(self, links: int) -> Float[Array, "links"]:
        """Freedom kT time² for the first link, kT time² for others."""
        counts = jnp.ones(links).at[0].set(self.freedom)
        return counts * self.kt * self.time**2


def chain_at_rest(links: int) -> Chain:
    """A chain that has not acted yet."""
    return Chain(jnp.zeros(links), jnp.zeros(links))


def chain_energy(chain: Chain, coupling: Coupling) -> Float[Array, ""]:
    """Contribution to the conserved quantity, eV."""
    links = chain.positions.shape[0]
    counts = jnp.ones(links).at[0].set(coupling.freedom)
    kinetic = (coupling.masses(links) * chain.velocities**2).sum() / 2
    return kinetic + coupling.kt * (counts * chain.positions).sum()


def chain_half_step(
    chain: Chain, coupling: Coupling, kinetic: Float[Array, ""], timestep: Float[Array, ""]
) -> tuple[Chain, Float[Array, ""]]:
    """The chain half a step later, and the factor on the velocities of what it is coupled to."""

    def part(carry, weight):
        chain, kinetic, factor = carry
        chain, scale = _chain_part(chain, coupling, kinetic, weight * timestep / 2)
        return (chain, kinetic * scale**2, factor * scale), None

    start = (chain, kinetic, jnp.ones_like(kinetic))
    (chain, _, factor), _ = jax.lax.scan(part, start, jnp.array(YOSHIDA, kinetic.dtype))
    return chain, factor


def _chain_part(
    chain: Chain, coupling: Coupling, kinetic: Float[Array, ""], time: Float[Array, ""]
) -> tuple[Chain, Float[Array, ""]]:
    """One symmetric factor of [4]: from the far end of the chain to the system and back."""
    links = chain.positions.shape[0]
    masses = coupling.masses(links)
    speeds = list(chain.velocities)

    def push(link: int, kinetic: Float[Array, ""]) -> None:
        if link == 0:
            force = 2 * kinetic - coupling.freedom * coupling.kt
        else:
            force = masses[link - 1] * speeds[link - 1] ** 2 - coupling.kt
        drag = jnp.exp(-time / 4 * speeds[link + 1]) if link + 1 < links else 1.0
        speeds[link] = (speeds[link] * drag + time / 2 * force / masses[link]) * drag

    for link in reversed(range(links)):
        push(link, kinetic)
    factor = jnp.exp(-time * speeds[0])
    positions = chain.positions + time * jnp.stack(speeds)
    for link in range(links):
        push(link, kinetic * factor**2)
    return Chain(positions, jnp.stack(speeds)), factor


def kinetic_of(conditions: Conditions, velocities: Float[Array, "atoms 3"]) -> Float[Array, ""]:
    """Kinetic energy under given conditions, eV."""
    return kinetic_energy(velocities, conditions.masses)
