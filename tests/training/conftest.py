"""Argon crystals with known answers: labelled by a Lennard-Jones potential in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.derivatives import predict
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import Frame, System

CUTOFF = 5.5
SLOTS = 28  # at least the neighbours of any atom in these crystals: few compilations
answer = jax.jit(predict)


def crystal(repeats: tuple[int, int, int], random: np.random.Generator, *, z: int = 18) -> System:
    """A rattled face-centred cubic cell of 4 atoms, repeated; Å."""
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corners = np.array(list(np.ndindex(*repeats)))
    positions = 5.3 * (corners[:, None] + basis).reshape(-1, 3)
    cell = 5.3 * np.diag(repeats) * random.uniform(0.98, 1.02)
    positions = positions + random.normal(scale=0.1, size=positions.shape)
    numbers = np.full(len(positions), z, np.int32)
    return System(positions, numbers, cell, np.ones(3, bool))


def labelled(system: System, potential, *, energy=0.0, config_type="crystal", index=0) -> Frame:
    """A frame with the potential's labels plus an energy offset per atom, eV."""
    shape = Shape(len(system.numbers), SLOTS, 1)
    graph = build([system], potential.elements, potential.cutoff, shape=shape, dtype=np.float64)
    labels = answer(potential, graph)
    return Frame(
        system=system,
        energy=float(labels.energy[0]) + energy * len(system.numbers),
        forces=np.asarray(labels.forces),
        stress=np.asarray(labels.stress[0]),
        config_type=config_type,
        trajectory=config_type,
        order=float(index),
        identifier=f"{config_type}_{index}",
        source=f"made.xyz frame {index}",
        info={},
    )


@pytest.fixture(scope="session")
def predicted():
    """``predict``, compiled: operation by operation it is much slower."""
    return answer


@pytest.fixture(scope="session")
def label():
    """Makes a frame from a structure and the potential that labels it."""
    return labelled


@pytest.fixture(scope="session")
def truth():
    """The potential behind the labels: argon, float64."""
    return trees.cast(lennard_jones((18,), epsilon=0.0104, sigma=3.40, cutoff=CUTOFF), jnp.float64)


@pytest.fixture(scope="session")
def guess():
    """A wrong Lennard-Jones potential of the same form, float64."""
    return trees.cast(lennard_jones((18,), epsilon=0.0085, sigma=3.34, cutoff=CUTOFF), jnp.float64)


@pytest.fixture(scope="session")
def frames(truth):
    """Six cells of 4 atoms and five of 8."""
    random = np.random.default_rng(1)
    shapes = [(1, 1, 1)] * 6 + [(2, 1, 1)] * 5
    kinds = ["small"] * 6 + ["large"] * 5
    return tuple(
        labelled(crystal(shape, random), truth, config_type=kind, index=index)
        for index, (shape, kind) in enumerate(zip(shapes, kinds, strict=True))
    )
