"""Features of potentials: invariances, order, pooling, and what has none."""

import jax
import numpy as np
import pytest
from ase.build import bulk
from scipy.spatial.transform import Rotation

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import ase as foreign
from mlffjax.potential.sources import mace
from mlffjax.representation import features as module
from mlffjax.representation.features import from_arrays, node_features, outputs, packed, pooled
from mlffjax.structures.system import System, from_ase

NUMBERS = (51, 52)
# Sums over some hundred neighbours through two layers in float64.
ROUNDING = 1e-10


@pytest.fixture(scope="module")
def potential():
    model = mace.energy_model(mace.example(), NUMBERS)
    return trees.cast(Potential(model.init(key=jax.random.key(0)), model), np.float64)


@pytest.fixture(scope="module")
def systems():
    """Rattled crystals of two sizes, and a cluster."""
    rng = np.random.default_rng(1)
    made = []
    for repeat in ((2, 2, 1), (1, 2, 1), (2, 2, 1)):
        atoms = bulk("Te", "sc", a=3.2, cubic=True).repeat(repeat)
        atoms.numbers[0] = 51
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        made.append(from_ase(atoms))
    return [*made, made[0]._replace(pbc=np.zeros(3, bool))]


@pytest.fixture(scope="module")
def found(potential, systems):
    return node_features(potential, systems)


def test_rows_are_the_atoms_in_order(found, systems):
    assert len(found.layers) == 2
    assert {len(layer) for layer in found.layers} == {4 + 2 + 4 + 4}
    np.testing.assert_array_equal(found.frame, [0] * 4 + [1] * 2 + [2] * 4 + [3] * 4)
    np.testing.assert_array_equal(found.numbers, np.concatenate([s.numbers for s in systems]))


def test_packing_changes_nothing(potential, systems, found, monkeypatch):
    alone = [node_features(potential, [system]) for system in systems]
    for layer, whole in enumerate(found.layers):
        apart = np.concatenate([one.layers[layer] for one in alone])
        np.testing.assert_allclose(whole, apart, atol=ROUNDING)
    data = packed(systems, NUMBERS, potential.cutoff, atoms=5)
    assert data.graphs.cell.shape[0] == 4  # 4, 2, 4, 4: no two fit into 5 in order
    for whole, apart in zip(found.layers, module.layers_of(potential, data), strict=True):
        np.testing.assert_allclose(whole, apart, atol=ROUNDING)


def test_invariant_under_rotation(potential, systems, found):
    matrix = Rotation.from_euler("xyz", [0.3, 1.1, -0.7]).as_matrix()
    turned = [s._replace(positions=s.positions @ matrix.T, cell=s.cell @ matrix.T) for s in systems]
    for one, other in zip(found.layers, node_features(potential, turned).layers, strict=True):
        np.testing.assert_allclose(one, other, atol=ROUNDING)


def test_follows_the_order_of_atoms_and_pools_to_the_same(potential, systems, found, rng):
    orders = [rng.permutation(len(s.numbers)) for s in systems]
    shuffled = [
        s._replace(positions=s.positions[o], numbers=s.numbers[o])
        for s, o in zip(systems, orders, strict=True)
    ]
    other = node_features(potential, shuffled)
    first = np.concatenate([[0], np.cumsum([len(o) for o in orders])])[:-1]
    places = np.concatenate([start + o for start, o in zip(first, orders, strict=True)])
    np.testing.assert_allclose(found.layers[1][places], other.layers[1], atol=ROUNDING)
    np.testing.assert_allclose(
        pooled(found, NUMBERS, layers=(0, 1)), pooled(other, NUMBERS, layers=(0, 1)), atol=ROUNDING
    )


