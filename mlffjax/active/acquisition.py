"""Which structures to label next: sound ones, none twice, chosen by a kind of selection.

Candidates pass in turn: structures that have a label already, or occur among the candidates before,
are dropped; so are those that waste a calculation (atoms too close, forces out of all reason, no
finite answer of the models) and those whose features hardly differ from those of others. What is
left is handed to a kind of ``active.selection``. Everything that is dropped is named with a reason.
"""

import functools
import warnings
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
import pydantic
from ase.cell import Cell
from jaxtyping import Float64

from mlffjax import config as configuration
from mlffjax.active.selection._selection import Pool, Section, features_of
from mlffjax.config import Config, by_kind
from mlffjax.errors import InputError
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.potential import rigidity
from mlffjax.potential.base import Potential
from mlffjax.registry import resolve
from mlffjax.representation.features import node_features, outputs_of, packed, pooled
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.geometry import radii
from mlffjax.structures.selection import descriptors
from mlffjax.structures.system import Frame, System

ATOMS = 48  # of structures whose features are differentiated together


class NothingLeft(InputError):
    """There are candidates, but each of them was dropped."""


class AcquisitionConfig(Config):
    """How a batch is chosen."""

    select: Annotated[Section, by_kind("active.selection")]
    features: Literal["model", "distances"] = "distances"
    """Of structures: invariant features of the first model's last layer, or smooth histograms of
    distances, which any model can do with and which stay the same while models change."""
    contact: float = pydantic.Field(default=0.6, ge=0, lt=1)
    """Shortest distance allowed, as a part of the sum of two covalent radii."""
    largest_force: float = pydantic.Field(default=30.0, gt=0)
    """Longest force on an atom that is worth a label, mean over the models, eV/Å."""
    duplicate: float = pydantic.Field(default=1e-3, ge=0)
    """Structures whose scaled features, per square root of their number, are nearer than this are
    the same; 0: only equal positions are."""


class Dropped(NamedTuple):
    """A candidate that was not considered."""

    index: int
    reason: str


class Acquired(NamedTuple):
    """A batch; indices count the candidates as they were given."""

    indices: tuple[int, ...]
    scores: tuple[float | None, ...]
    """Of the chosen, if the kind has scores."""
    dropped: tuple[Dropped, ...]


def acquire(
    candidates: Sequence[Frame],
    labelled: Sequence[System],
    models: Sequence[Potential],
    config: AcquisitionConfig,
    count: int,
    *,
    seed: int = 0,
) -> Acquired:
    """Choose structures to be labelled.

    Args:
        candidates: structures; labels they may carry are not looked at.
        labelled: structures that have a label.
        models: the present ones, at least one; a committee for kinds that need forces of several.
        config: filters and kind of selection.
        count: how many; if fewer are left all of them are taken, with a warning.
        seed: of kinds that draw.

    Raises:
        NothingLeft: each of the candidates was dropped.
        InputError: there are no candidates or no models; features cannot be had; a committee is
            too small.
        CompatibilityError: a model does not know an element, or has no features.
    """
    if not candidates or not models:
        what = "candidates to choose from" if models else "models to judge candidates by"
        raise InputError(f"expected {what}, got none; add paths, a pool or a trajectory")
    dropped, left = _equal(candidates, labelled)
    forces, atom_of = _forces([candidates[i].system for i in left], models)
    left, rows = _sound(candidates, left, forces, atom_of, config, dropped)
    features, known = _features(config, [candidates[i].system for i in left], labelled, models[0])
    distinct = _distinct(features, known, left, config.duplicate, dropped)
    left, rows = [left[row] for row in distinct], rows[distinct]
    if not left:
        raise NothingLeft(_nothing(dropped))
    names = list(dict.fromkeys(frame.trajectory for frame in candidates))
    atoms = np.isin(atom_of, rows)
    pool = Pool(
        trajectory=np.array([names.index(candidates[i].trajectory) for i in left]),
        order=np.array([candidates[i].order for i in left], float),
        features=features[distinct],
        known=known,
        forces=forces[:, atoms],
        atom_candidate=np.searchsorted(rows, atom_of[atoms]),
        rigidity=_rigidity([candidates[i].system for i in left], labelled, models[0])
        if "rigidity" in config.select.needs
        else None,
    )
    if count > len(left):
        warnings.warn(
            f"{count} structures were asked for, but only {len(left)} candidates are left; all of "
            "them are taken",
            RuntimeWarning,
            stacklevel=2,
        )
    kind = resolve("active.selection", configuration.kind_of(config.select))
    chosen = kind.select(config.select, pool, count, seed)
    scores = [None if chosen.scores is None else float(chosen.scores[i]) for i in chosen.indices]
    return Acquired(tuple(left[i] for i in chosen.indices), tuple(scores), tuple(dropped))


def _equal(
    candidates: Sequence[Frame], labelled: Sequence[System]
) -> tuple[list[Dropped], list[int]]:
    """Drop what is labelled, and all but the first of equal candidates."""
    known = {structure_digest(system) for system in labelled}
    seen: dict[str, int] = {}
    dropped, left = [], []
    for index, frame in enumerate(candidates):
        key = structure_digest(frame.system)
        if key in known:
            dropped.append(Dropped(index, "it has a label"))
        elif key in seen:
            dropped.append(Dropped(index, f"it equals candidate {seen[key]}"))
        else:
            left.append(index)
        seen.setdefault(key, index)
    return dropped, left


