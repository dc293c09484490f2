import numpy as np
import pytest
import scipy.signal

from mlffjax.analysis import diffusion
from mlffjax.errors import InputError

STEP = 10.0  # fs
D = 1e-3  # Å²/fs


def walk(rng, frames, atoms, coefficient=D):
    return np.cumsum(rng.normal(size=(frames, atoms, 3)) * np.sqrt(2 * coefficient * STEP), axis=0)


def times(positions):
    return STEP * np.arange(len(positions))


def msd_of(positions, **options):
    return diffusion.mean_square_displacement(positions, times(positions), **options)


def hopping(rng, frames, atoms, hops, length=2.5, rattle=0.15):
    """Rare hops on a square lattice in x and y, and vibrations; ``hops`` in all on average."""
    moves = np.array([[length, 0, 0], [-length, 0, 0], [0, length, 0], [0, -length, 0]])
    now = rng.random((frames, atoms)) < hops / frames / atoms
    places = np.cumsum(now[..., None] * moves[rng.integers(0, 4, size=(frames, atoms))], axis=0)
    return places + rattle * rng.normal(size=(frames, atoms, 3))


def confined(rng, frames, atoms, memory, width):
    """A particle in a harmonic trap, overdamped."""
    decay = np.exp(-1 / memory)
    noise = rng.normal(size=(frames + 500, atoms, 3)) * width * np.sqrt(1 - decay**2)
    return np.asarray(scipy.signal.lfilter([1], [1, -decay], noise, axis=0))[-frames:]


def test_equal_to_the_definition(rng):
    positions = walk(rng, 60, 7) + 1000.0
    found = msd_of(positions)
    for lag in range(60):
        moved = positions[lag:] - positions[: 60 - lag]
        expected = np.einsum("tia,tib->ab", moved, moved) / (len(moved) * 7)
        # Rounding of sums of 60 squares of 10 Å.
        np.testing.assert_allclose(found.tensor[lag], expected, atol=1e-10)
    for lag, fourth in zip(found.sampled, found.fourth, strict=True):
        squares = (positions[lag:] - positions[: 60 - lag]) ** 2
        if lag < 16:  # every origin is used
            expected = np.einsum("tia,tib->ab", squares, squares) / (len(squares) * 7)
            np.testing.assert_allclose(fourth, expected, rtol=1e-9)
    np.testing.assert_allclose(found.along("xz"), found.tensor[:, [0, 2], [0, 2]].sum(axis=1))


def test_chunks_of_atoms_do_not_matter(rng, monkeypatch):
    positions = walk(rng, 50, 5)
    whole = msd_of(positions)
    monkeypatch.setattr(diffusion, "CHUNK", 1)
    for one, many in zip(msd_of(positions), whole, strict=True):
        np.testing.assert_allclose(one, many, atol=1e-12)


def test_motion_of_the_host_is_taken_off(rng):
    masses = np.array([50.0, 120, 130, 110])
    positions = walk(rng, 200, 4)
    drift = walk(rng, 200, 1, 0.1) + 7
    host = np.array([False, True, True, True])
    for chosen in (None, host):
        still = msd_of(positions, relative_to=diffusion.centre(positions, masses, chosen))
        moved = positions + drift
        moving = msd_of(moved, relative_to=diffusion.centre(moved, masses, chosen))
        np.testing.assert_allclose(moving.tensor, still.tensor, atol=1e-9)
    weights = host * masses / (host * masses).sum()
    np.testing.assert_allclose(
        diffusion.centre(positions, masses, host), np.einsum("tax,a->tx", positions, weights)
    )


def test_species(rng):
    positions, numbers = walk(rng, 80, 5), np.array([24, 52, 24, 52, 52])
    found = diffusion.by_species(positions, numbers, times(positions))
    assert list(found) == ["Cr", "Te"]
    np.testing.assert_allclose(found["Cr"].tensor, msd_of(positions[:, [0, 2]]).tensor)


def pulls(make, expected, repeats, **options):
    """Deviations in units of the error bar, and the coefficients, over many trajectories."""
    found = [diffusion.diffusion_coefficient(msd_of(make()), **options) for _ in range(repeats)]
    seen = [f for f in found if f.seen]
    values = np.array([float(f.coefficient) for f in seen]) / expected
    errors = np.array([float(f.error) for f in seen]) / expected
    return (values - 1) / errors, values, len(seen) / repeats


