import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal

from mlffjax.structures import builders, sheets
from mlffjax.structures.system import from_ase


def every(system):
    return np.arange(len(system.numbers))


def test_score_prefers_the_network_of_zinc_and_the_sheets_of_antimony():
    """Both have two bond lengths; the published score tells them apart: 3D and 2D.

    Lattices: Zn 2.6649, 4.9468 Å; Sb 4.307, 11.273 Å, u = 0.2335 (Wyckoff, Crystal Structures 1).
    """
    zinc = from_ase(bulk("Zn", "hcp", a=2.6649, c=4.9468))
    assert sheets.find(zinc, every(zinc)) is None
    antimony = from_ase(
        crystal("Sb", [(0, 0, 0.2335)], spacegroup=166, cellpar=[4.307, 4.307, 11.273, 90, 90, 120])
    )
    found = sheets.find(antimony, every(antimony))
    assert found is not None
    assert [len(group) for group in found.groups] == [2, 2, 2]


def test_scale_that_is_given_is_used():
    system = builders.bilayer(1)
    assert sheets.find(system, every(system), scale=1.05) is None  # shorter than any bond
    found = sheets.find(system, every(system), scale=1.25)
    assert found is not None
    assert [group.tolist() for group in found.groups] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    # 1.5 times the radii reach across the gap: one thick sheet.
    found = sheets.find(system, every(system), scale=1.5)
    assert found is not None
    assert [len(group) for group in found.groups] == [10]


def test_offsets_bring_a_sheet_together_across_the_cell_boundary():
    system = builders.bulk(1)
    wrapped = system._replace(positions=system.positions.copy())
    wrapped.positions[3:] -= system.cell[2]
    found = sheets.find(wrapped, every(wrapped))
    assert found is not None
    heights = (wrapped.positions + found.offset @ wrapped.cell)[:, 2]
    np.testing.assert_allclose(np.ptp(heights), np.ptp(system.positions[:, 2]), atol=1e-12)


def test_primitive_plane_of_a_rhombohedral_cell():
    """In-plane vectors are differences of cell vectors, none of them a cell vector itself."""
    cell = crystal("Bi", [(0, 0, 0.2335)], spacegroup=166, primitive_cell=True,
                   cellpar=[4.546, 4.546, 11.862, 90, 90, 120])  # fmt: skip
    found = sheets.find(from_ase(cell), np.arange(2))
    assert found is not None
    lengths = np.linalg.norm(found.plane @ cell.cell.array, axis=1)
    np.testing.assert_allclose(lengths, 4.546, atol=1e-9)
    assert (np.abs(found.plane).sum(axis=1) == 2).all()


@pytest.mark.parametrize("element", ["Cu", "Na"])
def test_planes_of_a_metal_extend_and_lone_atoms_do_not(element):
    cubic = from_ase(bulk(element, cubic=True).repeat((2, 2, 2)))
    assert not sheets.extend(cubic, np.array([0]), 1.2)
    layer = np.flatnonzero(np.abs(cubic.positions[:, 2]) < 0.1)
    assert sheets.extend(cubic, layer, 1.5)
