import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.pathways import gamma_surface as gs
from mlffjax.pathways import slide
from mlffjax.pathways.gamma_surface import Settings
from mlffjax.pathways.layer_relaxation import Status
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import mace
from mlffjax.structures import builders, layers
from mlffjax.structures.system import System

A, GAP, CUTOFF, EPSILON, SIGMA = 3.8, 3.0, 8.0, 0.0104, 3.4


@pytest.fixture(scope="module")
def argon():
    return trees.cast(
        lennard_jones((18,), epsilon=EPSILON, sigma=SIGMA, cutoff=CUTOFF), jnp.float64
    )


@pytest.fixture(scope="module")
def tellurides():
    """A potential of which the layers of Sb2Te3 hold together."""
    return trees.cast(lennard_jones((51, 52), epsilon=0.05, sigma=2.9, cutoff=7.0), jnp.float64)


def square():
    """Two square layers, an atom each, on top of each other; a cell thinner than the cutoff."""
    positions = np.array([[0.0, 0.0, 5.0], [0.0, 0.0, 5.0 + GAP]])
    system = System(positions, np.full(2, 18, np.int32), np.diag([A, A, 30.0]), np.ones(3, bool))
    return slide.slider(system, layers.named(system, [[1]]))


def brute_force(shift, gap=GAP):
    """Energy between the layers per cell, summed over atoms: the formula, in NumPy, by itself."""
    total = 0.0
    for i, j in itertools.product(range(-4, 5), repeat=2):
        r = np.linalg.norm([i * A + shift[0], j * A + shift[1], gap])
        x = np.clip((r / CUTOFF - 0.8) / 0.2, 0, 1)
        power = (SIGMA / r) ** 6
        total += 4 * EPSILON * (power**2 - power) * (1 - x**3 * (10 - 15 * x + 6 * x**2))
    return total


def best_gap(shift) -> Any:
    """The gap at which the sum is lowest, and its value there."""
    return minimize_scalar(
        lambda gap: brute_force(shift, gap),
        bounds=(2.4, 4.2),
        method="bounded",
        options={"xatol": 1e-10},
    )


def test_surface_against_a_sum_over_atoms(argon):
    along = square()
    found = gs.over_grid(argon, along, (4, 4))
    expected = np.array([[brute_force(s) for s in row] for row in found.shifts])
    # Sums of some hundred terms in another order.
    np.testing.assert_allclose(found.energy, expected - expected.min(), atol=1e-13)
    assert found.closure_error < 1e-13
    (minimum,) = found.minima
    np.testing.assert_allclose(minimum.fraction, [0.5, 0.5], atol=1e-9)
    # Bridge above hollow; both are points of the grid.
    bridge = brute_force([A / 2, 0]) - brute_force([A / 2, A / 2])
    assert found.barrier == pytest.approx(bridge, rel=1e-9)
    top = brute_force([0, 0]) - brute_force([A / 2, A / 2])
    assert found.corrugation == pytest.approx(top, rel=1e-9)
    area = A * A * 1e-20
    assert gs.per_area(found.corrugation, along) == pytest.approx(top * 1.6021766208e-19 / area)


def test_relaxed_gap_against_a_scan_of_the_sum(argon):
    along = square()
    settings = Settings("gap", tolerance=1e-9)
    found = gs.over_grid(argon, along, (4, 4), settings=settings)
    assert (found.found.status == Status.CONVERGED).all()
    on_top = best_gap([0.0, 0.0])
    for index, shift in enumerate(found.shifts.reshape(-1, 3)):
        best = best_gap(shift)
        # The search finds a minimum to the root of the precision.
        assert found.found.distance[index] == pytest.approx(best.x, abs=1e-5)
        change = found.found.energy[index] - found.found.energy[0]
        assert change == pytest.approx(best.fun - on_top.fun, abs=1e-10)


@pytest.mark.parametrize("mode", ["gap", "normal"])
def test_relaxation_lowers_every_energy_and_keeps_the_period(tellurides, mode):
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    vector = slide.lattice_vector(along, [1, -1, 0])
    rigid = gs.along_line(tellurides, along, vector, 7)
    found = gs.along_line(tellurides, along, vector, 7, settings=Settings(mode, 1e-7))
    assert (found.found.status == Status.CONVERGED).all()
    assert (found.found.energy <= rigid.found.energy + 1e-12).all()
    # Equal crystals relax to equal energies: E is quadratic in what is left of the force.
    assert abs(found.energy[-1]) < 1e-9
    assert found.closed
    assert found.closure_error < 1e-11
    assert found.found.distance[0] == pytest.approx(found.found.distance[-1], abs=1e-5)