def _forces(
    systems: Sequence[System], models: Sequence[Potential]
) -> tuple[Float64[np.ndarray, "members atoms 3"], np.ndarray]:
    """Forces of every model, and the row of the system each atom belongs to."""
    if not systems:
        return np.zeros((len(models), 0, 3)), np.zeros(0, int)
    ranges = dict.fromkeys((model.elements, model.cutoff) for model in models)
    data = {each: packed(systems, *each) for each in ranges}  # once for models that see the same
    forces = [outputs_of(model, data[model.elements, model.cutoff]).forces for model in models]
    counts = [len(system.numbers) for system in systems]
    return np.stack(forces), np.repeat(np.arange(len(systems)), counts)


def _sound(
    candidates: Sequence[Frame],
    left: Sequence[int],
    forces: np.ndarray,
    atom_of: np.ndarray,
    config: AcquisitionConfig,
    dropped: list[Dropped],
) -> tuple[list[int], np.ndarray]:
    """Drop what would waste a calculation; what stays, and its rows among what was given."""
    length = np.zeros(len(left))
    mean = np.linalg.norm(forces.mean(axis=0), axis=1)
    np.maximum.at(length, atom_of, np.where(np.isfinite(mean), mean, np.inf))
    stay = []
    for row, index in enumerate(left):
        contact = closest_contact(candidates[index].system)
        if contact < config.contact:
            reason = f"two atoms are at {contact:.2f} of the sum of their covalent radii"
        elif not np.isfinite(length[row]):
            reason = "a model gives no finite forces"
        elif length[row] > config.largest_force:
            reason = f"the models expect a force of {length[row]:.3g} eV/Å"
        else:
            stay.append(row)
            continue
        dropped.append(Dropped(index, reason))
    return [left[row] for row in stay], np.array(stay, int)


def place_digest(system: System) -> str:
    """Equal for structures whose atoms differ by lattice vectors only, in the same order."""
    cell = Cell(system.cell).complete().array
    parts = np.round(system.positions @ np.linalg.inv(cell), 8)
    inside = np.where(system.pbc, parts % 1.0, parts)
    return structure_digest(system._replace(positions=inside @ cell))


def closest_contact(system: System) -> float:
    """Smallest distance of two atoms over the sum of their covalent radii; infinite if far off."""
    size = radii(system.numbers)
    near = neighbors_within(system, 2 * float(size.max()))
    first = np.broadcast_to(np.arange(len(size))[:, None], near.neighbors.shape)
    steps = system.positions[near.neighbors] - system.positions[first] + near.shifts @ system.cell
    ratio = np.linalg.norm(steps, axis=-1) / (size[first] + size[near.neighbors])
    return float(np.where(near.mask, ratio, np.inf).min(initial=np.inf))


def _features(
    config: AcquisitionConfig,
    systems: Sequence[System],
    labelled: Sequence[System],
    model: Potential,
) -> tuple[np.ndarray, np.ndarray]:
    """Features of candidates and of labelled structures, by the same columns."""
    everything = [*systems, *labelled]
    if not systems:
        return np.zeros((0, 0)), np.zeros((0, 0))
    if config.features == "distances":
        rows = descriptors(everything)
    else:
        found = node_features(model, everything)
        rows = pooled(found, model.elements, layers=(-1,), spread=False)
    return rows[: len(systems)], rows[len(systems) :]


def _rigidity(
    systems: Sequence[System], labelled: Sequence[System], model: Potential
) -> Float64[np.ndarray, " candidates"]:
    """Largest spread of the force on an atom of each structure, given the labelled ones."""
    if not labelled:
        raise InputError(
            "expected labelled structures, which say what a model is sure of, got none; begin with "
            "another kind of selection"
        )
    rigidity.require_readout(model)
    lay = functools.partial(packed, elements=model.elements, cutoff=model.cutoff, atoms=ATOMS)
    known = rigidity.fit(rigidity.covariance(model, lay(labelled).graphs))
    data = lay(systems)
    said = np.asarray(rigidity.spreads(model, known, data.graphs).force_spread)
    length = np.linalg.norm(said[np.asarray(data.graphs.atom_mask)], axis=1)
    scores = np.zeros(len(systems))
    np.maximum.at(scores, data.frame, length)
    return scores


def _distinct(
    features: np.ndarray,
    known: np.ndarray,
    left: Sequence[int],
    limit: float,
    dropped: list[Dropped],
) -> list[int]:
    """Rows that are no near copies of a labelled structure or of a row before them."""
    if not len(features) or limit == 0:
        return list(range(len(features)))
    nothing = np.zeros(1, int)
    own, others = features_of(Pool(nothing, nothing.astype(float), features, known))
    taken, width = list(others), np.sqrt(max(own.shape[1], 1))
    stay = []
    for row, point in enumerate(own):
        if taken and np.linalg.norm(np.array(taken) - point, axis=1).min() < limit * width:
            dropped.append(Dropped(left[row], "its features are those of another structure"))
        else:
            stay.append(row)
            taken.append(point)
    return stay


def _nothing(dropped: Sequence[Dropped]) -> str:
    reasons = dict.fromkeys(each.reason for each in dropped)
    return (
        f"expected candidates to choose from, got none of {len(dropped)}: "
        f"{'; '.join(list(reasons)[:3])}; add others"
    )
