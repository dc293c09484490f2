"""Reference energies (E0), scale and shift: what is fixed before any weight is trained.

A total energy is a sum of E0s plus an interaction energy, and only the latter is learned. E0s
belong to a reference method: codes and pseudopotentials differ by hundreds of eV per atom. A
foundation model applied to labels of another method must therefore get new E0s, chosen so that
its interaction energies, which are what it knows, stay as they are.

Compositions often determine E0s only in part: if Sb and Te occur as 2:3 in every frame, no data
can tell their E0s apart. Least squares then changes a sensible start as little as possible and
says which elements are affected.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import jax.numpy as jnp
import numpy as np
import pydantic

from mlffjax import trees
from mlffjax.errors import CompatibilityError, TrainingError
from mlffjax.graphs.batching import species_of
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.potential.base import Potential
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import Frame
from mlffjax.training.batches import Sample, plan
from mlffjax.training.feed import Passing
from mlffjax.training.metrics import predict


def _pairs(value: Any) -> Any:
    return tuple(sorted(value.items())) if isinstance(value, Mapping) else value


Given = Annotated[
    tuple[tuple[str, float], ...],
    pydantic.BeforeValidator(_pairs),
    pydantic.PlainSerializer(dict),
    pydantic.Field(min_length=1),
    pydantic.WithJsonSchema({"type": "object", "additionalProperties": {"type": "number"}}),
]
"""In YAML a mapping of symbols to energies in eV, ``{Cr: -1.5, Sb: -0.3}``; hashable here."""
Foundational = Literal["keep", "isolated", "reestimated"] | Given
"""Reference energies for a foundation, whose interaction energies are to stay what they are."""
FromNothing = Literal["isolated", "least_squares"] | Given
"""Reference energies for a model without a past."""
Mode = Literal["keep", "isolated", "least_squares", "reestimated"] | Given
"""``keep``: those of the potential. ``isolated``: energies of free atoms. ``least_squares``: fit of
total energies. ``reestimated``: fit of total minus the potential's interaction energies. Or the
values themselves."""

NEGLIGIBLE = 1e-6
"""Relative size below which a singular value, or a share of an element in a direction, is zero."""


class Referenced(Protocol):
    """Anything that names its reference method: a potential's card, a data set."""

    @property
    def reference(self) -> str:
        """Code, functional, pseudopotentials."""
        ...


class Estimate(NamedTuple):
    """Reference energies and what a reader must know about them."""

    energies: np.ndarray  # f8 [elements], eV, exactly representable in single precision
    residual: float | None  # rms of what a fit leaves, eV/atom; None without a fit
    notes: tuple[str, ...]


def check_references(card: Referenced, dataset: Referenced, mode: Mode) -> None:
    """Refuse to compare energies of two reference methods.

    Raises:
        CompatibilityError: the E0s are kept although the reference methods differ.
    """
    if mode == "keep" and _words(card.reference) != _words(dataset.reference):
        raise CompatibilityError(
            f"the potential was trained with the reference {card.reference!r}, the data have "
            f"{dataset.reference!r}: their total energies cannot be compared; set "
            "reference_energies to 'reestimated' or 'isolated', or make the two texts equal if "
            "they mean the same method"
        )


def estimate(
    mode: Mode,
    frames: Sequence[Frame],
    potential: Potential,
    *,
    isolated: Mapping[int, float],
    batch: int = 4,
    buckets: int = 3,
) -> Estimate:
    """Reference energies of the potential's elements for the labels of the frames.

    Args:
        mode: see ``Mode``.
        frames: training frames; those without an energy are not used.
        potential: gives the elements and, for ``keep`` and ``reestimated``, what they start from.
        isolated: atomic number -> energy of the free atom, eV; the start of fits where present.
        batch: structures per evaluation of the potential.
        buckets: most array shapes in that evaluation.

    Raises:
        CompatibilityError: ``isolated``, or the given values, lack an element that occurs in the
            frames, or values are given for an element that the potential does not know.
        TrainingError: a fit is asked for but no frame has an energy.
    """
    present = sorted({int(z) for frame in frames for z in np.unique(frame.system.numbers)})
    own = np.asarray(potential.model.reference_energies(potential.params), np.float64)
    if mode == "keep":
        return Estimate(own, None, ())
    if mode == "isolated":
        return _isolated(own, potential.elements, present, isolated)
    if not isinstance(mode, str):
        return _given(own, potential.elements, present, dict(mode))
    labelled = [frame for frame in frames if frame.energy is not None]
    if not labelled:
        raise TrainingError(
            f"expected frames with energies to fit reference energies to, got {len(frames)} frames "
            "without; use 'isolated' or 'keep'"
        )
    totals = np.array([frame.energy for frame in labelled])
    if mode == "reestimated":
        totals = totals - _interaction(labelled, potential, batch, buckets)
    else:
        atoms = np.array([len(frame.system.numbers) for frame in labelled])
        own = np.full(len(own), (totals / atoms).mean())
    start = np.array([isolated.get(z, e) for z, e in zip(potential.elements, own, strict=True)])
    return _fit(labelled, potential.elements, totals, start)


