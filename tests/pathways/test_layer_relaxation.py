import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.graphs.batching import build
from mlffjax.pathways import layer_relaxation as lr
from mlffjax.pathways import slide
from mlffjax.pathways.layer_relaxation import Limits, Status
from mlffjax.potential.derivatives import energies, energies_and_forces
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures import builders, layers
from mlffjax.structures.system import System

CUTOFF = 6.0
ELEMENTS = (18,)


@pytest.fixture(scope="module")
def potential():
    return trees.cast(lennard_jones(ELEMENTS, cutoff=CUTOFF), jnp.float64)


def bilayer(gap=3.4):
    """Square layers of argon, two atoms each, one a little above the other; vacuum."""
    a = 3.8
    layer = np.array([[0, 0, 0], [a, 0, 0.2]])
    positions = np.concatenate([np.add(layer, [0, 0, 5]), np.add(layer, [a / 3, a / 4, 5 + gap])])
    system = System(positions, np.full(4, 18, np.int32), np.diag([2 * a, a, 30.0]),
                    np.ones(3, bool))  # fmt: skip
    return slide.slider(system, layers.named(system, [[0, 1], [2, 3]]))


@pytest.fixture(scope="module")
def run(potential):
    traces = []

    def relaxed(start, allowed, goal, limits):
        traces.append(limits)
        return lr.relax_all(potential, start, allowed, goal, limits=limits)

    compiled = jax.jit(relaxed, static_argnames="limits")

    def of(systems, along, mode, *, steps=200, tolerance=1e-8):
        start, slots = lr.starts(systems, ELEMENTS, CUTOFF)
        limits = Limits(CUTOFF, lr.SKIN, slots)
        return compiled(start, lr.freedom(along, mode), lr.goal(tolerance, steps), limits=limits)

    of.traces = traces
    return of


def test_every_atom_is_at_rest_along_the_normal(run, potential):
    along = bilayer()
    found = run([along.system], along, "normal")
    assert found.status.tolist() == [Status.CONVERGED]
    system = along.system._replace(positions=np.asarray(found.positions[0]))
    energy, forces = energies_and_forces(
        potential, build([system], ELEMENTS, CUTOFF, dtype=np.float64)
    )
    # A fresh list gives what the narrowed one gave; the rest is rounding.
    assert float(energy[0]) == pytest.approx(float(found.energy[0]), abs=1e-12)
    assert np.abs(forces[:, 2]).max() < 1e-8 + 1e-12
    assert np.abs(forces[:, :2]).max() > 1e-3  # not free
    np.testing.assert_array_equal(system.positions[:, :2], along.system.positions[:, :2])


def test_gap_is_where_a_scan_of_it_is_lowest(run, potential):
    along = bilayer()
    found = run([along.system], along, "gap", tolerance=1e-10)
    distance = float(lr.interlayer_distance(lr.faces(along), found.positions[0]))
    scan = distance + np.linspace(-0.02, 0.02, 41)
    start = lr.interlayer_distance(lr.faces(along), jnp.asarray(along.system.positions))
    moved = [along.system.positions + np.outer(along.moving, [0, 0, g - start]) for g in scan]
    values = [
        float(energies(potential, build([along.system._replace(positions=p)], ELEMENTS, CUTOFF,
                                        dtype=np.float64))[0])
        for p in moved
    ]  # fmt: skip
    fit = np.polynomial.Polynomial.fit(scan - distance, values, 4).deriv()
    (root,) = [r.real for r in fit.roots() if abs(r) < 0.02 and abs(r.imag) < 1e-9]
    assert abs(root) < 1e-5  # of the polynomial through a scan of 0.04 Å
    assert float(found.energy[0]) <= min(values) + 1e-12
    # Layers stay rigid and share the motion.
    change = np.asarray(found.positions[0]) - along.system.positions
    np.testing.assert_allclose(change[:2, 2], -change[2:, 2], atol=1e-12)


