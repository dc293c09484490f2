import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pathways.argon import CUTOFF, HELD, at, hop, landscape

from mlffjax import trees
from mlffjax.pathways import sensitivity
from mlffjax.pathways.profiles import band
from mlffjax.pathways.saddle import Settings, refine_minimum, refine_saddle
from mlffjax.pathways.sensitivity import asymmetry, barrier
from mlffjax.potential.derivatives import energies, predict
from mlffjax.potential.pair import LennardJonesModel, lennard_jones
from mlffjax.probes._example import migration

TIGHT = Settings(force=1e-9)
path_gradient = jax.jit(sensitivity.path_gradient, static_argnames="quantity")
relaxed_gradient = jax.jit(sensitivity.relaxed_gradient, static_argnames="quantity")
each_energy = jax.jit(jax.vmap(lambda p, g: energies(p, g)[0], in_axes=(None, 0)))
TRACES: list[int] = []


@dataclasses.dataclass(frozen=True)
class CountedModel(LennardJonesModel):
    """Lennard-Jones that notes when Python runs through it, which is when JAX traces."""

    def atomic_energies(self, params, graph):
        TRACES.append(1)
        return super().atomic_energies(params, graph)


def argon(epsilon=0.0104, sigma=3.40, cutoff=CUTOFF):
    made = lennard_jones((18,), epsilon=epsilon, sigma=sigma, cutoff=cutoff)
    return trees.cast(made, np.float64)


def systems():
    """A path without symmetry, so that no derivative is zero for its sake."""
    rng = np.random.default_rng(4)
    made = [frame.system for frame in migration(5).paths["hop"].frames]
    shifts = rng.normal(scale=0.05, size=made[0].positions.shape)
    return [system._replace(positions=system.positions + shifts) for system in made]


@pytest.fixture(scope="module")
def images():
    return jax.tree.map(jnp.asarray, band(systems(), (18,), 5.5))


@pytest.fixture(scope="module")
def potential():
    return argon(cutoff=5.5)


@pytest.fixture(scope="module")
def found(potential, images):
    return path_gradient(potential, images)


def value(potential, images, quantity=barrier):
    return float(quantity(each_energy(potential, images)))


def central(function, step):
    return (function(step) - function(-step)) / (2 * step)


def test_value_is_the_barrier_of_the_images(found, potential, images):
    energy = each_energy(potential, images)
    assert float(found.value) == pytest.approx(float(energy.max() - energy[0]), rel=1e-12)
    # The highest image is neither end, otherwise the test below would test less.
    assert 0 < int(np.argmax(energy)) < 4


@pytest.mark.parametrize("name", ["epsilon", "sigma"])
def test_parameters_against_differences(found, potential, images, name):
    start = potential.params["weights"][name]

    def moved(step):
        weights = potential.params["weights"] | {name: start * (1 + step)}
        return value(
            dataclasses.replace(potential, params=potential.params | {"weights": weights}), images
        )

    expected = central(moved, 1e-5) / float(start)
    # Second order in a step of 1e-5 and rounding over it.
    assert float(found.params["weights"][name]) == pytest.approx(expected, rel=1e-7)


def test_positions_against_differences(found, potential, images):
    def moved(step, image, atom, axis):
        positions = images.positions.at[image, atom, axis].add(step)
        return value(potential, images._replace(positions=positions))

    top = int(np.argmax(each_energy(potential, images)))
    for place in ((0, 3, 1), (top, 8, 0), (top, 8, 2), (1 if top != 1 else 3, 8, 0)):
        expected = central(lambda step, place=place: moved(step, *place), 1e-4)
        assert float(found.positions[place]) == pytest.approx(expected, abs=1e-7)


def test_strain_against_differences_and_stresses(found, potential, images):
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(3, 3))
    direction = direction + direction.T

    def moved(step):
        deformed = [
            system._replace(
                positions=system.positions @ (np.eye(3) + step * direction),
                cell=system.cell @ (np.eye(3) + step * direction),
            )
            for system in systems()
        ]
        return value(potential, band(deformed, (18,), 5.5))

    expected = central(moved, 1e-5)
    assert float((found.strain * direction).sum()) == pytest.approx(expected, rel=1e-6)
    stress = jax.jit(jax.vmap(predict, in_axes=(None, 0)))(potential, images).stress[:, 0]
    volume = np.linalg.det(systems()[0].cell)
    top = int(np.argmax(each_energy(potential, images)))
    np.testing.assert_allclose(found.strain, volume * (stress[top] - stress[0]), atol=1e-12)