def _given(
    own: np.ndarray, elements: tuple[int, ...], present: list[int], values: Mapping[str, float]
) -> Estimate:
    known = dict(zip(symbols(elements), elements, strict=True))
    if unknown := sorted(values.keys() - known.keys()):
        raise CompatibilityError(
            f"reference_energies: {', '.join(unknown)} are not among the potential's elements "
            f"({', '.join(known)}); remove them"
        )
    energies = {known[symbol]: energy for symbol, energy in values.items()}
    if missing := [z for z in present if z not in energies]:
        raise CompatibilityError(
            "reference_energies: expected a value for every element of the frames, got none for "
            f"{_names(missing)}; add it, or choose another way to get reference energies"
        )
    chosen = [energies.get(z, e) for z, e in zip(elements, own, strict=True)]
    return Estimate(
        _single(np.array(chosen)), None, _unseen([z for z in elements if z not in energies])
    )


def _isolated(
    own: np.ndarray, elements: tuple[int, ...], present: list[int], isolated: Mapping[int, float]
) -> Estimate:
    if missing := [z for z in present if z not in isolated]:
        raise CompatibilityError(
            f"expected the energy of an isolated atom for every element, got none for "
            f"{_names(missing)}; add a frame with config_type IsolatedAtom, or choose another "
            "way to get reference energies"
        )
    energies = [isolated.get(z, e) for z, e in zip(elements, own, strict=True)]
    others = [z for z in elements if z not in isolated]
    return Estimate(_single(np.array(energies)), None, _unseen(others))


def _fit(
    frames: Sequence[Frame], elements: tuple[int, ...], totals: np.ndarray, start: np.ndarray
) -> Estimate:
    """Smallest change of ``start`` that minimises the squared error per atom."""
    counts = np.stack(
        [
            np.bincount(species_of(frame.system, elements), minlength=len(elements))
            for frame in frames
        ]
    ).astype(float)
    atoms = counts.sum(axis=1)
    fractions = counts / atoms[:, None]
    missing = totals / atoms - fractions @ start
    change = np.linalg.lstsq(fractions, missing, rcond=NEGLIGIBLE)[0]
    residual = float(np.sqrt(((missing - fractions @ change) ** 2).mean()))
    # Of the triangular factor, which has the same: the left vectors would be frames times frames.
    _, sizes, directions = np.linalg.svd(np.linalg.qr(fractions, mode="r"))
    rank = int((sizes > NEGLIGIBLE * sizes.max()).sum())
    undetermined = np.abs(directions[rank:]).max(axis=0, initial=0) > NEGLIGIBLE
    absent = counts.sum(axis=0) == 0
    tied = [z for z, u, a in zip(elements, undetermined, absent, strict=True) if u and not a]
    notes = _unseen([z for z, a in zip(elements, absent, strict=True) if a])
    if tied:
        notes += (
            f"the frames' compositions do not tell the reference energies of {_names(tied)} "
            "apart (they occur in fixed proportions); what is known about them was changed as "
            "little as possible, and energies of other compositions may be offset",
        )
    return Estimate(_single(start + change), residual, notes)


def _interaction(
    frames: Sequence[Frame], potential: Potential, batch: int, buckets: int
) -> np.ndarray:
    """Interaction energies the potential gives to the frames, eV."""
    systems = [frame.system for frame in frames]
    members = [Sample(system, None, np.zeros_like(system.positions), None) for system in systems]
    shapes = plan(systems, potential.cutoff, most=buckets)
    data = Passing(members, potential.elements, potential.cutoff, shapes)
    return predict(trees.cast(potential, np.float32), data, batch=batch).energies


def with_constants(potential: Potential, constants: Mapping[str, Any]) -> Potential:
    """The potential with constants replaced by name, as far as its model has them."""
    old = potential.params["constants"]
    new = {
        name: jnp.asarray(value, old[name].dtype)
        for name, value in constants.items()
        if name in old
    }
    return dataclasses.replace(potential, params={**potential.params, "constants": {**old, **new}})


def scale_and_shift(frames: Sequence[Frame], potential: Potential) -> tuple[float, float]:
    """Root mean square of the force components (eV/Å) and mean interaction energy (eV/atom).

    A network of unit outputs scaled and shifted so starts at the right magnitude. The shift is
    measured with the potential's reference energies.
    """
    forces = np.concatenate([frame.forces.ravel() for frame in frames if frame.forces is not None])
    scale = float(np.sqrt((forces**2).mean()))
    energies = [
        (frame.energy - potential.reference_energy(frame.system)) / len(frame.system.numbers)
        for frame in frames
        if frame.energy is not None
    ]
    return scale or 1.0, float(np.mean(energies)) if energies else 0.0


def average_neighbors(frames: Sequence[Frame], cutoff: float) -> float:
    """Mean number of neighbours of an atom within the cutoff (Å); at least 1."""
    edges = atoms = 0
    for frame in frames:  # one list at a time: together they may not fit into memory
        mask = neighbors_within(frame.system, cutoff).mask
        edges, atoms = edges + int(mask.sum()), atoms + len(mask)
    return max(edges / atoms, 1.0)


def _single(energies: np.ndarray) -> np.ndarray:
    """Rounded so that casting a potential never changes its total energies."""
    return energies.astype(np.float32).astype(np.float64)


def _unseen(elements: Sequence[int]) -> tuple[str, ...]:
    if not elements:
        return ()
    return (
        f"the data say nothing about the reference energies of {_names(elements)}, which are "
        "left as they were; total energies with these elements are meaningless",
    )


def _names(elements: Sequence[int]) -> str:
    return ", ".join(symbols(tuple(elements)))


def _words(text: str) -> str:
    return " ".join(text.casefold().split())