def test_status_says_what_happened(run):
    along = bilayer()
    assert run([along.system], along, "normal", steps=2).status.tolist() == [Status.MAX_STEPS]
    far = bilayer(gap=5.5)  # wants to come nearer than the skin allows
    found = run([far.system], far, "gap", steps=400)
    assert found.status.tolist() == [Status.STALE]
    assert np.isfinite(found.positions).all()
    inside = along.system.positions[[0, 1, 0, 1]] + np.outer([0, 0, 1, 1], [0, 0, 0.1])
    found = run([along.system._replace(positions=inside)], along, "normal")
    assert found.status.tolist() == [Status.FAILED]
    assert np.isinf(found.residual).all()


def test_many_structures_in_one_compilation(run):
    along = bilayer()
    systems = slide.shifted(along, slide.line(along, np.array([1.0, 0.5, 0.0]), 3))
    together = run(systems, along, "normal")
    count = len(run.traces)
    again = run(systems, along, "normal", tolerance=1e-7)
    assert len(run.traces) == count
    for index, system in enumerate(systems):
        alone = run([system], along, "normal")
        np.testing.assert_allclose(together.positions[index], alone.positions[0], atol=1e-7)
    assert (again.steps <= together.steps).all()


def test_lists_of_several_widths_are_padded(potential):
    """Padded slots change nothing."""
    along = bilayer()
    near = along.system
    far = near._replace(positions=near.positions + np.outer(along.moving, [0, 0, 9.0]))
    start, slots = lr.starts([near, far], ELEMENTS, CUTOFF)
    limits = Limits(CUTOFF, lr.SKIN, slots)
    allowed = lr.freedom(along, "normal")
    found = lr.relax_all(potential, start, allowed, lr.goal(1e-8, 1), limits=limits)
    for index, system in enumerate([near, far]):
        plain = energies(potential, build([system], ELEMENTS, CUTOFF, dtype=np.float64))
        assert float(found.energy[index]) == pytest.approx(float(plain[0]), abs=1e-12)


def test_gradient_by_parameters_is_that_of_relaxed_energies(potential):
    along = bilayer()
    start, slots = lr.starts([along.system], ELEMENTS, CUTOFF)
    limits = Limits(CUTOFF, lr.SKIN, slots)
    allowed = lr.freedom(along, "normal")

    def relaxed(epsilon, sigma):
        weights = {"epsilon": epsilon, "sigma": sigma}
        model = potential.replace(params=potential.params | {"weights": weights})
        found = lr.relaxed_energies(model, start, allowed, lr.goal(1e-10, 300), limits=limits)
        return found[0][0]

    compiled = jax.jit(jax.value_and_grad(relaxed, argnums=(0, 1)))
    weights = potential.params["weights"]
    _, found = compiled(weights["epsilon"], weights["sigma"])
    h = 1e-5
    for index, step in enumerate(([h, 0], [0, h])):
        up, down = (
            float(compiled(weights["epsilon"] + s * step[0], weights["sigma"] + s * step[1])[0])
            for s in (1, -1)
        )
        # Central difference: truncation 1e-10 relative, rounding 1e-16 / 1e-5.
        assert float(found[index]) == pytest.approx((up - down) / (2 * h), rel=1e-5)


def test_no_room_for_a_gap_is_refused():
    along = bilayer()
    tight = along.system._replace(cell=np.diag([7.6, 3.8, 7.0]))
    tight = slide.slider(tight, layers.named(tight, [[0, 1], [2, 3]]))
    with pytest.raises(InputError, match="add vacuum"):
        lr.freedom(tight, "gap")


def test_intercalated_atoms_move_by_themselves():
    system = builders.intercalate(
        builders.bilayer(2), np.add(builders.gap_sites().octahedral, [0, 0, 10.15])
    )
    along = slide.slider(system, layers.find(system))
    allowed = lr.freedom(along, "gap")
    force = np.zeros((41, 3))
    force[40] = [1.0, 2.0, 3.0]
    found = lr.projected(allowed, jnp.asarray(force))
    np.testing.assert_allclose(found[40], [0, 0, 3.0])
    np.testing.assert_allclose(found[:40], 0)
