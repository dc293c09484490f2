import numpy as np
import pytest

from mlffjax.analysis import hops
from mlffjax.errors import InputError
from mlffjax.structures import builders

CELL = builders.bulk().cell  # 4.3 Å hexagonal
FLAT = np.diag([3.0, 4.0, 20.0])
SITE = np.array([[0.5, 0.5, 1.0]])


def follow(positions, sites=SITE, cell=FLAT, radius=0.8):
    positions = np.asarray(positions, float)
    return hops.count_hops(positions, 10.0 * np.arange(len(positions)), sites, cell, radius=radius)


def test_wandering_off_and_back_is_no_hop():
    start = SITE[0]
    aside = np.array([[0, 0, 0], [0.5, 0, 0], [1.4, 0, 0], [1.6, 0, 0], [0, 0, 0]])
    found = follow((start + aside)[:, None])
    assert found.count.tolist() == [0]
    assert np.isnan(found.mean_square_length)
    # 95 % of a Poisson process without an event: 3.69 (two-sided) in 40 fs.
    np.testing.assert_allclose(found.rate_interval, [0, 3.689 / 40], rtol=1e-3)


def test_hops_to_images_and_the_way_between_them():
    start = SITE[0]
    moves = np.array([[0, 0, 0], [1.5, 0, 0], [3, 0, 0], [3, 2, 0], [3, 4, 0], [3, 4, 0]])
    found = follow((start + moves)[:, None])
    assert found.count.tolist() == [2]
    np.testing.assert_allclose(found.mean_square_length, (9 + 16) / 2)
    np.testing.assert_allclose(found.rate, 2 / 50)
    np.testing.assert_allclose(found.rate_error, np.sqrt(2) / 50)
    assert found.site[:, 0].tolist() == [0] * 6


def test_before_the_first_site_nothing_is_counted():
    path = SITE[0] + np.array([[0, 0, 9.0], [0, 0, 5.0], [0, 0, 0], [0, 0, 0]])
    found = follow(path[:, None])
    assert found.site[:, 0].tolist() == [-1, -1, 0, 0]
    assert found.count.sum() == 0


def test_random_hops_on_a_hexagonal_lattice_are_all_found(rng):
    """Two kinds of sites, vibrations, a drifting and breathing cell, 12 atoms."""
    frames, atoms = 800, 12
    sites = np.array([[0.0, 0, 0], [1 / 3, 2 / 3, 0]]) @ CELL
    to_other = np.array([[1 / 3, 2 / 3, 0], [1 / 3, -1 / 3, 0], [-2 / 3, -1 / 3, 0]])
    kind = np.zeros(atoms, int)
    place = np.zeros((atoms, 3))
    track, counts = np.empty((frames, atoms, 3)), np.zeros(atoms, int)
    for frame in range(frames):
        jump = (rng.random(atoms) < 0.02) & (frame > 0)
        step = to_other[rng.integers(0, 3, atoms)] * np.where(kind, -1, 1)[:, None]
        place = place + jump[:, None] * step
        kind = np.where(jump, 1 - kind, kind)
        counts += jump
        track[frame] = place
    cells = CELL * (1 + 0.03 * np.sin(np.arange(frames) / 20))[:, None, None]
    positions = np.einsum("tak,tkx->tax", track, cells) + 0.1 * rng.normal(size=track.shape)
    found = hops.count_hops(positions, np.arange(frames) * 5.0, sites, cells, radius=0.9)
    np.testing.assert_array_equal(found.count, counts)
    length = np.linalg.norm(to_other[0] @ CELL)
    assert found.mean_square_length == pytest.approx(length**2, rel=0.02)
    low, high = found.rate_interval
    assert low < counts.sum() / (5 * (frames - 1) * atoms) < high
    # Hops of one length on a lattice: D = rate length² / 4 in the plane.
    np.testing.assert_array_equal(
        found.site[-1], np.round(track[-1, :, 0] % 1 * 3).astype(int) % 3 > 0
    )


def test_chunks_do_not_matter(rng, monkeypatch):
    positions = np.cumsum(rng.normal(size=(60, 3, 3)), axis=0)
    whole = follow(positions)
    monkeypatch.setattr(hops, "CHUNK", 1)
    for one, many in zip(follow(positions), whole, strict=True):
        np.testing.assert_array_equal(one, many)


def test_bad_input():
    positions = np.zeros((3, 1, 3))
    for radius in (0.0, 1.5):
        with pytest.raises(InputError, match=r"between 0 and 1\.500 Å"):
            follow(positions, radius=radius)
    with pytest.raises(InputError, match="images of each other"):
        follow(positions, sites=SITE + np.array([[0, 0, 0], [3.0, 0, 0]]))
    with pytest.raises(InputError, match="sites of shape"):
        follow(positions, sites=SITE[0])