@pytest.mark.parametrize(
    ("atoms", "rattle", "axes"), [(1, 0.0, "xyz"), (8, 0.0, "xy"), (4, 0.5, "xy"), (3, 0.2, "z")]
)
def test_random_walks_are_found_and_error_bars_cover(rng, atoms, rattle, axes):
    def make():
        return walk(rng, 600, atoms) + rattle * rng.normal(size=(600, atoms, 3))

    off, values, seen = pulls(make, D, 80, axes=axes)
    assert seen > 0.9
    assert abs(values.mean() - 1) < 4 * values.std() / np.sqrt(len(values))
    # 68 % and 95 % expected; binomial noise of 80 is 5 % and 2.4 %, four of which are allowed.
    assert 0.48 < (abs(off) < 1).mean() < 0.88
    assert (abs(off) < 2).mean() > 0.85


def test_hopping_atoms_are_found_and_error_bars_cover(rng):
    """40 hops of 5 atoms: motion that is far from a normal distribution."""
    frames, atoms, hops = 1000, 5, 40
    expected = hops * 2.5**2 / (4 * atoms * frames * STEP)
    off, values, seen = pulls(
        lambda: hopping(rng, frames, atoms, hops), expected, 80, axes="xy", hop_length=2.5
    )
    assert seen > 0.9
    # 40 hops: 16 % of noise of one value.
    assert abs(values.mean() - 1) < 4 * 0.16 / np.sqrt(80)
    assert values.std() == pytest.approx(0.16, rel=0.35)
    assert 0.48 < (abs(off) < 1).mean() < 0.88
    assert (abs(off) < 2).mean() > 0.85


@pytest.mark.parametrize("memory", [1, 20, 80])
def test_atoms_in_cages_do_not_diffuse(rng, memory):
    """Also if they wander slowly: the MSD rises over a third of the window for the last case."""
    for atoms in (1, 10):
        for _ in range(10):
            found = diffusion.diffusion_coefficient(
                msd_of(confined(rng, 1000, atoms, memory, 0.3)), axes="xy", hop_length=2.5
            )
            assert not found.seen
            assert np.isnan(found.coefficient)
            # Three hops of all atoms in 10 ps.
            assert found.upper_bound >= 3 * 2.5**2 / (4 * atoms * 1000 * STEP)


def test_upper_bound_holds_for_hops_too_rare_to_see(rng):
    """2 atoms, 0.5 hops on average: the true D is below the bound, whatever happened."""
    expected = 0.5 * 2.5**2 / (4 * 2 * 1000 * STEP)
    for _ in range(20):
        found = diffusion.diffusion_coefficient(
            msd_of(hopping(rng, 1000, 2, 0.5)), axes="xy", hop_length=2.5
        )
        assert found.upper_bound > expected


def test_motion_in_a_plane_divides_by_four(rng):
    """In a layer, 6t would give two thirds of D."""
    positions = walk(rng, 3000, 30)
    positions[..., 2] = confined(rng, 3000, 30, 3, 0.2)[..., 2]
    msd = msd_of(positions)
    plane = diffusion.diffusion_coefficient(msd, axes="xy", hop_length=2.5)
    assert plane.coefficient == pytest.approx(D, abs=4 * float(plane.error))
    assert plane.error < 0.02 * D
    across = diffusion.diffusion_coefficient(msd, axes="z", hop_length=2.5)
    assert not across.seen
    # Three hops of 30 atoms in 30 ps along a line.
    assert across.upper_bound == pytest.approx(3 * 2.5**2 / (2 * 30 * 29990), rel=1e-6)
    assert plane.exponent == pytest.approx(1, abs=0.1)


def test_tensor_of_a_skewed_walk(rng):
    mix = np.array([[1.0, 0, 0], [0.6, 0.8, 0], [0.1, -0.2, 0.5]])
    exact = D * mix @ mix.T
    off = []
    for _ in range(30):
        found = diffusion.diffusion_tensor(
            msd_of(walk(rng, 500, 6) @ mix.T), window_fs=(20.0, 1000.0)
        )
        np.testing.assert_array_equal(found.tensor, found.tensor.T)
        off.append((found.tensor - exact) / found.error)
    np.testing.assert_array_equal(found.window_fs, [20.0, 1000.0])
    # Root mean square of 30 pulls for each component: 1 with 13 % of noise.
    rms = np.sqrt((np.array(off) ** 2).mean(axis=0))
    assert (rms > 0.5).all()
    assert (rms < 1.6).all()


