from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from ase.mep import NEB
from ase.optimize import FIRE
from scipy.optimize import root

import mlffjax
from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.pathways import bands, elastic, interpolate
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.settings import Bounds, Elastic
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import slide
from mlffjax.structures import bundled
from mlffjax.structures.paths import read_path
from mlffjax.structures.system import System, from_ase, to_ase

TRACES = []
"""One entry for every trace of the toy model below."""

# Müller and Brown, Theor. Chim. Acta 53, 75 (1979), doi:10.1007/BF00547608, times 0.01 eV.
HEIGHT = 0.01 * np.array([-200.0, -100.0, -170.0, 15.0])
A, B, C = [-1.0, -1.0, -6.5, 0.7], [0.0, 0.0, 11.0, 0.6], [-10.0, -10.0, -6.5, 0.7]
X0, Y0 = [1.0, 0.0, -0.5, -1.0], [0.0, 0.5, 1.5, 1.0]
MINIMA = [(-0.558, 1.442), (0.623, 0.028)]
SADDLE = (-0.822, 0.624)


def surface(x, y, height, xp):
    dx, dy = x - xp.asarray(X0), y - xp.asarray(Y0)
    exponent = xp.asarray(A) * dx**2 + xp.asarray(B) * dx * dy + xp.asarray(C) * dy**2
    return (height * xp.exp(exponent)).sum()


@dataclass(frozen=True)
class Landscape:
    """A particle on the surface of Müller and Brown; energies depend on absolute positions."""

    elements: tuple[int, ...] = (18,)
    cutoff: float = 3.0
    reach: float = 3.0
    supports = frozenset()
    settings = {"kind": "toy"}

    def init(self, *, key) -> Any:
        raise NotImplementedError

    def atomic_energies(self, params, graph):
        TRACES.append(graph.positions.shape)
        x, y, z = graph.positions.T
        each = jax.vmap(lambda x, y: surface(x, y, params["height"], jnp))(x, y)
        return each + params["holes"] * (jnp.abs(y - 0.62) < 0.15) + 2.0 * z**2

    def reference_energies(self, params):
        return jnp.zeros(1)


def landscape(scale=1.0, holes=0.0):
    height = jnp.asarray(scale * HEIGHT)
    return Potential({"height": height, "holes": jnp.asarray(holes)}, Landscape())


def particle(x, y):
    return System(np.array([[x, y, 0.0]]), np.array([18], np.int32), np.eye(3), np.zeros(3, bool))


def between(images=11, **choices):
    return bands.from_ends(particle(*MINIMA[0]), particle(*MINIMA[1]), images, **choices)


@pytest.fixture(scope="module")
def exact():
    """Energies of the two minima and the higher saddle, from the roots of the gradient."""

    def gradient(p):
        step = 1e-6
        return [
            (surface(*(p + step * e), HEIGHT, np) - surface(*(p - step * e), HEIGHT, np)) / step
            for e in np.eye(2)
        ]

    points = [root(gradient, guess).x for guess in (*MINIMA, SADDLE)]
    return points, [surface(*p, HEIGHT, np) for p in points]


FINE = Elastic(fmax=2e-3, endpoint_fmax=1e-3, climb_below=0.3, max_step=0.05, spring=1.0)


@pytest.mark.parametrize("optimizer", ["fire", "ode12r", "lbfgs"])
def test_finds_the_known_saddle_of_a_surface(exact, optimizer):
    points, (start, end, top) = exact
    settings = FINE.model_copy(update={"optimizer": optimizer})
    found = relax_bands([landscape()], [between()], settings)[0][0]
    assert found.status == "converged"
    assert found.reason == ""
    assert len(found.attempts) == 1
    # Quadratic in the residual over the curvature, some 10 eV/Å².
    assert found.barrier == pytest.approx(top - start, abs=1e-5)
    assert found.barrier_reverse == pytest.approx(top - end, abs=1e-5)
    assert found.reaction_energy == pytest.approx(end - start, abs=1e-5)
    np.testing.assert_allclose(found.image(found.top).positions[0, :2], points[2], atol=1e-3)
    assert found.residual < 2e-3
    assert found.residual_ends < 1e-3
    assert found.residual_top < 2e-3  # the climbing image is stationary: no force at all
    assert found.height_last == found.barrier


def test_weighted_springs_crowd_images_at_the_top(exact):
    _, (start, _, top) = exact
    plain, weighted = (
        relax_bands([landscape()], [between()], FINE.model_copy(update={"spring_top": k}))[0][0]
        for k in (None, 10.0)
    )
    assert weighted.status == "converged"
    assert weighted.barrier == pytest.approx(top - start, abs=1e-5)
    near = [
        np.linalg.norm(np.diff(f.band.positions[f.top - 1 : f.top + 2], axis=0)) for f in
        (plain, weighted)
    ]  # fmt: skip
    assert near[1] < 0.9 * near[0]