def test_slope_of_the_line_is_its_derivative(tellurides):
    """Forces on the moving layer against central differences of relaxed energies."""
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    unit = along.plane[0] / np.linalg.norm(along.plane[0])
    h = 1e-3
    shifts = np.array([0.7 - h, 0.7, 0.7 + h, *np.zeros(4)])[:, None] * unit
    found = gs.evaluate(tellurides, along, shifts, settings=Settings("normal", 1e-9))
    slope = (found.energy[2] - found.energy[0]) / (2 * h)
    # Truncation: h² times a third derivative of some 10 eV/Å³.
    assert -found.traction[1] @ unit == pytest.approx(slope, abs=1e-5)


def test_line_and_surface_agree(tellurides):
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    surface = gs.over_grid(tellurides, along, (6, 6))
    line = gs.along_line(tellurides, along, along.plane[0], 7)
    row = surface.energy[:, 0] - surface.energy[0, 0]
    np.testing.assert_allclose(line.energy[:-1], row, atol=1e-12)
    assert line.minima[0].energy <= line.energy.min() + 1e-12


def test_threefold_symmetry_appears_though_it_is_not_assumed(tellurides):
    """The axis through an atom of both layers turns shifts by 120 degrees."""
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    energy = gs.over_grid(tellurides, along, (6, 6)).energy
    i, j = np.meshgrid(range(6), range(6), indexing="ij")
    # a1 -> a2 -> -a1 - a2
    np.testing.assert_allclose(energy, energy[(-j) % 6, (i - j) % 6], atol=1e-12)


def test_mace_closes_in_a_cell_thinner_than_its_reach():
    model = mace.energy_model(mace.example(), (51, 52))
    potential = Potential(model.init(key=jax.random.key(0)), model)
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    found = gs.along_line(potential, along, slide.lattice_vector(along, [1, -1, 0]), 4)
    assert found.closure_error < 1e-10
    assert abs(found.energy[-1]) < 1e-10
    assert np.ptp(found.energy) > 1e-6


def test_doped_slab(tellurides):
    site = np.add(builders.gap_sites().octahedral, [0, 0, builders.C / 2 - builders.C / 6])
    system = builders.intercalate(builders.bilayer(2), site, number=51)
    along = slide.slider(system, layers.find(system, intercalated=[40]))
    shifts = slide.line(along, along.plane[0], 3)
    rigid = gs.evaluate(tellurides, along, shifts)
    found = gs.evaluate(tellurides, along, shifts, settings=Settings("normal", 1e-5))
    assert (found.status == Status.CONVERGED).all()
    assert (found.energy < rigid.energy).all()
    assert gs.closure_error(tellurides, along) < 1e-10
    np.testing.assert_allclose(found.positions[1, 40, :2], site[:2], atol=1e-12)


def test_stale_lists_are_made_anew(argon):
    """Layers start so far apart that they come nearer by more than one list allows."""
    system = square().system
    far = system._replace(positions=np.add(system.positions, [[0, 0, 0], [0, 0, 2.9]]))
    along = slide.slider(far, layers.named(far, [[1]]))
    settings = Settings("gap", tolerance=1e-7, steps=600)
    found = gs.evaluate(argon, along, np.zeros((16, 3)), settings=settings)
    assert (found.status == Status.CONVERGED).all()
    assert found.distance[0] == pytest.approx(best_gap([0.0, 0.0]).x, abs=1e-4)


def test_no_barrier_without_convergence(argon):
    settings = Settings("gap", 1e-12, 2)
    surface = gs.over_grid(argon, square(), (4, 4), settings=settings)
    assert (surface.found.status == Status.MAX_STEPS).all()
    assert np.isnan([surface.barrier, surface.corrugation]).all()
    assert surface.minima == ()
    line = gs.along_line(argon, square(), np.array([A, 0, 0]), 16, settings=settings)
    assert np.isnan([line.barrier, line.corrugation, line.saddle]).all()
    assert line.minima == ()


def test_progress_and_batches(argon, monkeypatch):
    along = square()
    whole = gs.over_grid(argon, along, (4, 4)).energy
    monkeypatch.setattr(gs, "BATCH", 7)
    said = []
    found = gs.over_grid(argon, along, (4, 4), observe=lambda *numbers: said.append(numbers))
    assert said == [(6, 16), (12, 16), (16, 16)]
    np.testing.assert_array_equal(found.energy, whole)


def test_slide_out_of_the_plane_is_refused(argon):
    with pytest.raises(InputError, match="in the plane"):
        gs.along_line(argon, square(), np.array([1.0, 0.0, 1.0]), 5)