def test_pooled_is_mean_and_deviation_by_element(found):
    table = pooled(found, (52, 33, 51), layers=(0, -1))
    width = found.layers[0].shape[1]
    assert table.shape == (4, 2 * 3 * 2 * width)
    table = table.reshape(4, 2, 3, 2, width)
    for frame in range(4):
        for place, number in ((0, 52), (2, 51)):
            atoms = (found.frame == frame) & (found.numbers == number)
            rows = found.layers[1][atoms]
            np.testing.assert_allclose(table[frame, 1, place, 0], rows.mean(axis=0), atol=1e-12)
            np.testing.assert_allclose(table[frame, 1, place, 1], rows.std(axis=0), atol=1e-12)
    assert not table[:, :, 1].any()  # there is no arsenic
    means = pooled(found, (52, 33, 51), spread=False).reshape(4, 3, width)
    np.testing.assert_array_equal(means, table[:, 1, :, 0])


def test_outputs_are_total_energies_and_forces(systems):
    """Of any potential, features or not."""
    potential = trees.cast(lennard_jones(NUMBERS, epsilon=0.1, sigma=2.8, cutoff=5.0), np.float64)
    constants = potential.params["constants"] | {"atomic_energies": np.array([-2.0, -3.0])}
    potential = potential.replace(params=potential.params | {"constants": constants})
    said = outputs(potential, systems)
    known = jax.jit(energies_and_forces)
    first = 0
    for index, system in enumerate(systems):
        graph = build([system], NUMBERS, potential.cutoff, dtype=np.float64)
        energy, forces = known(potential, graph)
        total = float(energy[0]) + potential.reference_energy(system)
        assert said.energy[index] == pytest.approx(total, abs=ROUNDING)
        rows = slice(first, first + len(system.numbers))
        np.testing.assert_allclose(said.forces[rows], forces, atol=ROUNDING)
        first += len(system.numbers)


def test_one_program_serves_all_potentials_and_structures_of_a_shape(potential, systems, found):
    before = module._mapped_features._cache_size()
    other = Potential(potential.model.init(key=jax.random.key(1)), potential.model)
    node_features(trees.cast(other, np.float64), systems)
    node_features(potential, systems[::-1][::-1])
    assert module._mapped_features._cache_size() == before


def test_a_foreign_model_is_refused_by_name(systems):
    section = foreign.Config(factory="ase.calculators.emt:EMT")
    model = foreign.energy_model(section, NUMBERS)
    with pytest.raises(CompatibilityError, match="kind 'ase', which has none; compare its forces"):
        node_features(Potential(model.init(key=jax.random.key(0)), model), systems)


def test_arrays_of_another_program_are_taken_as_features(systems, found):
    given = from_arrays(found.layers, systems)
    np.testing.assert_array_equal(given.layers[0], found.layers[0])
    np.testing.assert_array_equal(given.frame, found.frame)
    with pytest.raises(InputError, match=r"layer 2: expected features of shape \(14, channels\)"):
        from_arrays([found.layers[0], found.layers[1][1:]], systems)
    broken = found.layers[0].copy()
    broken[5] = np.nan
    with pytest.raises(InputError, match="1 atoms, first in structure 1"):
        from_arrays([broken], systems)
    with pytest.raises(InputError, match="at least one layer"):
        from_arrays([], systems)


def test_a_diverged_potential_is_named(potential, systems):
    lost = jax.tree.map(lambda leaf: leaf * np.nan, potential)
    with pytest.raises(InputError, match="layer 1: expected finite features"):
        node_features(lost, systems)


def test_refusals(potential):
    with pytest.raises(InputError, match="at least one structure"):
        node_features(potential, [])
    iron = System(np.zeros((1, 3)), np.array([26], np.int32), 3 * np.eye(3), np.ones(3, bool))
    with pytest.raises(CompatibilityError, match="contains Fe"):
        node_features(potential, [iron])
    argon = lennard_jones((26,), epsilon=0.01, sigma=2.0, cutoff=4.0)
    with pytest.raises(CompatibilityError, match="kind 'lennard_jones'"):
        node_features(argon, [iron])
