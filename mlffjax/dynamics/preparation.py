"""From a user's potential, structures and settings to what the device is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import config as configs
from mlffjax import registry, units
from mlffjax.arrays import Array
from mlffjax.dynamics import evaluation, velocities
from mlffjax.dynamics.config import MdConfig, Stage
from mlffjax.dynamics.loop import Bounds, Function, Program, Task
from mlffjax.dynamics.neighborhood import Neighborhood, shortest
from mlffjax.dynamics.state import Conditions
from mlffjax.errors import ConfigError, InputError
from mlffjax.graphs.batching import species_of
from mlffjax.potential.base import Potential
from mlffjax.structures import elements
from mlffjax.structures.geometry import radii
from mlffjax.structures.system import System

OVERLAP = 1e-3
"""Å; atoms this close are one atom given twice."""


class Observer(NamedTuple):
    """A quantity measured along production: ``function(potential, graph, state, masses)``.

    The potential has its parameters folded, the graph holds the edges inside the cutoff at the
    state's positions, velocities are in internal units; all in the run's precision. The function
    must be compilable, and one and the same object in runs that are to share a compiled program.
    """

    every: int
    function: Function
    unit: str = ""


@dataclass(frozen=True)
class Setup:
    """Everything about a run that does not change while it goes on."""

    config: MdConfig
    potential: Potential  # folded, in the run's precision, on the device; stacked: one per lane
    original: Potential
    models: int | None  # stacked; None for a single one
    systems: tuple[System, ...]  # one per lane, as given
    velocities: np.ndarray  # [lanes, atoms, 3], internal units
    species: np.ndarray
    masses: np.ndarray
    observers: dict[str, Observer]

    @property
    def lanes(self) -> int:
        """Trajectories that run together."""
        return len(self.systems)

    @property
    def dtype(self) -> type:
        """In which the potential computes."""
        return np.float32 if self.config.precision == "float32" else np.float64

    @property
    def periodic(self) -> bool:
        """Whether pressure has a meaning."""
        return bool(self.systems[0].pbc.all())

    def replica(self, lane: int) -> int:
        """Which of the replicas a lane is."""
        return lane % self.config.replicas

    def program(self, stage: Stage, slots: int, *, last: bool) -> Program:
        """What a stage compiles to; observers work in the last one only."""
        watching = self.observers if last else {}
        return Program(
            ensemble=registry.resolve("dynamics.ensembles", configs.kind_of(stage.ensemble)),
            cutoff=float(self.potential.cutoff),
            slots=slots,
            stacked=self.models is not None,
            lanes=None if self.lanes == 1 and self.models is None else self.lanes,
            vectorised=jax.default_backend() != "cpu",
            observers=tuple((name, each.function) for name, each in watching.items()),
        )

    def task(self, stage: Stage, every: Mapping[str, int]) -> Task:
        """The data of a stage."""
        config, limits = self.config, self.config.limits
        target = self.temperature(stage)
        highest = limits.temperature_k or 5 * target + 1000
        module = registry.resolve("dynamics.ensembles", configs.kind_of(stage.ensemble))
        return Task(
            potential=self.potential,
            parameters=module.parameters(stage.ensemble),
            conditions=Conditions(
                timestep=_number(config.timestep_fs * units.FS),
                kt=_number(target * units.KB),
                masses=jnp.asarray(self.masses),
                freedom=_number(self.freedom(stage)),
            ),
            radii=jnp.asarray(radii(self.systems[0].numbers)),
            skin=_number(config.skin),
            bounds=Bounds(*map(_number, (highest, limits.contact, limits.energy_per_atom))),
            every={name: jnp.asarray(value) for name, value in every.items()},
        )

    def temperature(self, stage: Stage) -> float:
        """Of a stage, K."""
        own = stage.temperature_k
        return self.config.temperature_k if own is None else own

    def freedom(self, stage: Stage) -> int:
        """Degrees of freedom that hold kinetic energy."""
        freedom = 3 * len(self.masses) - 3
        if self.config.remove_rotation and stage.ensemble.keeps_rotation:
            arms = self.systems[0].positions - self.systems[0].positions.mean(axis=0)
            freedom -= 2 if np.linalg.matrix_rank(arms, tol=1e-6) < 2 else 3
        return freedom


def prepare(
    potential: Potential,
    system: System | Sequence[System],
    config: MdConfig,
    *,
    observers: Mapping[str, Observer | tuple[int, Function]] | None,
    velocities: np.ndarray | None,
    masses: np.ndarray | None,
) -> Setup:
    """Check what the user gave and bring it into form; see ``run.run`` for arguments and errors."""
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ConfigError(
            "molecular dynamics keeps positions in 64-bit numbers, which are off in JAX; call "
            "jax.config.update('jax_enable_x64', True) before anything else or set "
            "JAX_ENABLE_X64=1 (precision: float32 concerns the forces only)"
        )
    models = evaluation.members(potential)
    systems = _systems(system, config, models or 1)
    weights = _masses(masses, systems[0])
    _check_stages(systems, config, potential.cutoff)
    setup = Setup(
        config=config,
        potential=_for_lanes(potential, config, models),
        original=potential,
        models=models,
        systems=systems,
        velocities=_velocities(velocities, systems, weights, config),
        species=species_of(systems[0], potential.elements),
        masses=weights,
        observers={
            name: each if isinstance(each, Observer) else Observer(each[0], each[1])
            for name, each in (observers or {}).items()
        },
    )
    _check_observers(setup)
    return setup


def _for_lanes(potential: Potential, config: MdConfig, models: int | None) -> Potential:
    """The potential ready for use; of stacked ones, one for each lane."""
    dtype = np.float32 if config.precision == "float32" else np.float64
    ready = evaluation.prepared(potential, dtype, models)
    if models is None or config.replicas == 1:
        return ready
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, config.replicas, axis=0), ready)


def check_apart(near: Neighborhood, numbers: np.ndarray, limit: float) -> None:
    """Refuse structures with atoms on top of each other; the first list tells.

    Raises:
        InputError: names the pair.
    """
    first, second, distance, ratio = shortest(near, radii(numbers))
    if distance < OVERLAP or ratio < limit:
        raise InputError(
            f"expected atoms at chemical distances, got atoms {first} and {second} (or an image) "
            f"{distance:.3g} Å apart, {ratio:.2f} of the sum of their covalent radii; check "
            "positions, cell and length unit (Å), or relax the structure first"
        )


def _systems(
    system: System | Sequence[System], config: MdConfig, models: int
) -> tuple[System, ...]:
    """One structure per lane."""
    given = [system] if isinstance(system, System) else list(system)
    if len(given) not in (1, config.replicas):
        raise InputError(
            f"expected one structure, or one for each of {config.replicas} replicas, got "
            f"{len(given)}; set replicas to the number of structures"
        )
    first = given[0]
    for index, other in enumerate(given):
        same = np.array_equal(first.numbers, other.numbers) and np.array_equal(first.pbc, other.pbc)
        if not same:
            raise InputError(
                f"expected structures of the same atoms in the same order with the same pbc, but "
                f"structure {index} differs from structure 0; run them one by one"
            )
    own = given * (config.replicas if len(given) == 1 else 1)
    return tuple(own) * models


def _masses(given: np.ndarray | None, system: System) -> np.ndarray:
    masses = elements.masses(system.numbers) if given is None else np.asarray(given, np.float64)
    if masses.shape != system.numbers.shape:
        raise InputError(
            f"expected one mass for each of {len(system.numbers)} atoms, got shape {masses.shape}"
        )
    velocities.check_masses(masses)
    return masses


def _check_stages(systems: tuple[System, ...], config: MdConfig, cutoff: float) -> None:
    for _, stage in config.stages:
        target = config.temperature_k if stage.temperature_k is None else stage.temperature_k
        stage.ensemble.check_times(config.timestep_fs, target)
        for system in systems:
            stage.ensemble.check(system, cutoff)


def _velocities(
    given: np.ndarray | None, systems: tuple[System, ...], masses: np.ndarray, config: MdConfig
) -> np.ndarray:
    """Initial velocities of all lanes, internal units, the whole at rest."""
    shape = (len(masses), 3)
    if given is not None:
        speeds = np.asarray(given, np.float64) / units.FS
        if speeds.shape not in (shape, (config.replicas, *shape)) or not np.isfinite(speeds).all():
            raise InputError(
                f"expected finite velocities in Å/fs of shape {shape} or "
                f"{(config.replicas, *shape)}, got shape {speeds.shape}"
            )
        drawn = np.broadcast_to(speeds, (config.replicas, *shape))
    else:
        temperature = 0.0 if config.initial_velocities == "zero" else config.temperature_k
        exact = config.initial_velocities == "exact"
        drawn = np.array(
            [
                velocities.draw(masses, temperature, seed=(config.seed, replica), exact=exact)
                for replica in range(config.replicas)
            ]
        )
    drawn = drawn - np.einsum("n,rnx->rx", masses, drawn)[:, None] / masses.sum()
    if config.remove_rotation:
        drawn = np.array(
            [
                velocities.without_rotation(each.positions, speeds, masses, each.pbc)
                for each, speeds in zip(systems[: config.replicas], drawn, strict=True)
            ]
        )
    return np.tile(drawn, (len(systems) // config.replicas, 1, 1))


def _check_observers(setup: Setup) -> None:
    for name, each in setup.observers.items():
        if not 1 <= each.every <= setup.config.steps:
            raise ConfigError(
                f"observer {name!r}: expected an interval between 1 and the {setup.config.steps} "
                f"steps of production, got {each.every}"
            )


def _number(value: float) -> Array:
    return jnp.asarray(value, jnp.float64)
