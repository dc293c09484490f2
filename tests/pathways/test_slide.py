import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.pathways import slide
from mlffjax.structures import builders, layers
from mlffjax.structures.system import System


def bilayer(**choices):
    system = builders.bilayer(1, **choices)
    return slide.slider(system, layers.find(system))


def doped(**choices):
    system = builders.bilayer(2)
    site = np.add(builders.gap_sites().octahedral, [0, 0, builders.C / 2 - builders.C / 6])
    system = builders.intercalate(system, site)
    return slide.slider(system, layers.find(system), **choices)


def chains(count, vacuum=False):
    """Flat square layers of carbon, 3.3 Å apart."""
    positions = np.array([[0.0, 0.0, 3.3 * k] for k in range(count)])
    height = 3.3 * count + (20.0 if vacuum else 0.0)
    system = System(positions, np.full(count, 6, np.int32), np.diag([1.5, 1.5, height]),
                    np.ones(3, bool))  # fmt: skip
    return system, layers.find(system)


def test_upper_layer_of_a_slab_moves():
    along = bilayer()
    assert along.moving.tolist() == [False] * 5 + [True] * 5
    assert (along.interfaces, along.vacuum) == (1, True)
    shifts = slide.line(along, slide.lattice_vector(along, [-2, -1, 0]), 4)
    systems = slide.shifted(along, shifts)
    # The builder's slide vector is a third of this lattice vector.
    expected = builders.bilayer(1, shift=1.0)
    np.testing.assert_allclose(systems[1].positions, expected.positions, atol=1e-9)
    np.testing.assert_array_equal(systems[0].positions, along.system.positions)


def test_intercalated_atoms_stay_or_move_as_told():
    assert not doped().moving[40]
    assert doped(intercalated="move").moving[40]
    assert doped().intercalated.tolist() == [False] * 40 + [True]


def test_layers_of_a_crystal_shear_two_gaps():
    system, found = chains(2)
    along = slide.slider(system, found)
    assert (along.interfaces, along.vacuum) == (2, False)
    system, found = chains(3)
    with pytest.raises(InputError, match="which of 3 layers move"):
        slide.slider(system, found)
    assert slide.slider(system, found, moving=[1]).interfaces == 2
    # Two neighbours that move together shear nothing between them.
    assert slide.slider(system, found, moving=[1, 2]).interfaces == 2


def test_only_gaps_without_vacuum_count():
    system, found = chains(3, vacuum=True)
    assert slide.slider(system, found, moving=[2]).interfaces == 1
    assert slide.slider(system, found, moving=[1]).interfaces == 2
    apart = builders.bilayer(1, height=60.0)
    moved = apart.positions + np.where(np.arange(10)[:, None] > 4, [0.0, 0.0, 15.0], 0.0)
    apart = apart._replace(positions=moved)
    with pytest.raises(InputError, match="vacuum separates"):
        slide.slider(apart, layers.find(apart))


def test_one_layer_cannot_slide_over_its_images():
    system = builders.bulk(1)
    with pytest.raises(InputError, match="repeat the structure along the stacking"):
        slide.slider(system, layers.find(system))


@pytest.mark.parametrize("moving", [[], [0, 1], [2], [-1]])
def test_impossible_choices_are_refused(moving):
    system = builders.bilayer(1)
    with pytest.raises(InputError, match="some but not all of the layers"):
        slide.slider(system, layers.find(system), moving=moving)


def test_grid_covers_one_cell_of_the_plane():
    along = bilayer()
    shifts = slide.grid(along, (4, 6))
    assert shifts.shape == (4, 6, 3)
    np.testing.assert_allclose(shifts[1, 0] * 4, along.plane[0])
    np.testing.assert_allclose(shifts[0, 1] * 6, along.plane[1])
    assert all(slide.is_lattice_vector(along, v) for v in slide.closing_shifts(along))
    assert not slide.is_lattice_vector(along, shifts[1, 1])
    with pytest.raises(InputError, match="3 x 3"):
        slide.grid(along, (2, 5))


@pytest.mark.parametrize(
    ("vector", "images", "message"),
    [([0, 0, 0], 5, "not zero"), ([1, 0, 0.1], 5, "out of it"), ([1, 0, 0], 2, "3 images"),
     ([1, np.nan, 0], 5, "not zero")],
)  # fmt: skip
def test_bad_lines_are_refused(vector, images, message):
    with pytest.raises(InputError, match=message):
        slide.line(bilayer(), np.array(vector, float), images)


@pytest.mark.parametrize("direction", [[0, 0, 0], [1, 0], [0.5, 0, 0]])
def test_bad_directions_are_refused(direction):
    with pytest.raises(InputError, match="direction"):
        slide.lattice_vector(bilayer(), direction)


@pytest.mark.parametrize("by", [0.0, 7.0, 14.0, 22.0])
def test_lift_puts_the_upper_layer_over_the_lower_wherever_the_cell_is_cut(by):
    system = builders.bilayer(1)
    moved = np.add(system.positions, [0.0, 0.0, by])
    moved[:, 2] %= system.cell[2, 2]
    system = system._replace(positions=moved)
    along = slide.slider(system, layers.find(system))
    heights = moved[:, 2] + along.lift
    gap = builders.C / 3 - 2 * (1 / 3 - builders.TE2) * builders.C
    assert heights[along.upper].min() - heights[along.lower].max() == pytest.approx(gap)
