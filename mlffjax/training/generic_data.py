"""Structures of other materials beside those of the run: which are learned from, and how.

Half of the generic structures (``structures.generic.halves``) are mixed into the training samples;
on the other half the potential that is kept is compared with the foundation. Labels of another
reference method get reference energies (E0) of their own, so that one model can learn from both:
what it learns are interaction energies.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import Prediction, predict
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.generic import halves
from mlffjax.structures.system import Frame, System
from mlffjax.training.batches import Sample, collect, gather, plan, samples
from mlffjax.training.config import TrainingConfig
from mlffjax.training.ingredients import Ingredients, require_foundation
from mlffjax.training.metrics import ALL, evaluate
from mlffjax.training.recipe import Recipe
from mlffjax.training.reference_energies import (
    Foundational,
    check_references,
    estimate,
    with_constants,
)

Realize = Callable[[PyTree], Potential]


class GenericData(NamedTuple):
    """Generic structures with labels.

    Attributes:
        learn: frames that may be learned from.
        held: frames to measure with.
        potential: the foundation, with the reference energies that belong to the labels.
        notes: what a reader must know.
    """

    learn: tuple[Frame, ...]
    held: tuple[Frame, ...]
    potential: Potential
    notes: tuple[str, ...]


def labelled(ingredients: Ingredients, kind: str, mode: Foundational) -> GenericData:
    """The generic structures with the labels of their files.

    Raises:
        CompatibilityError: foundation or generic structures are missing, a label is, or reference
            methods would be mixed.
    """
    potential, card = require_foundation(ingredients, kind)
    data = require_generic(ingredients, kind)
    if lacking := [f.source for f in data.frames if f.energy is None or f.forces is None]:
        raise CompatibilityError(
            f"strategy {kind} learns from the labels of generic structures, but "
            f"{len(lacking)} of {len(data.frames)} frames lack energy or forces ({lacking[0]}); "
            "label them or use the strategy pseudolabel"
        )
    parts = halves(data.frames)
    learn, held = (tuple(data.frames[i] for i in part) for part in parts)
    check_references(card, data, mode)
    training = ingredients.training
    references = estimate(
        mode,
        learn,
        potential,
        isolated=data.isolated,
        batch=training.batch,
        buckets=training.buckets,
    )
    potential = with_constants(potential, {"atomic_energies": references.energies})
    notes = tuple(f"generic structures: {note}" for note in references.notes)
    return GenericData(learn, held, potential, (*_described(data, learn, held), *notes))


def labelled_by(
    potential: Potential, learn: Sequence[Frame], held: Sequence[Frame], training: TrainingConfig
) -> GenericData:
    """Structures with labels of a potential, computed in the precision of training.

    Energies are total, with the potential's reference energies; stresses are given where all three
    directions are periods.
    """
    frames = (*learn, *held)
    labels = _predictions(potential, [frame.system for frame in frames], training)
    made = []
    for frame, (energy, forces, stress) in zip(frames, labels, strict=True):
        total = energy + potential.reference_energy(frame.system)
        kept = stress if frame.system.pbc.all() else None
        made.append(frame._replace(energy=total, forces=forces, stress=kept))
    return GenericData(tuple(made[: len(learn)]), tuple(made[len(learn) :]), potential, ())


def require_generic(ingredients: Ingredients, kind: str) -> Dataset:
    """The generic structures.

    Raises:
        CompatibilityError: there are none.
    """
    if ingredients.generic is None:
        raise CompatibilityError(
            f"strategy {kind} learns from structures of other materials too, got none; give a "
            "data set of them (section 'generic' of a study)"
        )
    return ingredients.generic


def with_generic(
    recipe: Recipe,
    data: GenericData,
    training: TrainingConfig,
    *,
    ratio: float,
    weight: float,
    head: int = 0,
    realize: Realize | None = None,
) -> Recipe:
    """A recipe that learns from generic structures as well, and tells what became of them.

    Args:
        recipe: without them; returned as it is if ``ratio`` or ``weight`` is 0.
        data: the structures.
        training: protocol of the run.
        ratio: generic structures per structure of the material in every epoch.
        weight: of a generic structure in the loss; one of the material has 1.
        head: of the generic samples.
        realize: what speaks for them, if it is not what the recipe realizes.
    """
    if ratio == 0 or weight == 0:
        return recipe
    extra = tuple(
        sample._replace(weight=weight, head=head) for sample in samples(data.learn, data.potential)
    )
    shuffled = np.random.default_rng(0).permutation(len(extra))
    return recipe._replace(
        mix=partial(mixed, extra=tuple(extra[i] for i in shuffled), ratio=ratio),
        notes=(*recipe.notes, *data.notes),
        remarks=partial(_compared, data=data, realize=realize or recipe.realize, training=training),
    )


def mixed(members: Sequence[Sample], *, extra: Sequence[Sample], ratio: float) -> Sequence[Sample]:
    """The members, followed by ``ratio`` times as many of the extra samples, rounded half up.

    Fewer are the beginning of the same sequence; if there are too few, they come several times.
    """
    count = math.floor(ratio * len(members) + 0.5)
    return (*members, *(extra[i % len(extra)] for i in range(count)))


def _described(data: Dataset, learn: Sequence[Frame], held: Sequence[Frame]) -> tuple[str, ...]:
    return (
        f"{len(learn)} generic structures ({data.reference}) could be learned from, {len(held)} "
        "were held out",
    )


def _compared(
    trainable: PyTree, *, data: GenericData, realize: Realize, training: TrainingConfig
) -> tuple[str, ...]:
    """How the held structures are predicted, before and after."""
    if not data.held:
        return ()
    own = data.potential.params["constants"]["atomic_energies"]
    after = with_constants(realize(trainable), {"atomic_energies": own})
    before, now = (
        evaluate(
            potential,
            data.held,
            batch=training.batch,
            buckets=training.buckets,
            dtype=training.precision,
        )[ALL]
        for potential in (data.potential, after)
    )
    energy = (
        ""
        if before.energy_mae is None or now.energy_mae is None
        else f", energy MAE from {1e3 * before.energy_mae:.3g} to {1e3 * now.energy_mae:.3g} "
        "meV/atom"
    )
    return (
        f"{now.structures} held-out generic structures: force MAE from "
        f"{1e3 * before.forces_mae:.3g} (foundation) to {1e3 * now.forces_mae:.3g} meV/Å{energy}",
    )


_label = jax.jit(predict)


def _predictions(
    potential: Potential, systems: Sequence[System], training: TrainingConfig
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Interaction energy (eV), forces (eV/Å) and stress (eV/Å³) of each structure."""
    members = [Sample(system, None, np.zeros_like(system.positions), None) for system in systems]
    shapes = plan(systems, potential.cutoff, most=training.buckets)
    dtype: Any = training.precision
    buckets = collect(members, potential.elements, potential.cutoff, shapes, dtype=dtype)
    cast = trees.cast(potential, dtype)
    found: dict[int, tuple[float, np.ndarray, np.ndarray]] = {}
    for bucket in buckets:
        for row, position in enumerate(bucket.index):
            graph: Graph = gather(bucket.rows, np.array([row], np.int32)).graph
            label: Prediction = jax.device_get(_label(cast, graph))
            atoms = len(systems[position].numbers)
            found[int(position)] = (
                float(label.energy[0]),
                np.asarray(label.forces[:atoms], np.float64),
                np.asarray(label.stress[0], np.float64),
            )
    return [found[position] for position in range(len(systems))]
