import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.pathways import bands
from mlffjax.probes._example import migration, slide


@pytest.fixture
def path():
    return migration(images=5).paths["hop"]


@pytest.fixture
def ends(path):
    return path.frames[0].system, path.frames[-1].system


def moved(system, atom, by):
    positions = system.positions.copy()
    positions[atom] += by
    return system._replace(positions=positions)


def test_a_path_becomes_a_band_and_structures_again(path):
    band = bands.from_path(path, fixed=(0, -2), layers=[0] * 4 + [1] * 4 + [-1])
    assert band.fixed.tolist() == [True] + [False] * 6 + [True, False]
    for system, frame in zip(bands.systems(band), path.frames, strict=True):
        np.testing.assert_array_equal(system.positions, frame.system.positions)
        np.testing.assert_array_equal(system.numbers, frame.system.numbers)


def test_ends_are_joined_the_short_way_across_the_cell_boundary(ends):
    first, last = ends
    wrapped = last._replace(positions=last.positions + np.array([-7.8, 0, 15.6]))
    band = bands.from_ends(first, wrapped, 5)
    np.testing.assert_allclose(band.positions[-1], last.positions, atol=1e-12)
    np.testing.assert_allclose(np.diff(band.positions, n=2, axis=0), 0, atol=1e-12)


def test_a_slide_by_a_lattice_vector_needs_its_displacement():
    frames = slide().paths["slide"].frames
    first, last = frames[0].system, frames[-1].system
    with pytest.raises(InputError, match="give its displacement"):
        bands.from_ends(first, first, 5)
    with pytest.raises(InputError, match="give its displacement"):
        bands.from_ends(first, last, 5)
    steps = last.positions - first.positions
    band = bands.from_ends(first, first, 5, displacement=steps)
    np.testing.assert_allclose(band.positions[-1], last.positions, atol=1e-12)


def test_displacements_must_lead_to_the_end(ends):
    first, last = ends
    steps = last.positions - first.positions
    with pytest.raises(InputError, match=r"atom 3 ends 0\.1 Å away"):
        bands.from_ends(first, last, 5, displacement=steps + 0.1 * np.eye(9, 3, k=-3))
    with pytest.raises(InputError, match="shape"):
        bands.from_ends(first, last, 5, displacement=steps[:4])


def test_exchanged_labels_are_found_and_may_be_meant(ends):
    first, _ = ends
    order = np.arange(9)
    order[[1, 2]] = order[[2, 1]]
    swapped = first._replace(positions=first.positions[order])
    with pytest.raises(InputError, match="atoms really trade places"):
        bands.from_ends(first, swapped, 5)
    assert bands.from_ends(first, swapped, 5, exchange=True).positions.shape == (5, 9, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s._replace(numbers=s.numbers + 1), "different atoms"),
        (lambda s: s._replace(cell=s.cell * 1.01), "cell"),
        (lambda s: s._replace(pbc=np.array([True, True, False])), "pbc"),
        (lambda s: s._replace(positions=s.positions * np.nan), "finite"),
    ],
)
def test_ends_of_different_crystals_are_refused(ends, change, message):
    first, last = ends
    with pytest.raises(InputError, match=message):
        bands.from_ends(first, change(last), 5)


def test_another_order_of_elements_is_named(ends):
    first = ends[0]._replace(numbers=np.array([18] * 8 + [36], np.int32))
    last = ends[1]._replace(numbers=np.array([36] + [18] * 8, np.int32))
    with pytest.raises(InputError, match="another order"):
        bands.from_ends(first, last, 5)


def test_too_few_images_and_unknown_methods(path, ends):
    with pytest.raises(InputError, match="at least 3 images, got 2"):
        bands.from_ends(*ends, 2)
    with pytest.raises(InputError, match="at least 3 images, got 2"):
        bands.from_images([frame.system for frame in path.frames[:2]])
    with pytest.raises(InputError, match="quadratic"):
        bands.from_ends(*ends, 5, method="quadratic")


def test_images_must_run_on_across_boundaries_and_differ(path):
    systems = [frame.system for frame in path.frames]
    with pytest.raises(InputError, match="unwrap"):
        bands.from_images([*systems[:2], moved(systems[2], 8, [7.8, 0, 0]), *systems[3:]])
    with pytest.raises(InputError, match="order of atoms may differ"):
        bands.from_images([*systems[:2], moved(systems[2], 8, [0, 3.5, 0]), *systems[3:]])
    with pytest.raises(InputError, match="image 2 to differ from image 1"):
        bands.from_images([*systems[:2], systems[1], *systems[3:]])
    with pytest.raises(InputError, match="two different ends"):
        bands.from_images([*systems[:3], systems[0]])


def test_fixed_atoms_exist_and_stay(path):
    with pytest.raises(InputError, match=r"fixed atoms from 0 to 8, got \[9\]"):
        bands.from_path(path, fixed=(9,))
    with pytest.raises(InputError, match=r"atom 8 is fixed but moves by 3\.9 Å"):
        bands.from_path(path, fixed=(0, 8))
    with pytest.raises(InputError, match="a layer for each of 9 atoms"):
        bands.from_path(path, layers=[0, 1])
