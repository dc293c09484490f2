import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from mlffjax.dynamics.heat_flux_unfolded import unfold, unfolded_potential_flux
from mlffjax.errors import InputError
from mlffjax.graphs.batching import build
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System, from_ase


def skewed(pbc=True):
    cell = [[3.6, 0.3, 0], [-1.0, 3.4, 0.4], [0.5, -0.7, 6.5]]
    places = [[0, 0, 0], [2.5, 0.4, 0.3], [0, 0.5, 0.6], [0.6, 0.1, -0.2]]
    atoms = Atoms("Ar4", cell=cell, pbc=pbc, scaled_positions=places)
    atoms.rattle(0.1, seed=1)
    return atoms


@pytest.mark.parametrize("pbc", [True, (True, False, True), (False, True, False), False])
def test_every_neighbour_within_reach_becomes_an_atom(pbc):
    """Against ASE's neighbour list: same pairs, counted by their distances."""
    atoms, reach = skewed(pbc), 8.0
    cluster = unfold(from_ase(atoms), reach)
    assert list(cluster.origin[:4]) == [0, 1, 2, 3]
    np.testing.assert_array_equal(cluster.system.positions[:4], atoms.positions)
    offsets = cluster.system.positions[None] - atoms.positions[:, None]
    lengths = np.sqrt((offsets**2).sum(-1))
    near = np.sort(lengths[(lengths > 1e-9) & (lengths < reach)])
    np.testing.assert_allclose(near, np.sort(neighbor_list("d", atoms, reach)), atol=1e-10)
    assert not cluster.system.pbc.any()


def test_energies_of_the_originals_have_their_whole_environment():
    potential, system = lennard_jones((18,), sigma=2.4, cutoff=7.0), from_ase(skewed())
    cluster = unfold(system, potential.model.reach)
    periodic, open_ = (
        build([s], (18,), potential.cutoff, dtype=np.float64) for s in (system, cluster.system)
    )
    expected = potential.model.atomic_energies(potential.params, periodic)
    found = potential.model.atomic_energies(potential.params, open_)[:4]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_derivatives_by_images_add_up_to_the_forces():
    potential, system = lennard_jones((18,), sigma=2.4, cutoff=7.0), from_ase(skewed())
    cluster = unfold(system, potential.model.reach)
    graph = build([cluster.system], (18,), potential.cutoff, dtype=np.float64)

    def total(positions):
        moved = graph._replace(positions=positions)
        return potential.model.atomic_energies(potential.params, moved)[:4].sum()

    gradient = np.asarray(jax.grad(total)(graph.positions))
    forces = np.zeros((4, 3))
    np.add.at(forces, cluster.origin, -gradient)
    periodic = build([system], (18,), potential.cutoff, dtype=np.float64)
    np.testing.assert_allclose(forces, energies_and_forces(potential, periodic)[1], atol=1e-12)


def test_bad_input_is_refused():
    system = from_ase(skewed())
    with pytest.raises(InputError, match="finite reach"):
        unfold(system, float("nan"))
    flat = system._replace(cell=np.ones((3, 3)))
    with pytest.raises(InputError, match="dependent"):
        unfold(flat, 3.0)
    with pytest.raises(InputError, match="velocities of shape"):
        unfolded_potential_flux(lennard_jones((18,), cutoff=4.0), system, jnp.zeros((3, 3)))
    assert isinstance(unfold(system, 0.0).system, System)