def test_without_climbing_the_curve_knows_the_saddle_better_than_the_images(exact):
    _, (start, _, top) = exact
    settings = FINE.model_copy(update={"climb": False})
    found = relax_bands([landscape()], [between()], settings)[0][0]
    assert found.status == "converged"
    assert found.barrier < top - start
    error = abs(float(found.saddle_energy) - (top - start))
    assert error < 0.3 * abs(found.barrier - (top - start))


def test_images_are_inserted_until_there_are_enough(exact):
    _, (start, _, top) = exact
    settings = FINE.model_copy(update={"grow_to": 11})
    found = relax_bands([landscape()], [between(5)], settings)[0][0]
    assert found.status == "converged"
    assert len(found.energies) == 11
    assert found.barrier == pytest.approx(top - start, abs=1e-5)
    with pytest.raises(InputError, match="grow_to of at least the 13 images of the longest band"):
        relax_bands([landscape()], [between(13)], settings)


def test_batches_with_padding_equal_single_runs_and_compile_once():
    cases = [between(11), between(8)]
    potentials = [landscape(), landscape(0.8), landscape(1.1)]
    relax_bands(potentials, cases, FINE, batch_size=2)
    count = len(TRACES)
    together = relax_bands(potentials[::-1], cases[::-1], FINE, batch_size=2)
    assert len(TRACES) == count  # other numbers, same shapes
    for band, row in zip(cases[::-1], together, strict=True):
        for potential, found in zip(potentials[::-1], row, strict=True):
            alone = relax_bands([potential], [band], FINE)[0][0]
            assert found.status == "converged"
            assert found.iterations == alone.iterations
            assert found.barrier == pytest.approx(alone.barrier, abs=1e-9)
            assert found.traces.energies.shape == (found.iterations, len(band.positions))
            # Rounding of sums in another order, amplified by steps that adapt to it.
            np.testing.assert_allclose(found.band.positions, alone.band.positions, atol=1e-5)


def test_traces_tell_the_whole_story():
    found = relax_bands([landscape()], [between()], FINE)[0][0]
    traces = found.traces
    assert len(traces.residual) == found.iterations
    assert traces.residual[-1] == found.residual < 2e-3 < traces.residual[:-1].min()
    np.testing.assert_array_equal(traces.energies[-1], found.energies)
    assert traces.top[-1] == found.top
    assert np.isnan(traces.gap).all()
    assert np.isnan(traces.disagreement).all()


def test_a_committee_is_traced():
    members = trees.stack([landscape(s) for s in (0.9, 1.0, 1.1)])
    found = relax_bands([landscape()], [between()], FINE, committee=members)[0][0]
    # Forces of the members are 0.9, 1 and 1.1 times those of the potential, but for z.
    last = np.linalg.norm(found.forces, axis=-1).max()
    expected = np.std([0.9, 1.0, 1.1]) * last
    assert found.traces.disagreement[-1] == pytest.approx(expected, rel=1e-6)


def test_a_path_that_only_rises_has_no_barrier():
    """From the minimum halfway up to the saddle."""
    band = bands.from_ends(particle(*MINIMA[1]), particle(0.45, 0.2), 11)
    settings = FINE.model_copy(update={"endpoints": "keep"})
    found = relax_bands([landscape()], [band], settings)[0][0]
    assert found.status == "converged"
    assert found.top == len(found.energies) - 1
    assert "no saddle between the ends" in found.reason
    assert "no minima" in found.reason  # it was told to keep the upper end
    assert np.isnan([found.barrier, found.barrier_reverse, found.saddle_energy]).all()
    assert found.reaction_energy == pytest.approx(found.energies[-1] - found.energies[0])
    assert found.reaction_energy > 0


def test_running_out_of_steps_gives_no_barrier():
    settings = FINE.model_copy(update={"max_steps": 3, "optimizer": "fire"})
    found = relax_bands([landscape()], [between()], settings)[0][0]
    assert found.status == "max_steps"
    assert "after 3 iterations" in found.reason
    for number in (found.barrier, found.barrier_reverse, found.reaction_energy):
        assert np.isnan(number)
    assert found.top == -1
    assert np.isnan(found.saddle_energy)
    assert found.height_last > 0.5
    assert [a.name for a in found.attempts] == ["as asked", "overdamped"]
    assert "allow more" in found.cause


def test_ends_that_are_not_relaxed_in_time_give_no_barrier():
    band = bands.from_ends(particle(-0.4, 1.2), particle(*MINIMA[1]), 7)
    settings = FINE.model_copy(update={"endpoint_steps": 2})
    found = relax_bands([landscape()], [band], settings)[0][0]
    assert found.status == "max_steps"
    assert found.reason.startswith("first end:")
    assert np.isnan(found.barrier)
    assert found.traces is None


