import numpy as np
import pytest

from mlffjax.structures import strains
from mlffjax.structures.system import Frame, System

CRYSTAL = System(
    np.array([[0.1, 0.2, 0.3], [1.0, 2.0, 2.5]]),
    np.array([51, 52], np.int32),
    np.array([[4.0, 0.0, 0.0], [-2.0, 3.5, 0.0], [0.0, 1.0, 10.0]]),
    np.ones(3, bool),
)


def frame(system, energy=-1.0, **info):
    return Frame(system, energy, None, None, "strain", "strain", 0.0, "x", "y", info)


def test_fractional_positions_stay():
    strain = np.array([[0.01, 0.002, 0.0], [0.002, -0.02, 0.004], [0.0, 0.004, 0.03]])
    moved = strains.strained(CRYSTAL, strain)
    before, after = (s.positions @ np.linalg.inv(s.cell) for s in (CRYSTAL, moved))
    np.testing.assert_allclose(after, before, atol=1e-14)
    # Lengths change by the projection of the strain, to first order.
    lengths = np.linalg.norm(moved.cell, axis=1) / np.linalg.norm(CRYSTAL.cell, axis=1) - 1
    axes = CRYSTAL.cell / np.linalg.norm(CRYSTAL.cell, axis=1)[:, None]
    np.testing.assert_allclose(lengths, np.einsum("ai,ij,aj->a", axes, strain, axes), atol=1e-3)


def test_scans_change_all_lengths_or_only_those_along_z():
    (volumetric,) = strains.scan(CRYSTAL, [0.02], "volumetric")
    (uniaxial,) = strains.scan(CRYSTAL, [0.02], "uniaxial")
    volume = [np.linalg.det(s.cell) / np.linalg.det(CRYSTAL.cell) for s in (volumetric, uniaxial)]
    np.testing.assert_allclose(volume, [1.02**3, 1.02], rtol=1e-12)
    np.testing.assert_array_equal(uniaxial.cell[:2], CRYSTAL.cell[:2])


def test_bundled_frames_are_found_by_element_and_own_frames_come_first():
    assert len(strains.labelled((), (24, 51, 52))) == 16
    assert len(strains.labelled((), (51, 52))) == 11
    assert strains.labelled((), (18,)) == ()
    own = (frame(CRYSTAL, strain_kind="z", strain=0.0), frame(CRYSTAL))
    assert strains.labelled(own, (51, 52)) == own[:1]
    # Data of one's own of which nothing is known are not replaced by the bundled ones.
    assert strains.labelled(own, (51,)) == ()


def test_the_unstrained_crystal_is_the_bundled_pristine_one():
    system = strains.unstrained(strains.labelled((), (24, 51, 52)))
    assert system is not None
    assert np.linalg.norm(system.cell[0]) == pytest.approx(2 * 4.264, abs=1e-6)  # its README
    assert strains.unstrained((frame(CRYSTAL, strain_kind="z", strain=0.1),)) is None


def test_centring_takes_away_what_depends_on_composition_only():
    other = CRYSTAL._replace(numbers=np.array([52, 52], np.int32))
    frames = [frame(s) for s in (CRYSTAL, other, CRYSTAL, other, other)]
    matrix = strains.centring(frames)
    np.testing.assert_allclose(matrix @ np.array([3.0, -7, 3, -7, -7]), 0, atol=1e-14)
    np.testing.assert_allclose(matrix @ np.array([1.0, 0, 3, 0, 0]), [-1, 0, 1, 0, 0], atol=1e-14)
