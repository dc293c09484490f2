"""The paper's recipe: dimensions, invariances, derivatives, and what it cannot stack."""

import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError, MissingExtra
from mlffjax.potential.base import Potential
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import ase as foreign
from mlffjax.potential.sources import mace
from mlffjax.representation.descriptors import (
    Recipe,
    describe,
    displacements,
    distances,
    joined,
    response,
    soap,
)
from mlffjax.representation.features import outputs
from mlffjax.structures.system import from_ase

NUMBERS = (24, 51, 52)


@pytest.fixture(scope="module")
def systems():
    """Three snapshots of one rattled cell with three elements."""
    rng = np.random.default_rng(2)
    made = []
    for _ in range(3):
        atoms = bulk("Te", "sc", a=3.2, cubic=True).repeat((2, 2, 1))
        atoms.numbers[:2] = (24, 51)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        made.append(from_ase(atoms))
    return made


@pytest.fixture(scope="module")
def potential():
    model = mace.energy_model(mace.example(), NUMBERS)
    return trees.cast(Potential(model.init(key=jax.random.key(0)), model), np.float64)


@pytest.fixture(scope="module")
def blocks(potential, systems):
    pytest.importorskip("dscribe")
    return describe(potential, systems)


def test_blocks_have_the_dimensions_of_the_paper(blocks):
    assert [block.shape[1] for block in blocks] == [1, 12, 100, 1500, 12]
    assert {len(block) for block in blocks} == {3}


def test_soap_counts_by_its_formula(systems):
    pytest.importorskip("dscribe")
    settings = Recipe(n_max=3, l_max=2)
    pairs = 3 * 3 * (3 * 3 + 1) // 2  # unordered pairs of radial functions and species
    assert soap(systems[:1], NUMBERS, settings).shape == (1, pairs * 3)
    turned = [s._replace(positions=s.positions[:, [1, 0, 2]]) for s in systems[:1]]
    np.testing.assert_allclose(  # a mirror of a cubic cell: dscribe integrates to 1e-8
        soap(turned, NUMBERS, settings), soap(systems[:1], NUMBERS, settings), rtol=1e-6
    )
    with pytest.raises(CompatibilityError, match=r"got \[24\] too"):
        soap(systems, (51, 52), settings)


def test_energies_and_forces_are_the_potentials(blocks, potential, systems):
    said = outputs(potential, systems)
    np.testing.assert_allclose(blocks.energy[:, 0], said.energy / 4, atol=1e-10)
    np.testing.assert_allclose(blocks.forces, said.forces.reshape(3, 12), atol=1e-10)


def test_response_equals_central_differences(potential, systems):
    settings = Recipe(displacement=1e-3)
    moves = displacements(4, settings)
    np.testing.assert_allclose(np.linalg.norm(moves, axis=1), 1e-3)
    exact = response(potential, systems, settings)
    up, down = (
        outputs(potential, [s._replace(positions=s.positions + sign * moves) for s in systems])
        for sign in (1, -1)
    )
    central = (up.forces - down.forces).reshape(3, 12) / 2
    # Third derivatives: relative error of the order of the step squared, 1e-6.
    np.testing.assert_allclose(exact, central, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


def test_without_second_derivatives_forces_are_differenced():
    argon = from_ase(bulk("Ar", "fcc", a=5.2, cubic=True))
    argon = argon._replace(positions=argon.positions + 0.05 * np.sin(np.arange(12)).reshape(4, 3))
    arguments = {"sigma": 3.4, "epsilon": 0.01, "rc": 6.0, "smooth": True}
    section = foreign.Config(factory="ase.calculators.lj:LennardJones", arguments=arguments)
    model = foreign.energy_model(section, (18,))
    found = response(Potential(model.init(key=jax.random.key(0)), model), [argon])
    moves = displacements(4, Recipe())
    forces = []
    for sign in (1, -1):
        atoms = bulk("Ar", "fcc", a=5.2, cubic=True)
        atoms.positions = argon.positions + sign * moves
        atoms.calc = LennardJones(**arguments)
        forces.append(atoms.get_forces())
    np.testing.assert_allclose(found[0], (forces[0] - forces[1]).ravel() / 2, atol=1e-10)


def test_an_ideal_gas_has_distances_of_one():
    rng = np.random.default_rng(3)
    cell = 7.0 * np.eye(3)
    numbers, pbc = np.full(40, 52, np.int32), np.ones(3, bool)
    template = from_ase(bulk("Te", "sc", a=7.0))
    gases = [
        template._replace(positions=rng.uniform(0, 7, (40, 3)), numbers=numbers, cell=cell, pbc=pbc)
        for _ in range(40)
    ]
    found = distances(gases, Recipe(bins=5, range=5.0)).mean(axis=0)
    # 39 others of 40 atoms; the last shell has 33000 pairs, counted twice.
    assert found[-1] == pytest.approx(39 / 40, abs=4 * np.sqrt(2 / 66000))


def test_distances_count_shells():
    simple = from_ase(bulk("Te", "sc", a=3.0))
    settings = Recipe(bins=50)
    found = distances([simple], settings)[0]
    edges = np.linspace(0, 5, 51)
    counts = found * 4 / 3 * np.pi * np.diff(edges**3) / 27
    assert counts[30] == pytest.approx(6)  # 3.0 Å
    assert counts[42] == pytest.approx(12)  # 4.24 Å
    assert counts.sum() == pytest.approx(18)


def test_blocks_weigh_the_same_when_joined(rng):
    blocks = {
        "energy": rng.normal(5.0, 1e-3, (40, 1)),
        "soap": rng.normal(0.0, 100.0, (40, 30)),
        "rdf": np.column_stack([np.full(40, 2.0), rng.normal(size=40)]),
    }
    vector = joined(blocks)
    assert vector.shape == (40, 1 + 30 + 1)
    weights = [(vector[:, part] ** 2).sum() for part in (slice(1), slice(1, 31), slice(31, 32))]
    np.testing.assert_allclose(weights, 40.0)
    with pytest.raises(InputError, match="equal configurations only"):
        joined({"energy": np.ones((4, 1))})


def test_other_atoms_cannot_be_stacked(potential, systems):
    smaller = systems[0]._replace(
        positions=systems[0].positions[:3], numbers=systems[0].numbers[:3]
    )
    with pytest.raises(InputError, match="atoms of configuration 0, got 3 other"):
        describe(potential, [systems[0], smaller])
    open_cell = systems[0]._replace(pbc=np.array([True, True, False]))
    with pytest.raises(InputError, match="three periodic directions"):
        describe(potential, [open_cell])


def test_a_diverged_potential_is_named(systems):
    pytest.importorskip("dscribe")
    lost = lennard_jones(NUMBERS, epsilon=float("nan"), sigma=2.0, cutoff=4.0)
    with pytest.raises(InputError, match="NaN or infinities in block energy of configuration 0"):
        describe(trees.cast(lost, np.float64), systems)


def test_soap_names_its_extra(systems, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dscribe.descriptors", None)
    with pytest.raises(MissingExtra, match=r"mlffjax\[representation\]"):
        soap(systems, NUMBERS)
