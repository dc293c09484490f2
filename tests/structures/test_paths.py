import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.structures import bundled
from mlffjax.structures.files import write_frames
from mlffjax.structures.paths import arclength, energies, read_path, segments

CELL = np.diag([6.0, 6.0, 9.0])


@pytest.fixture
def images(frame):
    """Five images: one atom moves along x by 0.5 Å a step."""

    def make(count=5, step=0.5):
        return [
            frame(
                positions=np.array([[0.0, 0, 0], [2.0 + step * k, 0, 3.0]]),
                cell=CELL,
                numbers=np.array([29, 28], np.int32),
                energy=-7.0 + 0.1 * k,
                order=float(k),
                identifier=f"image{k}",
                info={"image": k},
            )
            for k in range(count)
        ]

    return make


@pytest.fixture
def read(tmp_path):
    def write_and_read(frames, **choices):
        write_frames(tmp_path / "p.xyz", frames)
        return read_path(tmp_path / "p.xyz", "p", **choices)

    return write_and_read


def test_images_are_sorted_and_measured(images, read):
    path = read(images()[::-1])
    assert [frame.identifier for frame in path.frames] == [f"image{k}" for k in range(5)]
    assert np.allclose(arclength(path), 0.5 * np.arange(5), atol=1e-12)
    assert np.allclose(relative(path), 0.1 * np.arange(5), atol=1e-12)
    assert segments(path) == (path,)


def test_a_path_across_the_boundary_is_unwrapped(images, read):
    wrapped = images()
    for k in (2, 3, 4):
        positions = wrapped[k].system.positions + np.array([[0, 0, 0], [-6.0, 0, 9.0]])
        wrapped[k] = wrapped[k]._replace(system=wrapped[k].system._replace(positions=positions))
    path = read(wrapped)
    assert np.allclose(arclength(path), 0.5 * np.arange(5), atol=1e-7)  # eight decimals in the file
    straight = read(images())
    for one, other in zip(path.frames, straight.frames, strict=True):
        assert np.allclose(one.system.positions, other.system.positions, atol=1e-7)


def test_a_skewed_open_vector_does_not_mislead(images, read):
    """The third cell vector repeats nothing; ASE's search reduces steps by it all the same."""
    cell = np.array([[6.0, 0, 0], [0, 6.0, 0], [5.5, 0, 2.0]])
    made = []
    for k, one in enumerate(images()):
        positions = np.array([[0.0, 0, 0], [2.0 - 0.5 * k, -1.4 * k, 3.0 + 2.3 * k]])
        positions[1] += [6.0 * (k % 2), 0, 0]  # wrapped differently in every other image
        system = one.system._replace(
            cell=cell, pbc=np.array([True, True, False]), positions=positions
        )
        made.append(one._replace(system=system))
    path = read(made)
    assert np.allclose(np.diff(arclength(path)), np.linalg.norm([0.5, 1.4, 2.3]), atol=1e-7)


def test_positions_that_need_no_unwrapping_stay_as_read(images, read, tmp_path):
    path = read(images())
    assert path.frames[3].system.positions[1, 0] == 3.5


def test_a_coarse_slide_is_taken_as_written(images, read):
    path = read(images(3, step=6.0), unwrap=False, closed=True)
    assert arclength(path).tolist() == [0, 6, 12]
    with pytest.raises(InputError, match="slide by a lattice vector"):
        read(images(3, step=6.0))


def test_labels_are_optional_for_all_images_together(images, read):
    bare = [frame._replace(energy=None, forces=None, stress=None) for frame in images()]
    assert energies(read(bare)) is None
    half = images()
    half[3] = half[3]._replace(energy=None)
    with pytest.raises(InputError, match=r"frame 3: expected energy for all images or for none"):
        read(half)
    half = images()
    half[2] = half[2]._replace(forces=None)
    with pytest.raises(InputError, match=r"frame 2: expected forces for all images or for none"):
        read(half)