def test_ends_in_one_basin_collapse():
    band = bands.from_ends(particle(-0.60, 1.50), particle(-0.45, 1.30), 5)
    found = relax_bands([landscape()], [band], FINE)[0][0]
    assert found.status == "endpoint_collapsed"
    assert "one minimum" in found.reason
    assert np.isnan(found.barrier)


@pytest.mark.parametrize(("depth", "word"), [(-1e3, "falls"), (1e3, "rises"), (np.nan, "finite")])
def test_holes_walls_and_nan_of_a_potential_are_diagnosed(depth, word):
    """Between the ends lies a region where the potential is garbage."""
    found = relax_bands([landscape(holes=depth)], [between()], FINE)[0][0]
    assert found.status == "exploded"
    assert word in found.reason
    assert np.isnan(found.barrier)
    assert [a.name for a in found.attempts] == ["as asked", "idpp", "smaller steps"]
    assert "potential" in found.cause
    once = FINE.model_copy(update={"retry": False})
    assert len(relax_bands([landscape(holes=depth)], [between()], once)[0][0].attempts) == 1


class Ravine(Landscape):
    """A curved valley with steep sides; whoever jumps over it falls into a hole."""

    def atomic_energies(self, params, graph):
        x, y, z = graph.positions.T
        across = y - 2.0 * (1 - x**2)
        climb = 1.0 * (1 - x**2) ** 2
        return climb + 8.0 * jnp.sqrt(across**2 + 0.04) - 1e3 * (across > 0.4) + 2.0 * z**2


def test_steps_that_are_too_long_are_cured_by_smaller_ones():
    band = bands.from_ends(particle(-1.0, 0.0), particle(1.0, 0.0), 9)
    wild = {"max_step": 0.75, "endpoints": "keep", "fmax": 0.05, "optimizer": "lbfgs"}
    potential = Potential({"height": jnp.zeros(1)}, Ravine())
    found = relax_bands([potential], [band], FINE.model_copy(update=wild))[0][0]
    assert [a.name for a in found.attempts] == ["as asked", "idpp", "smaller steps"]
    assert [a.status for a in found.attempts] == ["exploded", "exploded", "converged"]
    assert "falls" in found.attempts[0].reason
    assert "smaller ones cured it" in found.cause
    assert found.barrier == pytest.approx(1.0, abs=0.01)


def test_layers_that_repel_each_other_come_apart():
    """Lennard-Jones turned upside down: neighbours beyond 3.8 Å push."""
    path = slide(images=5).paths["slide"]
    band = bands.from_path(path, layers=(0, 1))
    band.positions[:, 1, 2] += 1.5
    repelling = lennard_jones((18,), epsilon=-0.5, cutoff=8.0)
    settings = Elastic(endpoints="keep", retry=False, bounds=Bounds(detach=1.0), optimizer="ode12r")
    found = relax_bands([repelling], [band], settings)[0][0]
    assert found.status == "detached"
    assert "layers come apart in image" in found.reason
    assert "does not bind the layers" in found.cause
    assert found.traces.gap[0] == pytest.approx(4.4)
    assert found.traces.gap[-1] > 5.4
    assert np.isnan(found.barrier)


@pytest.fixture(scope="module")
def vacancy():
    """A vacancy of a crystal of argon and the neighbour that hops into it."""
    crystal = bulk("Ar", a=5.3, cubic=True).repeat((2, 2, 1))
    steps = crystal.positions - crystal.positions[0]
    neighbour = int(np.argmin(abs(np.linalg.norm(steps, axis=1) - 5.3 / np.sqrt(2))))
    last = crystal.copy()
    last.positions[neighbour] = crystal.positions[0]
    del crystal[0], last[0]
    return from_ase(crystal), from_ase(last)


ARGON = lennard_jones((18,), cutoff=6.0)
TIGHT = Elastic(fmax=2e-3, endpoint_fmax=5e-4, climb_below=0.01)
INERTIAL = TIGHT.model_copy(update={"optimizer": "fire"})  # as ASE's reference below
KEPT = TIGHT.model_copy(update={"endpoints": "keep"})


@pytest.fixture(scope="module")
def hop(vacancy):
    return relax_bands([ARGON], [bands.from_ends(*vacancy, 5)], TIGHT)[0][0]


