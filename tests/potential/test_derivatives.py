"""Identities that hold for the derivatives of any energy model; float64 throughout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from mlffjax import trees
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import (
    energies,
    energies_and_forces,
    hessian_vector_product,
    predict,
)
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System, from_ase

ELEMENTS = (24, 51, 52)
ROOMY = Shape(24, 96, 6)  # holds every set of structures below, so that each model compiles once


def crystal(seed=0):
    """A skewed cell thinner than two cutoffs."""
    atoms = Atoms(
        "CrSbTe2",
        cell=[[4.6, 0.2, 0], [-2.1, 4.0, 0.3], [0.4, -0.6, 5.1]],
        pbc=True,
        scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.3], [0.1, 0.6, 0.7], [0.7, 0, 0.6]],
    )
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.fixture(scope="module", params=["mace", "lennard_jones"])
def potential(request):
    if request.param == "lennard_jones":
        return trees.cast(lennard_jones(ELEMENTS, sigma=2.4, cutoff=5.0), jnp.float64)
    config = MaceConfig(
        r_max=4.5, num_bessel=6, max_ell=2, hidden_irreps="6x0e + 6x1o", radial_mlp=(12, 12)
    )
    model = MaceModel(ELEMENTS, config)
    params = trees.cast(model.init(key=jax.random.key(1)), jnp.float64)
    return Potential(params, model)


@pytest.fixture(scope="module")
def evaluate(potential):
    compiled = jax.jit(predict)

    def of(*structures, shape=ROOMY):
        systems = [s if isinstance(s, System) else from_ase(s) for s in structures]
        graph = build(systems, ELEMENTS, potential.cutoff, shape=shape, dtype=np.float64)
        return jax.tree.map(np.asarray, compiled(potential, graph))

    return of


def test_forces_are_finite_differences_of_the_energy(evaluate):
    step, atoms = 1e-4, crystal()
    moved = []
    for atom, axis in [(0, 0), (1, 2), (3, 1)]:
        for sign in (1, -1):
            copy = atoms.copy()
            copy.positions[atom, axis] += sign * step
            moved.append(copy)
    energy = evaluate(*moved).energy.reshape(3, 2)
    numeric = -(energy[:, 0] - energy[:, 1]) / (2 * step)
    forces = evaluate(atoms).forces
    # Central differences: error of order step^2 times a third derivative of 1..100 eV/Å^3.
    np.testing.assert_allclose([forces[0, 0], forces[1, 2], forces[3, 1]], numeric, atol=1e-6)


def test_stress_is_a_finite_difference_by_strain(evaluate):
    step, atoms = 1e-4, crystal()
    strained = []
    for a, b in [(0, 0), (1, 2), (0, 2)]:
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            copy = atoms.copy()
            copy.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            strained.append(copy)
    energy = evaluate(*strained).energy.reshape(3, 2)
    numeric = (energy[:, 0] - energy[:, 1]) / (2 * step) / atoms.get_volume()
    stress = evaluate(atoms).stress[0]
    np.testing.assert_allclose([stress[0, 0], stress[1, 2], stress[0, 2]], numeric, atol=1e-7)
    np.testing.assert_allclose(stress, stress.T, atol=1e-14)


def test_rotation_translation_permutation_supercell_and_padding(evaluate):
    atoms = crystal()
    plain = evaluate(atoms)
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    rotated = atoms.copy()
    rotated.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    shifted = atoms.copy()
    shifted.positions += [1.3, -7.1, 20.0]
    order = [2, 0, 3, 1]
    permuted, doubled = atoms[order], atoms * (2, 1, 1)

    turned = evaluate(rotated)
    # Identities up to rounding of sums of some 1e3 terms.
    np.testing.assert_allclose(turned.energy[0], plain.energy[0], rtol=1e-12)
    np.testing.assert_allclose(turned.forces, plain.forces @ rotation.T, atol=1e-12)
    np.testing.assert_allclose(
        turned.stress[0], rotation @ plain.stress[0] @ rotation.T, atol=1e-13
    )
    np.testing.assert_allclose(evaluate(shifted).forces, plain.forces, atol=1e-11)
    np.testing.assert_allclose(evaluate(permuted).forces[:4], plain.forces[order], atol=1e-12)
    twice = evaluate(doubled)
    np.testing.assert_allclose(twice.energy[0], 2 * plain.energy[0], rtol=1e-12)
    np.testing.assert_allclose(twice.forces[:8], np.tile(plain.forces[:4], (2, 1)), atol=1e-12)
    np.testing.assert_allclose(twice.stress, plain.stress, atol=1e-13)
    np.testing.assert_allclose(plain.forces.sum(axis=0), 0, atol=1e-12)

    tight = evaluate(atoms, shape=None)
    np.testing.assert_allclose(plain.forces[:4], tight.forces, atol=1e-12)
    np.testing.assert_allclose(plain.stress[0], tight.stress[0], atol=1e-13)
    assert (plain.forces[4:] == 0).all()
    assert (plain.energy[1:] == 0).all()
    assert (plain.stress[1:] == 0).all()


def test_structures_in_one_graph_do_not_see_each_other(evaluate):
    first, second, lone = crystal(0), crystal(1), Atoms("Te")
    together = evaluate(first, lone, second)
    for index, (atoms, rows) in enumerate(
        [(first, slice(0, 4)), (lone, slice(4, 5)), (second, slice(5, 9))]
    ):
        alone = evaluate(atoms)
        np.testing.assert_allclose(together.energy[index], alone.energy[0], rtol=1e-12)
        np.testing.assert_allclose(together.forces[rows], alone.forces[: len(atoms)], atol=1e-12)
    assert (together.forces[4] == 0).all()


def test_hessian_product_is_a_finite_difference_of_forces(potential):
    atoms, step = crystal(), 1e-4
    graph = build([from_ase(atoms)], ELEMENTS, potential.cutoff + 0.1, dtype=np.float64)
    direction = np.random.default_rng(0).normal(size=(4, 3))
    product = jax.jit(hessian_vector_product)(potential, graph, direction)
    evaluate = jax.jit(energies_and_forces)
    forces = [
        evaluate(potential, graph._replace(positions=graph.positions + sign * step * direction))[1]
        for sign in (1, -1)
    ]
    numeric = -(forces[0] - forces[1]) / (2 * step)
    np.testing.assert_allclose(product, numeric, rtol=1e-5, atol=1e-5)


def test_a_stack_of_potentials_maps_and_differentiates(potential):
    graph = build([from_ase(crystal())], ELEMENTS, potential.cutoff, dtype=np.float64)
    other = jax.tree.map(lambda x: x * 1.01, potential)
    stacked = trees.stack([potential, other])
    mapped = jax.jit(jax.vmap(energies, (0, None)))(stacked, graph)
    alone = jnp.stack([jax.jit(energies)(p, graph) for p in (potential, other)])
    np.testing.assert_allclose(mapped, alone, rtol=1e-12)

    name, step = next(iter(trees.names(potential.params["weights"]))), 1e-6

    @jax.jit
    def shifted(delta):
        named = trees.names(potential.params["weights"])
        named[name] = named[name] + delta
        params = {**potential.params, "weights": trees.from_names(named)}
        return energies(potential.replace(params=params), graph).sum()

    differentiate = jax.jit(jax.grad(lambda p: energies(p, graph).sum()))
    gradient = differentiate(potential).params["weights"]
    numeric = (shifted(step) - shifted(-step)) / (2 * step)
    np.testing.assert_allclose(trees.names(gradient)[name].sum(), numeric, rtol=1e-6)


def test_equal_models_share_one_compilation(potential):
    traces = []

    @jax.jit
    def counted(potential, graph):
        traces.append(None)
        return energies(potential, graph)

    graph = build([from_ase(crystal())], ELEMENTS, potential.cutoff, dtype=np.float64)
    counted(potential, graph)
    same = type(potential.model)(
        **{k: getattr(potential.model, k) for k in potential.model.__dataclass_fields__}
    )
    counted(Potential(potential.params, same), graph)
    assert len(traces) == 1
