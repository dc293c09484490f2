import ase.build
import numpy as np
import pytest
from ase.geometry.rdf import get_rdf

from mlffjax.analysis import structure
from mlffjax.errors import InputError
from mlffjax.structures import builders

CELL = builders.bulk(2).cell  # skewed, heights 7.4, 7.4 and 10 Å


def gas(rng, cell, atoms, frames):
    """Positions that know nothing of each other."""
    cells = np.broadcast_to(cell, (frames, 3, 3))
    return np.einsum("tak,tkx->tax", rng.random((frames, atoms, 3)), cells)


def within(values, errors, expected):
    """Deviations are those of a normal distribution with these errors."""
    far = abs(values - expected) / errors
    # Root mean square 1 expected, 0.2 of uncertainty for a dozen values; errors from some tens of
    # blocks are 10 % uncertain themselves.
    assert 0.4 < np.sqrt((far**2).mean()) < 1.7, far
    assert far.max() < 4, far


def test_ideal_gas_in_a_skewed_cell_beyond_half_of_it(rng):
    numbers = np.array([24] * 2 + [51] * 20 + [52] * 30)
    found = structure.radial_distribution(
        gas(rng, CELL, 52, 300), numbers, CELL, r_max=14.0, bins=14
    )
    assert found.finite_size == pytest.approx(
        0.5 * 1 / np.linalg.norm(np.linalg.inv(CELL), axis=0).max()
    )
    assert found.finite_size < 4
    for a, b in (("Sb", "Te"), ("Te", "Te"), ("Cr", "Te"), ("Cr", "Cr")):
        pair = found.pair(a, b)
        seen = pair.error > 0  # 2 Cr atoms never meet in the first shells
        within(pair.g[seen], pair.error[seen], 1.0)
    total = found.pair(structure.ALL, structure.ALL)
    within(total.g, total.error, 1.0)
    assert total.error[5:].max() < 0.01


def test_volume_of_each_frame_counts(rng):
    """An ideal gas has g = 1 in a cell that breathes too, but not with the mean volume."""
    scale = 1 + 0.3 * np.sin(np.arange(400) / 9)
    cells = CELL * scale[:, None, None]
    found = structure.radial_distribution(
        gas(rng, cells, 40, 400), np.full(40, 52), cells, r_max=8.0, bins=8
    )
    within(found.g[0], found.error[0], 1.0)
    wrong = structure.radial_distribution(
        gas(rng, cells, 40, 400), np.full(40, 52), cells.mean(0), r_max=8.0, bins=8
    )
    assert abs(wrong.g[0, 2:] - 1).max() > 5 * found.error[0, 2:].max()


def test_shells_of_an_fcc_crystal(rng):
    """12, 6, 24, 12, 24, 8 neighbours at a sqrt(n/2), whatever cell describes the crystal."""
    expected = [12, 6, 24, 12, 24, 8]
    for atoms in (ase.build.bulk("Cu", a=4.0), ase.build.bulk("Cu", a=4.0, cubic=True) * (2, 1, 1)):
        positions = np.array([atoms.positions, atoms.positions + 0.1])
        inside = [
            structure.coordination(
                positions,
                atoms.numbers,
                atoms.cell.array,
                centre="Cu",
                neighbor="Cu",
                cutoff=4.0 * np.sqrt((n + 0.5) / 2),
            ).mean.mean
            for n in range(7)
        ]
        np.testing.assert_array_equal(np.diff(inside), expected)


def test_peaks_of_a_crystal_hold_the_shells():
    atoms = ase.build.bulk("Cu", a=4.0, cubic=True) * (3, 3, 3)
    moved = atoms.positions + 37.0 * atoms.cell.array[0]  # unwrapped, far outside
    found = structure.radial_distribution(
        np.array([atoms.positions, moved]), atoms.numbers, atoms.cell.array, r_max=5.0, bins=50
    )
    shells = 4 / 3 * np.pi * np.diff(found.edges**3)
    density = (len(atoms) - 1) / atoms.get_volume()
    neighbors = found.pair("Cu", "Cu").g * density * shells
    # Shells at 2.83, 4.00 and 4.90 Å; nothing between.
    np.testing.assert_allclose(neighbors[28], 12, rtol=1e-12)
    np.testing.assert_allclose(neighbors[39:41].sum(), 6, rtol=1e-12)
    np.testing.assert_allclose(neighbors[48:50].sum(), 24, rtol=1e-12)
    np.testing.assert_allclose(neighbors.sum(), 42, rtol=1e-12)


def rattled(rng, frames=4):
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.6, cubic=True) * (3, 3, 3)
    places = [atoms.positions + 0.2 * rng.normal(size=(len(atoms), 3)) for _ in range(frames)]
    return atoms, np.array(places)