def test_barrier_equals_that_of_ase(vacancy):
    hop = relax_bands([ARGON], [bands.from_ends(*vacancy, 5)], INERTIAL)[0][0]
    images = [to_ase(vacancy[0]) for _ in range(4)] + [to_ase(vacancy[1])]
    for atoms in images:
        atoms.calc = mlffjax.calculator(ARGON)
    for atoms in (images[0], images[-1]):
        FIRE(atoms, logfile=None).run(fmax=5e-4, steps=500)
    band = NEB(images, k=0.1, method="improvedtangent")
    band.interpolate(mic=True)
    FIRE(band, logfile=None).run(fmax=0.01, steps=500)
    band.climb = True
    FIRE(band, logfile=None).run(fmax=2e-3, steps=500)
    energies = [atoms.get_potential_energy() for atoms in images]
    assert hop.status == "converged"
    # The same steps from the same start: rounding, amplified by some hundred of them.
    assert hop.barrier == pytest.approx(max(energies) - energies[0], abs=1e-7)
    np.testing.assert_allclose(hop.energies, energies, atol=1e-7)


def test_lists_that_go_stale_are_renewed_in_time(hop):
    """With a thin skin the lists are renewed all the time, and nothing changes."""
    ends = bands.systems(hop.band)[:: len(hop.energies) - 1]
    thick, thin = (
        relax_bands([ARGON], [bands.from_ends(*ends, 5)], settings)[0][0]
        for settings in (KEPT, KEPT.model_copy(update={"skin": 0.02}))
    )
    assert thin.iterations == thick.iterations
    np.testing.assert_allclose(thin.energies, thick.energies, atol=1e-9)


def test_fixed_atoms_stay_in_all_images(vacancy):
    held = 14
    band = bands.from_ends(*vacancy, 5, fixed=(held,))
    found = relax_bands([ARGON], [band], TIGHT)[0][0]
    assert found.status == "converged"
    np.testing.assert_array_equal(found.band.positions[:, held], band.positions[:, held])


def test_a_bad_starting_path_is_cured_by_another_interpolation():
    """Two atoms that trade places meet on the straight line."""
    places = 3.8 * np.array([[0.0, 0, 0], [1, 0, 0]])
    pair = System(places, np.full(2, 18, np.int32), np.eye(3), np.zeros(3, bool))
    band = bands.from_ends(pair, pair._replace(positions=places[::-1]), 5, exchange=True)
    settings = Elastic(endpoints="keep", optimizer="ode12r", fmax=0.01)
    found = relax_bands([ARGON], [band], settings)[0][0]
    first, second = found.attempts
    assert first.status == "exploded"
    assert "on top of each other in image 2, atom 0, at iteration 0" in first.reason
    assert second.name == "idpp"
    assert found.status == "converged"
    assert "another interpolation cured it" in found.cause
    assert found.barrier == pytest.approx(0.0, abs=1e-3)  # they turn around each other


def test_bad_input(vacancy):
    band = bands.from_ends(*vacancy, 5)
    with pytest.raises(CompatibilityError, match="Kr"):
        relax_bands([ARGON], [band._replace(numbers=np.full(15, 36))], TIGHT)
    with pytest.raises(CompatibilityError):
        relax_bands([ARGON, landscape()], [band], TIGHT)
    with pytest.raises(ValueError, match="spring_top above spring"):
        Elastic(spring=1.0, spring_top=0.5)
    assert elastic.relax_bands([ARGON], [], TIGHT) == []


@pytest.mark.slow
def test_the_bundled_gap_path_with_the_bundled_generalist_equals_ase():
    """Nine images of 21 atoms; images, ends and optimiser as ASE would have them."""
    potential, _ = mlffjax.load("bundled:generalist")
    path = read_path(bundled.files("in_gap")[0], "in_gap")
    band = bands.from_path(path)
    settings = Elastic(fmax=0.05, endpoint_fmax=0.02, optimizer="fire")
    found = relax_bands([potential], [band], settings)[0][0]
    assert found.status == "converged"
    images = [to_ase(system) for system in bands.systems(band)]
    for atoms in images:
        atoms.calc = mlffjax.calculator(potential)
    for atoms in (images[0], images[-1]):
        FIRE(atoms, logfile=None).run(fmax=0.02, steps=500)
    ends = images[0].positions, images[-1].positions
    for atoms, places in zip(images, interpolate.with_ends(band.positions, *ends), strict=True):
        atoms.positions = places
    theirs = NEB(images, k=0.1, method="improvedtangent")
    FIRE(theirs, logfile=None).run(fmax=0.5, steps=500)
    theirs.climb = True
    FIRE(theirs, logfile=None).run(fmax=0.05, steps=500)
    energies = [atoms.get_potential_energy() for atoms in images]
    # A band is converged to 0.05 eV/Å only, but both take the same steps.
    assert found.barrier == pytest.approx(max(energies) - energies[0], abs=1e-3)
    settings = settings.model_copy(update={"fmax": 0.02, "optimizer": "ode12r"})
    tight = relax_bands([potential], [band], settings)[0][0]
    assert tight.status == "converged"
    assert tight.barrier == pytest.approx(found.barrier, abs=5e-3)