def test_other_quantities_and_stacked_potentials(potential, images):
    last = path_gradient(potential, images, quantity=asymmetry)
    energy = each_energy(potential, images)
    assert float(last.value) == pytest.approx(float(energy[-1] - energy[0]), rel=1e-12)
    np.testing.assert_array_equal(last.positions[1:-1], 0)
    pair = trees.stack([potential, argon(0.02, 3.3, 5.5)])
    both = jax.jit(jax.vmap(sensitivity.path_gradient, in_axes=(0, None)))(pair, images)
    alone = path_gradient(argon(0.02, 3.3, 5.5), images)
    np.testing.assert_allclose(both.positions[1], alone.positions, atol=1e-12)
    np.testing.assert_allclose(
        both.params["weights"]["sigma"][1], alone.params["weights"]["sigma"], rtol=1e-12
    )


def test_one_trace_for_all_images(images):
    counted = dataclasses.replace(argon(cutoff=5.5), model=CountedModel((18,), 5.5))
    path_gradient(counted, images)
    first = len(TRACES)
    path_gradient(dataclasses.replace(counted, params=argon(0.02, 3.3).params), images)
    assert len(TRACES) == first <= 2


@pytest.fixture(scope="module")
def points():
    minimum = refine_minimum(argon(), hop(0.0), settings=TIGHT)
    return minimum, refine_saddle(argon(), hop(0.42), settings=TIGHT)


def refined(potential, points, cell=None):
    made = []
    for point, refine in zip(points, (refine_minimum, refine_saddle), strict=True):
        system = point.system
        if cell is not None:
            system = system._replace(positions=system.positions @ cell, cell=system.cell @ cell)
        made.append(refine(potential, system, settings=TIGHT).energy)
    return made[1] - made[0]


def test_relaxed_barrier_has_the_gradient_of_refined_points(points):
    found = relaxed_gradient(argon(), band([p.system for p in points], (18,), CUTOFF))
    assert bool(found.stationary)
    assert float(found.residual) < 1e-8
    # Derivatives of re-refined barriers; second order in steps of 1e-4.
    epsilon = central(lambda h: refined(argon(epsilon=0.0104 + h), points), 1e-6)
    sigma = central(lambda h: refined(argon(sigma=3.40 + h), points), 1e-4)
    assert float(found.params["weights"]["epsilon"]) == pytest.approx(epsilon, rel=1e-6)
    assert float(found.params["weights"]["sigma"]) == pytest.approx(sigma, rel=1e-6)
    direction = np.array([[1.0, 0.2, 0.0], [0.2, -0.5, 0.1], [0.0, 0.1, 0.7]])
    strain = central(lambda h: refined(argon(), points, np.eye(3) + h * direction), 1e-5)
    assert float((found.strain * direction).sum()) == pytest.approx(strain, rel=1e-5)


def test_points_that_are_not_stationary_give_no_number(points):
    off = points[1].system.positions.copy()
    off[0, 0] += 0.01
    moved = points[1].system._replace(positions=off)
    found = relaxed_gradient(argon(), band([points[0].system, moved], (18,), CUTOFF))
    assert not bool(found.stationary)
    assert float(found.residual) > sensitivity.TOLERANCE
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves((found.value, found.params)))
    assert np.isnan(found.strain).all()


def test_forces_on_fixed_atoms_do_not_matter():
    """The fixed atom takes the reaction of the wall that holds the other one."""
    well = landscape("double_well", height=0.2, width=1.3, across=2.0)
    top = refine_saddle(well, at(-0.2, 0.0, 0.0), fixed=HELD, settings=TIGHT)
    low = refine_minimum(well, at(-1.1, 0.0, 0.0), fixed=HELD, settings=TIGHT)
    graphs = band([low.system, top.system], (18,), well.cutoff)
    found = relaxed_gradient(well, graphs, free=np.array([1]))
    # The barrier is the height, whatever width and walls.
    gradient = found.params["weights"]
    assert float(found.value) == pytest.approx(0.2, abs=1e-10)
    assert float(gradient["height"]) == pytest.approx(1.0, abs=1e-7)
    assert float(gradient["width"]) == pytest.approx(0.0, abs=1e-7)
    assert float(gradient["across"]) == pytest.approx(0.0, abs=1e-7)
