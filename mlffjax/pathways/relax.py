"""Relaxing structures: many of them, with many potentials, with fixed atoms, with their cell."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from mlffjax.errors import InputError
from mlffjax.pathways import descent, monitor
from mlffjax.pathways.descent import Setup, Traces
from mlffjax.pathways.driver import CHUNK, Finished, Job, run
from mlffjax.pathways.settings import Relaxation, Strain, knobs_of_structures
from mlffjax.potential.base import Potential
from mlffjax.structures.system import System

STATUS = {
    descent.CONVERGED: "converged",
    descent.OUT_OF_STEPS: "max_steps",
    descent.STOPPED: "exploded",
}


@dataclass(frozen=True)
class Relaxed:
    """A structure after its relaxation, whether that succeeded or not."""

    status: str
    """``converged``, ``max_steps``, ``exploded`` or ``detached``."""
    reason: str
    """Why it stopped; empty if it is converged."""
    system: System
    """The last sound structure, positions unwrapped."""
    energy: float
    """Of it, eV, without reference energies; NaN if the potential failed at once."""
    forces: Float64[np.ndarray, "atoms 3"]
    """On it, eV/Å, also on fixed atoms."""
    residual: float
    """Largest force that is left (of free atoms and, in eV, of strains)."""
    iterations: int
    deformation: Float64[np.ndarray, "3 3"]
    """D with cell = start cell @ D; positions of a crystal follow as r @ D."""
    traces: Traces


def relax(
    potentials: Sequence[Potential],
    structures: Sequence[System],
    settings: Relaxation | None = None,
    *,
    fixed: Sequence[int] = (),
    layers: Sequence[int] = (),
    batch_size: int | None = None,
) -> list[list[Relaxed]]:
    """Bring structures to the nearest minimum of each potential.

    Args:
        potentials: of one model.
        structures: of any sizes.
        settings: by default positions only, to 0.01 eV/Å.
        fixed: atoms that must not move, the same in all structures; with a cell they keep their
            place in it.
        layers: number of the layer of each atom from below, -1 for none, as ``bands.from_path``.
        batch_size: how many are relaxed at once; by default as the device prefers.

    Returns:
        For every structure, one result for every potential.

    Raises:
        InputError: a fixed atom that does not exist, layers that do not fit, strains asked of
            directions without a period, or positions that are not usable.
        CompatibilityError: an element that is not known, or potentials of different models.
        ConfigError: JAX is not set to 64 bits.
    """
    settings = settings or Relaxation()
    jobs = [
        job(system, which, strain=settings.cell, fixed=fixed, layers=layers)
        for system in structures
        for which in range(len(potentials))
    ]
    results = relax_jobs(potentials, jobs, settings, batch_size=batch_size)
    count = len(potentials)
    return [results[first : first + count] for first in range(0, len(results), count)]


def relax_jobs(
    potentials: Sequence[Potential],
    jobs: Sequence[Job],
    settings: Relaxation,
    *,
    batch_size: int | None = None,
) -> list[Relaxed]:
    """Relax structures that each name their potential, all in one go.

    Args:
        potentials: of one model.
        jobs: from ``job``, with the strain of the settings.
        settings: see ``Relaxation``.
        batch_size: as ``relax``.

    Raises:
        InputError: positions that are not usable.
        CompatibilityError: as ``relax``.
        ConfigError: as ``relax``.
    """
    setup = Setup(
        settings.optimizer, 0, CHUNK, settings.skin, elastic=False, strained=settings.cell != "none"
    )
    found = run(potentials, jobs, setup, knobs_of_structures(settings), batch_size=batch_size)
    return [relaxed(each, one) for each, one in zip(jobs, found, strict=True)]


def job(
    system: System,
    which: int,
    *,
    strain: Strain = "none",
    fixed: Sequence[int] = (),
    layers: Sequence[int] = (),
) -> Job:
    """A structure to be relaxed with one of the potentials.

    Raises:
        InputError: as ``relax``.
    """
    atoms = len(system.numbers)
    if wrong := [index for index in fixed if not -atoms <= index < atoms]:
        raise InputError(f"expected fixed atoms from 0 to {atoms - 1}, got {wrong}")
    if len(layers) not in (0, atoms):
        raise InputError(f"expected a layer for each of {atoms} atoms or none, got {len(layers)}")
    held = np.zeros(atoms, bool)
    held[list(fixed)] = True
    cell, pbc = np.asarray(system.cell, float), np.asarray(system.pbc, bool)
    return Job(
        places=np.asarray(system.positions, float)[None],
        numbers=np.asarray(system.numbers),
        cell=cell,
        pbc=pbc,
        fixed=held,
        layers=np.asarray(layers, int) if len(layers) else np.full(atoms, -1),
        strains=strains(strain, cell, pbc),
        which=which,
    )


def relaxed(start: Job, found: Finished) -> Relaxed:
    """What the driver returned for a structure, in words and numbers."""
    state = found.state
    status, reason = verdict(found)
    system = System(found.positions[0], np.asarray(start.numbers, np.int32), found.cell, start.pbc)
    deformation = np.linalg.pinv(start.cell) @ found.cell
    deformation += np.eye(3) - np.linalg.pinv(start.cell) @ start.cell  # where there is no cell
    return Relaxed(
        status=status,
        reason=reason,
        system=system,
        energy=float(state.good.energies[0]),
        forces=np.asarray(state.good.forces[0]),
        residual=float(state.good.residual[0]),
        iterations=int(state.steps),
        deformation=deformation,
        traces=found.traces,
    )


def verdict(found: Finished) -> tuple[str, str]:
    """Status and reason of anything that was relaxed; no reason if it is converged."""
    state, finding = found.state, found.state.finding
    status = STATUS[int(state.status)]
    if status == "max_steps":
        left = float(np.max(state.good.residual))
        return status, f"the largest force is {left:.3g} eV/Å after {int(state.steps)} iterations"
    if status == "exploded":
        code = int(finding.code) or monitor.NONFINITE  # a step that overflowed has no other code
        status = "detached" if code == monitor.DETACHED else status
        last = int(state.steps) - 1
        return status, monitor.sentence(code, last, int(finding.image), int(finding.atom))
    return status, ""


def strains(
    kind: Strain, cell: Float64[np.ndarray, "3 3"], pbc: np.ndarray
) -> Float64[np.ndarray, "3 3 3 3"]:
    """Projection of symmetric matrices on the strains of a kind; zero for ``none``.

    Raises:
        InputError: the crystal has no period in the directions that are to be strained.
    """
    if kind == "none":
        return np.zeros((3, 3, 3, 3))
    periods = cell[np.asarray(pbc, bool)]
    span = np.linalg.pinv(periods) @ periods if len(periods) else np.zeros((3, 3))
    normal = np.cross(cell[0], cell[1])
    normal = normal / max(np.linalg.norm(normal), 1e-12)
    across = np.outer(span @ normal, span @ normal)
    if kind == "isotropic":
        dimensions = np.trace(span)
        found = np.einsum("ab,cd->abcd", span, span) / max(dimensions, 1.0)
    else:
        side = {"full": span, "in_plane": span - across, "normal": across}[kind]
        found = np.einsum("ac,bd->abcd", side, side)
    if abs(found).max() < 1e-6:
        raise InputError(
            f"expected a crystal with periods in the directions of strain {kind!r}, got pbc "
            f"{np.asarray(pbc).tolist()}; relax without the cell (cell: none)"
        )
    return found
