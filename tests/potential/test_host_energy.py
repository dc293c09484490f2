from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential import host_energy
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies, energies_and_forces, predict
from mlffjax.potential.host_energy import HostResult
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

CUTOFF = 6.0
NATIVE = trees.cast(lennard_jones((18, 36), cutoff=CUTOFF), jnp.float64)
_native = jax.jit(predict)


@dataclass(frozen=True)
class Mirror:
    """Our own Lennard-Jones, asked for on the host: everything about it is known."""

    elements: tuple[int, ...] = (18, 36)
    cutoff: float = CUTOFF
    pbc: tuple[bool, bool, bool] = (True, True, True)
    has_stress: bool = True
    fails: bool = False
    supports = frozenset()

    def atomic_energies(self, params, graph):
        del params
        return host_energy.shares(host_energy.energies(self, graph), graph)

    def evaluate(self, systems, *, derivatives, stress):
        CALLS.append(len(systems))
        return host_energy.one_by_one(lambda one: self.look(one, derivatives, stress), systems)

    def look(self, system, derivatives, stress):
        ASKED.append((len(system.numbers), derivatives, stress))
        if self.fails:
            raise ZeroDivisionError("no such luck")
        # A table, because JAX must not be called from inside a callback.
        return min(TABLE, key=lambda one: distance(one[0], system))[1]._replace(
            **({} if self.has_stress and stress else {"stress": None})
        )


def potential_of(model: Any) -> Potential:
    """The protocol of energy models asks for more than derivatives need."""
    return Potential({}, model)


ASKED: list = []
CALLS: list = []
TABLE: list = []


def distance(one, other):
    if len(one.numbers) != len(other.numbers):
        return np.inf
    return abs(one.positions - other.positions).max() + abs(one.cell - other.cell).max()


def remember(system):
    found = jax.device_get(_native(NATIVE, build([system], (18, 36), CUTOFF, dtype=np.float64)))
    TABLE.append((system, HostResult(float(found.energy[0]), found.forces, found.stress[0])))
    return found


def crystal(seed, count=4):
    rng = np.random.default_rng(seed)
    cell = np.array([[4.6, 0.2, 0.1], [-0.9, 4.4, 0.3], [0.4, -0.6, 3.9 * count / 2]])
    places = np.stack(
        [np.arange(count) % 2 / 2, np.arange(count) % 2 / 2, np.arange(count) / count]
    )
    positions = places.T @ cell + rng.normal(scale=0.05, size=(count, 3))
    return System(positions, np.array([18, 36] * (count // 2), np.int32), cell, np.ones(3, bool))


@pytest.fixture(autouse=True)
def fresh():
    ASKED.clear()
    CALLS.clear()
    TABLE.clear()


def test_prediction_is_that_of_the_native_model_with_its_stress():
    system = crystal(0)
    expected = remember(system)
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)
    found = jax.jit(predict)(potential_of(Mirror()), graph)
    np.testing.assert_allclose(found.energy, expected.energy, rtol=1e-14)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-14)
    # The cell derivative is solved for, and the strain derivative made of it again.
    np.testing.assert_allclose(found.stress, expected.stress, atol=1e-14)
    assert ASKED == [(4, True, True)]  # once for all of it


def test_no_more_is_asked_than_needed():
    system = crystal(0)
    remember(system)
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)
    jax.jit(energies)(potential_of(Mirror()), graph)
    jax.jit(energies_and_forces)(potential_of(Mirror()), graph)
    assert ASKED == [(4, False, False), (4, True, False)]


def test_many_structures_padding_and_a_leading_axis():
    systems = [crystal(0), crystal(1, 6), crystal(2)]
    expected = [remember(system) for system in systems]
    shape = Shape(20, 140, 4)
    graph = build(systems, (18, 36), CUTOFF, shape=shape, dtype=np.float64)
    found = jax.jit(predict)(potential_of(Mirror()), graph)
    np.testing.assert_allclose(found.energy, [*(one.energy[0] for one in expected), 0.0])
    forces = np.concatenate([one.forces for one in expected])
    np.testing.assert_allclose(found.forces[:14], forces, atol=1e-14)
    np.testing.assert_array_equal(found.forces[14:], 0)
    single = Shape(8, 140, 1)
    stacked = trees.stack(
        [build([s], (18, 36), CUTOFF, shape=single, dtype=np.float64) for s in systems]
    )
    mapped = jax.jit(jax.vmap(lambda g: predict(potential_of(Mirror()), g)))(stacked)
    np.testing.assert_allclose(mapped.energy[:, 0], [one.energy[0] for one in expected])
    assert CALLS == [3, 3]  # those of a graph in one call, those along an axis as well
    looped = jax.jit(lambda g: jax.lax.map(lambda one: predict(potential_of(Mirror()), one), g))
    np.testing.assert_allclose(looped(stacked).stress, mapped.stress)


def test_single_precision_stays_single():
    system = crystal(0)
    expected = remember(system)
    graph = build([system], (18, 36), CUTOFF, dtype=np.float32)
    found = jax.jit(predict)(potential_of(Mirror()), graph)
    assert found.energy.dtype == found.forces.dtype == found.stress.dtype == np.float32
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-6)


def test_missing_stress_is_not_zero_and_leaves_forces_alone():
    system = crystal(0)
    expected = remember(system)
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)
    found = jax.jit(predict)(potential_of(Mirror(has_stress=False)), graph)
    assert np.isnan(found.stress).all()
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-14)


def test_failure_names_the_structure():
    system = crystal(0)
    remember(system)
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)
    message = r"Mirror failed for Ar2Kr2 \(4 atoms, .*ZeroDivisionError: no such luck"
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match=message):
        jax.block_until_ready(jax.jit(energies)(potential_of(Mirror(fails=True)), graph))


def test_nan_is_an_error():
    system = crystal(0)
    TABLE.append((system, HostResult(np.nan, np.zeros((4, 3)), None)))
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match="finite energy and forces"):
        jax.block_until_ready(jax.jit(energies)(potential_of(Mirror()), graph))


def test_second_derivatives_do_not_exist():
    system = crystal(0)
    remember(system)
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)

    def energy(positions):
        return energies(potential_of(Mirror()), graph._replace(positions=positions)).sum()

    with pytest.raises(ValueError, match="JVP"):
        jax.hessian(energy)(graph.positions)


@pytest.mark.parametrize(
    ("pbc", "told", "message"),
    [((True, True, False), (True, True, True), "the structure is open there"),
     ((True, True, True), (True, True, False), "told that they are open")],
)  # fmt: skip
def test_periodic_directions_that_contradict_the_graph_are_refused(pbc, told, message):
    system = crystal(0)._replace(pbc=np.array(pbc))
    with pytest.raises(InputError, match=message):
        check(system, told)
    check(system, pbc)


def test_zero_cell_vectors_are_open():
    system = crystal(0)._replace(cell=np.zeros((3, 3)), pbc=np.zeros(3, bool))
    assert not check(system, (True, True, True)).pbc.any()


def check(system, told):
    graph = build([system], (18, 36), CUTOFF, dtype=np.float64)
    crossed = (np.asarray(graph.shifts) != 0)[np.asarray(graph.edge_mask)].any(axis=0)
    positions, cell, species = map(np.asarray, (graph.positions, graph.cell[0], graph.species))
    return host_energy._system(Mirror(pbc=told), positions, cell, species, crossed)