def test_equal_to_ase_where_ase_works(rng):
    """ASE divides by N² also within a species, and counts up to half the cell."""
    atoms, positions = rattled(rng)
    found = structure.radial_distribution(
        positions, atoms.numbers, atoms.cell.array, r_max=8.0, bins=40
    )
    images = []
    for places in positions:
        images.append(atoms.copy())
        images[-1].positions = places
    n = len(atoms)
    cases = [(None, (structure.ALL, structure.ALL), n)]
    if tuple(map(int, ase.__version__.split(".")[:2])) >= (3, 27):  # partial ones were wrong before
        cases += [((11, 17), ("Na", "Cl"), np.inf), ((11, 11), ("Na", "Na"), n // 2)]
    for elements, pair, count in cases:
        reference = np.mean(
            [get_rdf(image, 8.0, 40, elements=elements, no_dists=True) for image in images], axis=0
        )
        ours = found.pair(*pair)
        np.testing.assert_allclose(ours.g * (1 - 1 / count), reference, rtol=1e-10, atol=1e-12)


def test_equal_to_freud_in_a_skewed_cell(rng):
    freud = pytest.importorskip("freud", exc_type=ImportError)
    # freud wants a lower triangular cell; heights 20 and more.
    cell = np.array([[26.0, 0, 0], [9.0, 24.0, 0], [-6.0, 5.0, 22.0]])
    positions = gas(rng, cell, 300, 5)
    found = structure.radial_distribution(positions, np.full(300, 18), cell, r_max=9.0, bins=30)
    box = freud.box.Box.from_matrix(cell.T)
    rdf = freud.density.RDF(30, 9.0, normalization_mode="finite_size")
    for places in positions:
        centred = box.wrap(places - cell.sum(axis=0) / 2)
        rdf.compute((box, centred), reset=False)
    # freud works in float32: a pair may fall into the neighbouring shell.
    counts = 300 * 299 / 2 * 5 * 4 / 3 * np.pi * np.diff(found.edges**3) / np.linalg.det(cell)
    assert (abs(found.g[0] - rdf.rdf) * counts).max() < 1.5


def test_error_bars_cover(rng):
    """Over many trajectories, about 68 % of values lie within one error."""
    numbers = np.full(20, 52)
    inside = []
    for _ in range(40):
        found = structure.radial_distribution(
            gas(rng, CELL, 20, 64), numbers, CELL, r_max=9.0, bins=9
        )
        inside.append(abs(found.g[0, 3:] - 1) < found.error[0, 3:])
    # 240 values, correlated within a trajectory: 5 % of uncertainty.
    assert 0.55 < np.mean(inside) < 0.8


def test_many_frames_are_grouped(rng, monkeypatch):
    numbers, positions = np.full(10, 52), gas(rng, CELL, 10, 103)
    fine = structure.radial_distribution(positions, numbers, CELL, r_max=7.0, bins=5)
    monkeypatch.setattr(structure, "GROUPS", 20)
    coarse = structure.radial_distribution(positions, numbers, CELL, r_max=7.0, bins=5)
    np.testing.assert_allclose(coarse.g, fine.g, rtol=1e-12)
    np.testing.assert_allclose(coarse.error, fine.error, rtol=0.7)


def test_coordination_of_a_liquid_has_a_distribution(rng):
    numbers = np.array([24] * 5 + [52] * 35)
    positions = gas(rng, CELL, 40, 300)
    found = structure.coordination(positions, numbers, CELL, centre="Cr", neighbor="Te", cutoff=4.0)
    # Poisson: 35 other atoms anywhere in the cell, images included.
    mean = 35 * 4 / 3 * np.pi * 4.0**3 / np.linalg.det(CELL)
    assert abs(found.mean.mean - mean) < 3 * found.mean.error
    assert found.fraction.sum() == pytest.approx(1)
    assert found.counts @ found.fraction == pytest.approx(float(found.mean.mean))
    everything = structure.coordination(
        positions, numbers, CELL, centre="Cr", neighbor=structure.ALL, cutoff=4.0
    )
    assert everything.mean.mean > found.mean.mean


def test_bad_input(rng):
    positions, numbers = gas(rng, CELL, 3, 4), np.array([24, 52, 52])

    def g(positions=positions, numbers=numbers, cell=CELL, r_max=5.0, bins=5):
        return structure.radial_distribution(positions, numbers, cell, r_max=r_max, bins=bins)

    for r_max in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(InputError, match="r_max > 0"):
            g(r_max=r_max)
    with pytest.raises(InputError, match="0 bins"):
        g(bins=0)
    with pytest.raises(InputError, match="at least 2 frames"):
        g(positions=positions[:1])
    with pytest.raises(InputError, match="3 atomic numbers"):
        g(numbers=numbers[:2])
    with pytest.raises(InputError, match="span a volume"):
        g(cell=np.diag([1.0, 1.0, 0.0]))
    with pytest.raises(InputError, match="one cell"):
        g(cell=np.broadcast_to(CELL, (3, 3, 3)))
    with pytest.raises(InputError, match="there are no pairs"):
        g(positions=positions[:, :1], numbers=numbers[:1])
    with pytest.raises(InputError, match="finite positions"):
        g(positions=np.where(positions > 3, np.nan, positions))
    with pytest.raises(InputError, match="Cr-Te, Te-Te, got Cr-Cr"):
        g().pair("Cr", "Cr")
    with pytest.raises(InputError, match="chemical symbol"):
        g().pair("Cr", "Xx")
    with pytest.raises(InputError, match="species present, Cr, Te, got 'Sb'"):
        structure.coordination(positions, numbers, CELL, centre="Sb", neighbor="Te", cutoff=3.0)
