"""Errors of energies per atom and force components against labels."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.structures.system import Frame
from mlffjax.training.batches import Bucket, Sample, plan, samples
from mlffjax.training.feed import Ordered, Passing, Resident

ALL = "all"
"""Name of the group that holds every frame."""
AHEAD = 8
"""Batches that wait on the device for the host to read their outcome."""


class Predictions(NamedTuple):
    """What a potential says about samples, in their order."""

    energies: np.ndarray  # f8 [samples], interaction energies, eV
    forces: tuple[np.ndarray, ...]  # f8 [atoms, 3] each, eV/Å


class Scores(NamedTuple):
    """Errors over a set of structures; energies are ``None`` if no structure has a label."""

    structures: int
    energy_mae: float | None  # eV/atom
    energy_rmse: float | None  # eV/atom
    forces_mae: float  # eV/Å, over components
    forces_rmse: float  # eV/Å, over components


_evaluate = jax.jit(energies_and_forces)


def predict(potential: Potential, data: Ordered | Sequence[Bucket], *, batch: int) -> Predictions:
    """Energies and forces of all structures of a feed or of buckets, ``batch`` at a time.

    Few batches are on the device at any time, enough for it to have work while the host reads.
    """
    feed = data if isinstance(data, Ordered) else Resident(data)
    energies, forces = np.zeros(len(feed)), [np.zeros((0, 3))] * len(feed)
    queued: deque[tuple[np.ndarray, Any]] = deque()

    def note() -> None:
        positions, outcome = queued.popleft()
        energy, force, mask = jax.device_get(outcome)  # waits
        force, mask = (leaf.reshape(len(positions), -1, *leaf.shape[1:]) for leaf in (force, mask))
        for place in np.flatnonzero(positions >= 0):
            energies[positions[place]] = energy[place]
            forces[positions[place]] = force[place][mask[place]].astype(np.float64)

    for placed in feed.in_order(batch):
        graph = placed.batch.graph
        queued.append((placed.positions, (*_evaluate(potential, graph), graph.atom_mask)))
        if len(queued) > AHEAD:
            note()
    while queued:
        note()
    return Predictions(energies, tuple(forces))


def score(
    predictions: Predictions, members: Sequence[Sample], chosen: Sequence[int] | None = None
) -> Scores:
    """Errors of the chosen samples, by default all.

    Raises:
        InputError: nothing is chosen.
    """
    chosen = range(len(members)) if chosen is None else chosen
    if not len(chosen):
        raise InputError("expected at least one structure to score, got none")
    energy = np.array(
        [
            (predictions.energies[i] - members[i].energy) / len(members[i].forces)
            for i in chosen
            if members[i].energy is not None
        ]
    )
    forces = np.concatenate([(predictions.forces[i] - members[i].forces).ravel() for i in chosen])
    return Scores(
        structures=len(chosen),
        energy_mae=float(np.abs(energy).mean()) if len(energy) else None,
        energy_rmse=math.sqrt((energy**2).mean()) if len(energy) else None,
        forces_mae=float(np.abs(forces).mean()),
        forces_rmse=math.sqrt((forces**2).mean()),
    )


def score_groups(
    predictions: Predictions, members: Sequence[Sample], groups: Sequence[str]
) -> dict[str, Scores]:
    """Scores of all samples (``ALL``) and of each group, sorted by name."""
    names = {name: [i for i, group in enumerate(groups) if group == name] for name in groups}
    return {ALL: score(predictions, members)} | {
        name: score(predictions, members, names[name]) for name in sorted(names)
    }


def evaluate(
    potential: Potential,
    frames: Sequence[Frame],
    *,
    batch: int = 4,
    buckets: int = 3,
    dtype: Any = np.float32,
) -> dict[str, Scores]:
    """Errors on frames by ``config_type``, and on all of them under ``ALL``.

    Args:
        potential: its reference energies are those the frames are measured against.
        frames: labelled structures; forces are needed, energies may lack.
        batch: structures per evaluation.
        buckets: most array shapes.
        dtype: precision of the evaluation.
    """
    members = samples(frames, potential)
    shapes = plan([frame.system for frame in frames], potential.cutoff, most=buckets)
    data = Passing(members, potential.elements, potential.cutoff, shapes, dtype=dtype)
    predictions = predict(trees.cast(potential, dtype), data, batch=batch)
    return score_groups(predictions, members, [frame.config_type for frame in frames])
