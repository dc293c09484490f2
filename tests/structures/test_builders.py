import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.structures import bundled
from mlffjax.structures.builders import (
    A,
    C,
    bilayer,
    bulk,
    gap_sites,
    in_plane,
    intercalate,
    slide_vector,
)
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import System, to_ase


def neighbours(system: System, position: np.ndarray, number: int) -> np.ndarray:
    """Sorted distances from a position to atoms of an element within 6 Å."""
    atoms = to_ase(intercalate(system, position, 1)) * (5, 5, 1 if system.cell[2, 2] > 20 else 5)
    center = len(system.numbers) + (len(atoms) // 2 // (len(system.numbers) + 1)) * (
        len(system.numbers) + 1
    )
    distances = np.linalg.norm(atoms.positions - atoms.positions[center], axis=1)
    return np.sort(distances[(atoms.numbers == number) & (distances < 6.0)])


def test_bond_lengths_of_the_crystal():
    system = bulk()
    antimony = neighbours(system, system.positions[1] + [0, 0, 1e-6], 52)
    # Anderson and Krause 1974: Sb-Te 2.979 Å to the outer, 3.168 Å to the inner Te, three of each.
    assert np.allclose(antimony[:6], [2.979] * 3 + [3.168] * 3, atol=2e-3)


def test_three_layers_fill_the_conventional_cell():
    volume = to_ase(bulk()).get_volume()
    assert 3 * volume == pytest.approx(A**2 * np.sqrt(3) / 2 * C, rel=1e-12)


@pytest.mark.parametrize(
    ("system", "file", "identifier"),
    [
        (bulk(2), "strain.xyz", "strain_iso_3"),
        (bilayer(), "slide_bilayer_pristine.xyz", "slide_slab0_pristine_00"),
    ],
)
def test_builders_give_the_bundled_structures(system, file, identifier):
    frames = {frame.identifier: frame for frame in read_frames(bundled.root() / file)}
    other = frames[identifier].system
    assert np.allclose(system.cell, other.cell, atol=1e-9)
    assert np.array_equal(system.numbers, other.numbers)
    moves = other.positions - system.positions
    moves -= moves[0]  # the slab sits at another height, and on another Te column
    in_lattice = moves[:, :2] @ np.linalg.inv(in_plane()[:, :2])
    assert np.allclose(in_lattice, np.round(in_lattice), atol=1e-5)
    assert np.allclose(moves[:, 2], 0, atol=1e-5)


def test_octahedral_site_has_six_and_tetrahedral_four_tellurium_neighbours():
    system, sites = bulk(), gap_sites()
    octahedral, over, under = (neighbours(system, site, 52) for site in sites)
    assert np.allclose(octahedral[:6], octahedral[0])
    assert octahedral[6] > octahedral[0] + 0.5
    for near in (over, under):
        assert near[0] == pytest.approx((C / 3 - 2 * (1 / 3 - 0.2128) * C) / 2)  # half the gap
        assert np.allclose(near[1:4], near[1])
        assert near[4] > near[1] + 0.5


def test_sites_of_the_slab_lie_higher_by_the_stated_amount():
    lift = np.array([0, 0, C / 2 - C / 6])
    inside, slab = (
        neighbours(bulk(), gap_sites().octahedral, 52),
        neighbours(bilayer(), gap_sites().octahedral + lift, 52),
    )
    assert np.allclose(inside[:6], slab[:6])


def test_slide_vectors():
    vector = slide_vector()
    assert np.linalg.norm(vector) == pytest.approx(A / np.sqrt(3))
    lattice = 3 * vector[:2] @ np.linalg.inv(in_plane()[:, :2])
    assert np.allclose(lattice, np.round(lattice))
    gaps = []
    for shift in (0, 1, 2):
        system = bilayer(shift=shift)
        # Registry of the lowest Te of the upper layer above the highest of the lower one.
        step = (system.positions[5] - system.positions[4])[:2] @ np.linalg.inv(in_plane()[:, :2])
        gaps.append(np.linalg.norm((step - np.round(step)) @ in_plane()[:, :2]))
    assert np.allclose(gaps, [A / np.sqrt(3), A / np.sqrt(3), 0], atol=1e-12)


@pytest.mark.parametrize("repeats", [1, 2, 3])
def test_repeats(repeats):
    assert len(bulk(repeats).numbers) == 5 * repeats**2
    assert len(bilayer(repeats).numbers) == 10 * repeats**2
    density = len(bulk(repeats).numbers) / to_ase(bulk(repeats)).get_volume()
    assert density == pytest.approx(5 / to_ase(bulk()).get_volume())


def test_intercalate_appends():
    system = intercalate(bulk(2), gap_sites().octahedral)
    assert system.numbers[-1] == 24
    assert system.numbers.dtype == np.int32
    assert np.array_equal(system.positions[-1], gap_sites().octahedral)


def test_impossible_cells():
    with pytest.raises(InputError, match="at least 1 repeat"):
        bulk(0)
    with pytest.raises(InputError, match="thickness of two layers"):
        bilayer(height=15.0)
