"""What the probe ``forgetting`` measures on one potential, whichever it is.

The same structures are put to the potential and to the foundation, each with its own cutoff, in
one packed evaluation. Parts without a structure whose elements both know are left out, with a
reason.
"""

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Float, Int
from mlffjax.config import resolve_path
from mlffjax.graphs.batching import species_of
from mlffjax.potential.base import Potential
from mlffjax.probes import _elastic, _packed
from mlffjax.probes._dimer_curves import Wells, wells
from mlffjax.probes._packed import Evaluated, Packed
from mlffjax.structures import dimers, generic, strains
from mlffjax.structures.files import read_frames
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame, System

STRANGERS = "the potential and the foundation do not both know the elements of any of the"


class Observed(NamedTuple):
    """What is measured on a potential alone; None where a part is missing."""

    generic_energy: Float[Array, ""] | None = None
    generic_forces: Float[Array, ""] | None = None
    slide: Float[Array, "images"] | None = None
    strain_energy: Float[Array, ""] | None = None
    constants: Float[Array, "5"] | None = None
    wells: Wells | None = None
    curves: Float[Array, "pairs points"] | None = None


class Generic(NamedTuple):
    rows: Int[Array, "structures"]
    atom_rows: Int[Array, "atoms"]
    energy: Float[Array, "structures"]  # labels, eV per atom
    forces: Float[Array, "atoms 3"]
    atoms: Float[Array, "structures"]
    residual: Float[Array, "structures structures"]  # what one shift per element cannot explain


class Strained(NamedTuple):
    rows: Int[Array, "structures"]
    energy: Float[Array, "structures"]  # labels, eV per atom
    atoms: Float[Array, "structures"]
    centring: Float[Array, "structures structures"]


class Questions(NamedTuple):
    """Structures and labels; a part that cannot be measured is None."""

    packed: Packed
    generic: Generic | None = None
    slide: Int[Array, "images"] | None = None
    strained: Strained | None = None
    cells: Int[Array, "6"] | None = None
    dimers: Int[Array, "pairs points"] | None = None
    dimer_atoms: Int[Array, "pairs points"] | None = None  # rows of forces of the second atoms
    distance: Float[Array, "pairs points"] | None = None


class Collected(NamedTuple):
    """Structures of all parts before they are packed for one potential."""

    generic: tuple[Frame, ...]
    path: Path | None
    strained: tuple[Frame, ...]
    crystal: System | None
    pairs: tuple[tuple[int, int], ...]
    reasons: dict[str, str]


def collect(
    known: Sequence[int],
    frames: Sequence[Frame],
    *,
    path: Path | None,
    crystal: System | None,
) -> Collected:
    """Find structures and labels for every part.

    Args:
        known: atomic numbers that both potentials know.
        frames: of the data set; its elements are those whose dimers matter.
        path: a slide, or None.
        crystal: for the elastic constants; None takes the bundled one.
    """
    reasons: dict[str, str] = {}
    every = read_frames(resolve_path(generic.FILE, FilePath.cwd()))
    held = [every[index] for index in generic.halves(every).held]
    usable = tuple(frame for frame in held if _within([frame.system], known))
    if not usable:
        reasons |= dict.fromkeys(
            ("generic_energy", "generic_forces"), f"{STRANGERS} generic structures"
        )
    if path is None:
        reasons["sliding"] = "no path was named"
    elif not _within([path.frames[0].system], known):
        path, reasons["sliding"] = None, "the foundation does not know an element of the path"
    strained = strains.labelled(frames, known)
    if not strained:
        reasons["strain_energy"] = f"{STRANGERS} strained crystals"
    crystal = crystal or strains.unstrained(strains.labelled((), known))
    if crystal is None or not _within([crystal], known):
        crystal, reasons["elastic"] = None, f"{STRANGERS} crystals (named: none, or a stranger)"
    present = {int(z) for frame in frames for z in np.unique(frame.system.numbers)}
    pairs = dimers.pairs(sorted(set(known) & present))
    if not pairs:
        reasons["dimers"] = "the potential, the foundation and the data share no element"
    return Collected(usable, path, strained, crystal, pairs, reasons)


def _within(systems: Sequence[System], known: Sequence[int]) -> bool:
    return all(set(np.unique(system.numbers).tolist()) <= set(known) for system in systems)