def spoiled(images, **changes):
    frames = images()
    fields = {key: changes.pop(key) for key in list(changes) if key in frames[2]._fields}
    frames[2] = frames[2]._replace(system=frames[2].system._replace(**changes), **fields)
    return frames


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": np.array([29, 29], np.int32)}, "got different atoms"),
        ({"numbers": np.array([28, 29], np.int32)}, "same atoms in another order"),
        ({"cell": np.diag([6.0, 6.0, 9.1])}, "cell of .*frame 0, got one that differs by 0.1"),
        ({"pbc": np.array([True, True, False])}, r"expected pbc \[True, True, True\]"),
        ({"positions": np.array([[0.0, 0, 0], [2.5, 0, 3.0]])}, "different from .*frame 1"),
        ({"positions": np.array([[0.0, 0, 0], [3.0, 0, 6.6]])}, "got 3.63 Å for atom 1"),
        ({"info": {"image": 1}, "order": 1.0}, "one image at position 1"),
    ],
)
def test_images_that_do_not_belong_together(images, read, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        read(spoiled(images, **changes))
    assert "p.xyz frame 2" in str(caught.value)


def test_images_with_another_number_of_atoms(images, read, frame):
    frames = images()
    frames[2] = frame(
        positions=np.zeros((1, 3)), numbers=np.array([29], np.int32), forces=np.zeros((1, 3)),
        order=2.0, info={"image": 2}, cell=CELL,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"frame 2: .*different atoms \(1 and 2\)"):
        read(frames)


def test_too_few_images(images, read):
    with pytest.raises(InputError, match="at least 3 images, got 2"):
        read(images(2))


def test_closure_is_verified(images, read):
    assert read(images(13), closed=True).closed
    with pytest.raises(InputError, match="atom 1 is 1 Å off"):
        read(images(12, step=0.5 * 10 / 11), closed=True)


def test_segments_share_the_image_between_them(images, read):
    marked = [
        frame._replace(info={"image": k, "segment": int(k > 2)}) for k, frame in enumerate(images())
    ]
    first, second = segments(read(marked))
    assert [frame.identifier for frame in first.frames] == ["image0", "image1", "image2"]
    assert [frame.identifier for frame in second.frames] == ["image2", "image3", "image4"]
    marked[3] = marked[3]._replace(info={"image": 3, "segment": 2})
    with pytest.raises(InputError, match="in segment 1 of path p, got 2"):
        segments(read(marked))


def relative(path):
    known = energies(path)
    assert known is not None
    return known


def load(name):
    (file,) = bundled.files(name)
    return read_path(file, name, closed=bundled.PATHS[name].closed)


@pytest.mark.parametrize(("name", "images", "top"), [("in_gap", 9, 6), ("deep", 17, 12)])
def test_bundled_migration_paths(name, images, top):
    path = load(name)
    assert len(path.frames) == images
    assert int(np.argmax(relative(path))) == top
    # The file states the length from before it was rounded to eight decimals.
    stated = [frame.info["path_s"] for frame in path.frames]
    assert np.allclose(arclength(path), stated, atol=1e-6)


def test_bundled_deep_path_has_two_segments_that_meet_in_a_minimum():
    first, second = segments(load("deep"))
    assert len(first.frames) == len(second.frames) == 9
    assert first.frames[-1].identifier == second.frames[0].identifier == "neb_deep_08"
    heights = relative(load("deep"))
    assert heights[8] < min(heights[4], heights[12])


def test_bundled_slide_is_closed_by_a_lattice_vector_of_the_upper_layer():
    path = load("slide_pristine")
    first, last = path.frames[0].system, path.frames[-1].system
    moves = (last.positions - first.positions) @ np.linalg.inv(first.cell)
    assert np.allclose(moves[:5], 0, atol=1e-8)
    assert np.allclose(moves[5:], [1, -1, 0], atol=1e-8)
    shifts = [frame.info["slide_s"] for frame in path.frames]
    assert np.allclose(shifts, np.linspace(0, 3, 13))
    # s counts vectors of length a / sqrt(3), for each of the five atoms that move.
    unit = np.linalg.norm(first.cell[0]) / np.sqrt(3)
    assert np.allclose(arclength(path), np.array(shifts) * unit * np.sqrt(5), atol=1e-6)
    assert abs(relative(path)[-1]) < 1e-4  # convergence of the energy: 2e-5 eV per electron pair


@pytest.mark.parametrize("name", ["in_gap", "deep"])
def test_bundled_forces_are_minus_the_slope_of_the_energies(name):
    path = load(name)
    places = np.array([frame.system.positions for frame in path.frames])
    forces = np.array([frame.forces for frame in path.frames])
    steps, rises = np.diff(places, axis=0), np.diff(relative(path))
    # Work along each chord with the mean force of its ends; the rest is third order in the step,
    # so it is small only where no atom moves far.
    work = np.sum(steps * (forces[1:] + forces[:-1]) / 2, axis=(1, 2))
    short = np.linalg.norm(steps, axis=2).max(axis=1) < 0.5
    assert np.corrcoef(-work, rises)[0, 1] > 0.9
    assert np.allclose(-work[short], rises[short], atol=0.07)
    assert short.sum() == {"in_gap": 0, "deep": 14}[name]
