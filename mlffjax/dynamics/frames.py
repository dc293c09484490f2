"""Trajectories from lists of structures, such as ab initio dynamics, and back to files."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

from mlffjax.dynamics.channels import UNITS, Channel
from mlffjax.dynamics.trajectory import Series, Trajectory
from mlffjax.errors import InputError
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.system import Frame, System

FARTHEST = 0.5  # of a lattice vector; beyond, the direction of a jump cannot be told


def from_frames(
    frames: str | Path | Sequence[Frame] | Sequence[System], *, timestep_fs: float
) -> Trajectory:
    """A trajectory in memory from structures that are equally spaced in time.

    Positions are unwrapped. The channels are ``positions`` and ``cell``, and ``energy`` if every
    frame has a label.

    Args:
        frames: a file of extended XYZ or of another format that ASE reads, or its frames, in order.
        timestep_fs: time from one frame to the next, fs (not the time step of the dynamics, if only
            every n-th step was written).

    Raises:
        InputError: fewer than two frames, frames that differ in atoms or periodic directions, a
            time that is not positive, or a jump of an atom by half a cell.
    """
    if not (np.isfinite(timestep_fs) and timestep_fs > 0):
        raise InputError(f"expected a positive time between frames, fs, got {timestep_fs}")
    frames = read_frames(frames) if isinstance(frames, str | Path) else frames
    systems = [frame.system if isinstance(frame, Frame) else frame for frame in frames]
    _check_systems(systems)
    cells = np.array([system.cell for system in systems])
    wrapped = np.array([system.positions for system in systems])
    data = {"positions": unwrap(wrapped, cells, systems[0].pbc), "cell": cells}
    units = {**UNITS, "energy": "eV"}
    energies = [frame.energy for frame in frames if isinstance(frame, Frame)]
    if len(energies) == len(systems) and None not in energies:
        data["energy"] = np.array(energies, np.float64)
    steps = np.arange(len(systems))
    series = {
        name: Series(
            Channel(name, values.shape[1:], units[name], 1),
            steps,
            steps * float(timestep_fs),
            values.__getitem__,
        )
        for name, values in data.items()
    }
    start = systems[0]._replace(positions=data["positions"][0])
    return Trajectory(start, None, {"frames": len(systems)}, series)


def unwrap(
    positions: Float[np.ndarray, "frames atoms 3"],
    cells: Float[np.ndarray, "... 3 3"],
    pbc: Bool[np.ndarray, " 3"],
) -> Float64[np.ndarray, "frames atoms 3"]:
    """Undo jumps of atoms through the faces of the cell.

    Between two frames an atom is taken to have moved by less than half of each lattice vector, in
    fractional coordinates, so that a cell that breathes moves nothing. Frames that need no
    unwrapping keep every bit.

    Args:
        positions: Å; of all frames.
        cells: Å; one for all frames [3, 3] or one for each [frames, 3, 3].
        pbc: whether each lattice vector is a period; along others nothing is changed.

    Raises:
        InputError: an atom moves by so nearly half a period that its direction is a guess: the
            frames are too far apart in time.
    """
    positions = np.asarray(positions, np.float64)
    cells = np.broadcast_to(np.asarray(cells, np.float64), (len(positions), 3, 3))
    pbc = np.asarray(pbc, bool)
    complete = np.where(pbc[:, None], cells, np.where(pbc.any(), 0.0, np.eye(3)))
    inverse = np.linalg.pinv(complete)
    fractional = np.einsum("tax,txk->tak", positions, inverse)
    moves = np.diff(fractional, axis=0)
    jumps = np.where(pbc, np.round(moves), 0.0)
    left = abs(moves - jumps) * pbc
    if left.size and left.max() > 0.9 * FARTHEST:
        frame, atom, _ = np.unravel_index(left.argmax(), left.shape)
        raise InputError(
            f"expected atoms to move by clearly less than half a lattice vector between frames, "
            f"got {left.max():.2f} of one for atom {atom} before frame {frame + 1}; give frames "
            "closer in time, or positions that are unwrapped already"
        )
    shifts = np.concatenate([np.zeros((1, *jumps.shape[1:])), -np.cumsum(jumps, axis=0)])
    return positions + np.einsum("tak,tkx->tax", shifts, np.where(pbc[:, None], cells, 0.0))


def export_extxyz(
    trajectory: Trajectory,
    path: str | Path,
    *,
    start: int = 0,
    stop: int | None = None,
    stride: int = 1,
) -> int:
    """Write frames of a trajectory as extended XYZ; returns how many.

    Each frame holds ``step`` and ``time_fs``; positions stay unwrapped.

    Raises:
        InputError: there are no positions, or none in the chosen range.
    """
    chosen = range(len(trajectory["positions"]))[start:stop:stride]
    if not len(chosen):
        raise InputError(
            f"expected frames to write, got none in {start}:{stop}:{stride} of "
            f"{len(trajectory['positions'])}"
        )
    write_frames(path, list(_frames(trajectory, chosen)))
    return len(chosen)


def _frames(trajectory: Trajectory, chosen: range) -> Iterator[Frame]:
    stored = trajectory["positions"]
    cells = np.broadcast_to(trajectory.cells(stored.steps[chosen]), (len(chosen), 3, 3))
    for index, cell in zip(chosen, cells, strict=True):
        step = int(stored.steps[index])
        info: dict[str, Any] = {"step": step, "time_fs": float(stored.times_fs[index])}
        yield Frame(
            system=trajectory.system._replace(positions=stored[index], cell=cell),
            energy=None,
            forces=None,
            stress=None,
            config_type="md",
            trajectory="md",
            order=float(step),
            identifier=f"step-{step}",
            source=f"step {step}",
            info=info,
        )


def _check_systems(systems: Sequence[System]) -> None:
    if len(systems) < 2:
        raise InputError(f"expected at least 2 frames, got {len(systems)}")
    for index, (before, after) in enumerate(itertools.pairwise(systems)):
        if not np.array_equal(before.numbers, after.numbers):
            raise InputError(
                f"frame {index + 1}: expected the {len(before.numbers)} atoms of the frame before "
                f"in the same order, got {len(after.numbers)} or other species; a trajectory keeps "
                "its atoms"
            )
        if not np.array_equal(before.pbc, after.pbc):
            raise InputError(f"frame {index + 1}: expected pbc {before.pbc}, got {after.pbc}")
