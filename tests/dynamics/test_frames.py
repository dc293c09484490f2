from typing import Any

import ase.io
import numpy as np
import pytest

from mlffjax.dynamics import frames, trajectory
from mlffjax.dynamics.trajectory import Channel, Writer
from mlffjax.errors import InputError
from mlffjax.structures import builders, bundled
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import to_ase

SYSTEM = builders.bulk()
ATOMS = len(SYSTEM.numbers)
ALL = np.ones(3, bool)


def wandering(rng, count=60, width=0.6):
    """A walk through many cells, and cells that breathe and shear."""
    steps = rng.normal(size=(count, ATOMS, 3)) * width
    steps[0] = 0
    scaled = SYSTEM.positions @ np.linalg.inv(SYSTEM.cell) + np.cumsum(
        steps @ np.linalg.inv(SYSTEM.cell) * 0.4, axis=0
    )
    strain = np.eye(3) + 0.05 * np.sin(np.arange(count)[:, None, None] + np.arange(9).reshape(3, 3))
    cells = SYSTEM.cell @ strain
    return scaled @ cells, cells


def wrapped(positions, cells):
    scaled = np.einsum("tax,txk->tak", positions, np.linalg.inv(cells))
    return np.einsum("tak,tkx->tax", scaled % 1.0, cells)


def test_unwrapping_undoes_wrapping_in_a_cell_that_changes(rng):
    positions, cells = wandering(rng)
    found = frames.unwrap(wrapped(positions, cells), cells, ALL)
    shift = found[0] - positions[0]
    scaled = np.einsum("tax,txk->tak", found - positions, np.linalg.inv(cells))
    # Equal up to the lattice vectors by which the first frame was wrapped.
    np.testing.assert_allclose(scaled, np.broadcast_to(scaled[0], scaled.shape), atol=1e-9)
    np.testing.assert_allclose(scaled[0], np.round(scaled[0]), atol=1e-9)
    assert abs(shift).max() < 100
    assert abs(np.diff(found, axis=0)).max() < abs(np.diff(wrapped(positions, cells), axis=0)).max()


def test_positions_that_need_no_unwrapping_keep_every_bit(rng):
    positions = SYSTEM.positions + 0.3 * rng.normal(size=(20, ATOMS, 3))
    np.testing.assert_array_equal(frames.unwrap(positions, SYSTEM.cell, ALL), positions)


def test_open_directions_are_left_alone(rng):
    positions = np.cumsum(rng.normal(size=(30, 4, 3)), axis=0) * 3
    cell = np.diag([0.0, 0.0, 0.0])
    np.testing.assert_array_equal(frames.unwrap(positions, cell, ~ALL), positions)
    slab = np.diag([10.0, 12.0, 0.0])
    pbc = np.array([True, True, False])
    path = np.cumsum(0.3 * rng.normal(size=(300, 4, 3)), axis=0)
    folded = path.copy()
    folded[..., :2] %= [10.0, 12.0]
    found = frames.unwrap(folded, slab, pbc)
    np.testing.assert_allclose(found - found[0], path - path[0], atol=1e-10)


def test_jumps_of_half_a_cell_are_refused():
    positions = np.zeros((2, 1, 3))
    positions[1] = 0.48 * SYSTEM.cell[0]
    with pytest.raises(InputError, match=r"0\.48 of one for atom 0 before frame 1"):
        frames.unwrap(positions, SYSTEM.cell, ALL)


def test_from_structures_and_from_a_file(rng, tmp_path):
    positions, cells = wandering(rng)
    systems = [
        SYSTEM._replace(positions=p, cell=c)
        for p, c in zip(wrapped(positions, cells), cells, strict=True)
    ]
    found = frames.from_frames(systems, timestep_fs=2.0)
    np.testing.assert_array_equal(found["positions"].times_fs, 2.0 * np.arange(60))
    np.testing.assert_array_equal(found.cells(found["positions"].steps), cells)
    np.testing.assert_allclose(
        found["positions"][:], frames.unwrap(wrapped(positions, cells), cells, ALL)
    )
    ase.io.write(tmp_path / "md.xyz", [to_ase(system) for system in systems])
    again = frames.from_frames(tmp_path / "md.xyz", timestep_fs=2.0)
    # Extended XYZ keeps eight decimals.
    np.testing.assert_allclose(again["positions"][:], found["positions"][:], atol=1e-7)
    assert "energy" not in again.series


def test_labelled_frames_bring_their_energies():
    labelled = read_frames(bundled.root() / "md_pristine_300K.xyz")
    found = frames.from_frames(labelled, timestep_fs=100.0)
    np.testing.assert_array_equal(found["energy"][:], [frame.energy for frame in labelled])


def test_bad_frames():
    with pytest.raises(InputError, match="at least 2 frames"):
        frames.from_frames([SYSTEM], timestep_fs=1.0)
    for time in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="positive time"):
            frames.from_frames([SYSTEM, SYSTEM], timestep_fs=time)
    with pytest.raises(InputError, match="frame 1: expected the 5 atoms"):
        frames.from_frames([SYSTEM, builders.bulk(2)], timestep_fs=1.0)
    swapped = SYSTEM._replace(numbers=SYSTEM.numbers[::-1].copy() + 1)
    with pytest.raises(InputError, match="frame 1: expected the 5 atoms"):
        frames.from_frames([SYSTEM, swapped], timestep_fs=1.0)
    with pytest.raises(InputError, match="expected pbc"):
        frames.from_frames([SYSTEM, SYSTEM._replace(pbc=~ALL)], timestep_fs=1.0)


def test_export_is_read_by_ase_and_comes_back(rng, tmp_path):
    positions, cells = wandering(rng, 20)
    channels = (Channel("positions", (ATOMS, 3), "Å", 10), Channel("cell", (3, 3), "Å", 5))
    fine = np.repeat(cells, 2, axis=0)
    with Writer.open(tmp_path / "a.h5md", SYSTEM, channels, {}, after_step=None) as writer:
        writer.append("cell", np.arange(0, 200, 5), np.arange(0, 200, 5) * 1.0, fine)
        writer.append("positions", np.arange(0, 200, 10), np.arange(0, 200, 10) * 1.0, positions)
    stored = trajectory.read(tmp_path / "a.h5md")
    assert frames.export_extxyz(stored, tmp_path / "a.xyz", start=2, stride=3) == 6
    images: Any = ase.io.read(tmp_path / "a.xyz", index=":")
    for image, index in zip(images, range(2, 20, 3), strict=True):
        assert image.info["step"] == 10 * index
        assert image.info["time_fs"] == 10.0 * index
        np.testing.assert_allclose(image.positions, positions[index], atol=1e-8)
        np.testing.assert_allclose(image.cell.array, cells[index], atol=1e-8)
        assert image.numbers.tolist() == SYSTEM.numbers.tolist()
    assert frames.export_extxyz(stored, tmp_path / "b.xyz") == 20
    again = frames.from_frames(tmp_path / "b.xyz", timestep_fs=10.0)
    np.testing.assert_allclose(again["positions"][:], positions, atol=1e-7)
    with pytest.raises(InputError, match="got none in 20"):
        frames.export_extxyz(stored, tmp_path / "c.xyz", start=20)