def questions(collected: Collected, elements: tuple[int, ...], cutoff: float) -> Questions | None:
    """Everything packed for one potential; None if there is nothing to ask."""
    systems: list[System] = []

    def add(more: Sequence[System]) -> Array:
        systems.extend(more)
        return jnp.arange(len(systems) - len(more), len(systems))

    parts: dict[str, Any] = {}
    if collected.generic:
        atoms = sum(len(frame.system.numbers) for frame in collected.generic)
        rows = add([frame.system for frame in collected.generic])
        parts["generic"] = _generic(collected.generic, rows, jnp.arange(atoms), elements)
    if collected.path is not None:
        parts["slide"] = add([frame.system for frame in collected.path.frames])
    if collected.strained:
        counts = np.array([len(frame.system.numbers) for frame in collected.strained])
        parts["strained"] = Strained(
            rows=add([frame.system for frame in collected.strained]),
            energy=jnp.asarray([f.energy for f in collected.strained] / counts),
            atoms=jnp.asarray(counts, float),
            centring=jnp.asarray(strains.centring(collected.strained)),
        )
    if collected.crystal is not None:
        parts["cells"] = add(_elastic.cells(collected.crystal))
    if collected.pairs:
        shape = len(collected.pairs), dimers.POINTS
        before = sum(len(system.numbers) for system in systems)
        rows = add([one for pair in collected.pairs for one in dimers.curve(pair)])
        parts["dimers"] = rows.reshape(shape)
        parts["dimer_atoms"] = (before + 1 + 2 * jnp.arange(len(rows))).reshape(shape)
        parts["distance"] = jnp.asarray([dimers.distances(pair) for pair in collected.pairs])
    if not systems:
        return None
    return Questions(_packed.pack(systems, elements, cutoff), **parts)


def _generic(
    frames: Sequence[Frame], rows: Array, atom_rows: Array, elements: tuple[int, ...]
) -> Generic:
    counts = np.array(
        [np.bincount(species_of(f.system, elements), minlength=len(elements)) for f in frames],
        float,
    )
    atoms = counts.sum(axis=1)
    fractions = counts / atoms[:, None]
    residual = np.eye(len(frames)) - fractions @ np.linalg.pinv(fractions)
    return Generic(
        rows=rows,
        atom_rows=atom_rows,
        energy=jnp.asarray([frame.energy for frame in frames] / atoms),
        forces=jnp.asarray(np.concatenate([np.asarray(frame.forces) for frame in frames])),
        atoms=jnp.asarray(atoms),
        residual=jnp.asarray(residual),
    )


def observed(questions: Questions, potential: Potential) -> Observed:
    """All that is measured on one potential."""
    found = _packed.evaluated(potential, questions.packed)
    parts: dict[str, Any] = {}
    if (asked := questions.generic) is not None:
        error = asked.residual @ (found.energy[asked.rows] / asked.atoms - asked.energy)
        parts["generic_energy"] = rms(error)
        parts["generic_forces"] = rms(found.forces[asked.atom_rows] - asked.forces)
    if questions.slide is not None:
        energy = found.energy[questions.slide]
        parts["slide"] = energy - energy[0]
    if (strained := questions.strained) is not None:
        energy = found.energy[strained.rows] / strained.atoms
        parts["strain_energy"] = rms(strained.centring @ (energy - strained.energy))
    if questions.cells is not None:
        stress = found.stress[questions.cells]
        parts["constants"] = _elastic.stacked(_elastic.constants(stress))
    if questions.dimers is not None:
        parts |= _dimers(questions, found)
    return Observed(**parts)


def _dimers(questions: Questions, found: Evaluated) -> dict[str, Any]:
    assert questions.dimers is not None
    assert questions.dimer_atoms is not None
    assert questions.distance is not None
    energy = found.energy[questions.dimers]
    slope = -found.forces[questions.dimer_atoms][..., 0]
    return {
        "wells": wells(questions.distance, energy, slope),
        "curves": energy - energy[:, -1:],
    }


def rms(values: Array) -> Float[Array, ""]:
    """Root mean square; its derivative at zero is zero instead of undefined."""
    square = (values**2).mean()
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