def test_a_window_of_choice(rng):
    msd = msd_of(walk(rng, 2000, 20))
    found = diffusion.diffusion_coefficient(msd, window_fs=(500.0, 2000.0))
    np.testing.assert_array_equal(found.window_fs, [500.0, 2000.0])
    assert found.coefficient == pytest.approx(D, abs=4 * float(found.error))
    best = diffusion.diffusion_coefficient(msd)
    assert best.error < found.error  # short lags are averaged more often
    np.testing.assert_allclose(diffusion.CM2_PER_S, 1e-16 / 1e-15)


def test_agrees_with_kinisi(rng):
    mda = pytest.importorskip("MDAnalysis", exc_type=ImportError)
    analyze = pytest.importorskip("kinisi.analyze", exc_type=ImportError)
    sc = pytest.importorskip("scipp", exc_type=ImportError)
    positions = walk(rng, 300, 30) + 50
    universe = mda.Universe.empty(31, trajectory=True, atom_resindex=[0] * 31)
    universe.add_TopologyAttr("type", ["Li"] * 30 + ["X"])
    universe.add_TopologyAttr("name", ["Li"] * 30 + ["X"])
    fixed = np.ones((300, 1, 3))  # a host that does not drift
    universe.load_new(
        np.concatenate([positions, fixed], axis=1).astype(np.float32),
        dimensions=[100.0, 100, 100, 90, 90, 90],
    )
    peer = analyze.DiffusionAnalyzer.from_universe(
        universe,
        specie="Li",
        time_step=sc.scalar(STEP, unit="fs"),
        step_skip=sc.scalar(1, unit="dimensionless"),
        progress=False,
    )
    msd = msd_of(positions)
    # kinisi counts from the second frame on; 1/300 of the average at short lags.
    np.testing.assert_allclose(peer.da.values[:20], msd.along("xyz")[1:21], rtol=0.02)
    peer.diffusion(
        start_dt=sc.scalar(STEP, unit="fs"),
        n_samples=200,
        n_burn=100,
        progress=False,
        random_state=np.random.RandomState(0),
    )
    ours = diffusion.diffusion_coefficient(msd)
    theirs = peer.D.values / diffusion.CM2_PER_S  # cm²/s
    assert str(peer.D.unit) == "cm^2/s"
    assert ours.coefficient == pytest.approx(theirs.mean(), abs=0.5 * float(ours.error))
    assert ours.error == pytest.approx(theirs.std(), rel=0.5)


def test_bad_input(rng):
    positions = walk(rng, 100, 3)
    with pytest.raises(InputError, match="at least 2 frames"):
        msd_of(positions[:1])
    with pytest.raises(InputError, match="times that increase"):
        diffusion.mean_square_displacement(positions, times(positions)[::-1])
    with pytest.raises(InputError, match="same atoms in all frames"):
        msd_of(positions[:, :, :2])
    with pytest.raises(InputError, match="finite positions"):
        msd_of(np.where(abs(positions) > 1, np.inf, positions))
    with pytest.raises(InputError, match="100 centres"):
        msd_of(positions, relative_to=np.zeros((99, 3)))
    with pytest.raises(InputError, match="some of 3 atoms"):
        diffusion.centre(positions, np.ones(3), np.zeros(3, bool))
    msd = msd_of(positions)
    for axes in ("", "xx", "w"):
        with pytest.raises(InputError, match="axes such as"):
            diffusion.diffusion_coefficient(msd, axes=axes)
    with pytest.raises(InputError, match="at least 4 lags"):
        diffusion.diffusion_coefficient(msd, window_fs=(10.0, 30.0))
    with pytest.raises(InputError, match="at least 40 frames"):
        diffusion.diffusion_coefficient(msd_of(positions[:39]))


def test_atoms_that_do_not_move_at_all():
    found = diffusion.diffusion_coefficient(msd_of(np.zeros((100, 2, 3))), hop_length=2.0)
    assert not found.seen
    assert found.upper_bound > 0
