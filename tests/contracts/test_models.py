"""What every kind of energy model promises; a new file in ``potential/sources`` is tested too."""

import jax
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from mlffjax import trees
from mlffjax.config import validate
from mlffjax.errors import MissingExtra
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import EnergyModel, Potential
from mlffjax.potential.card import Card
from mlffjax.potential.derivatives import predict
from mlffjax.potential.store import load, save
from mlffjax.registry import kinds, resolve
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import from_ase

ELEMENTS = (18, 36)
SHAPE = Shape(8, 128, 2)


@pytest.fixture(scope="module", params=kinds("potential.sources"))
def source(request):
    found = resolve("potential.sources", request.param)
    try:
        found.example()
    except MissingExtra as missing:
        pytest.skip(str(missing))
    return found


@pytest.fixture(scope="module")
def potential(source):
    model = source.energy_model(source.example(), ELEMENTS)
    return Potential(model.init(key=jax.random.key(0)), model)


@pytest.fixture(scope="module")
def evaluate(potential):
    compiled, wide = jax.jit(predict), trees.cast(potential, np.float64)

    def of(atoms):
        graph = build([from_ase(atoms)], ELEMENTS, potential.cutoff, shape=SHAPE, dtype=np.float64)
        return jax.tree.map(np.asarray, compiled(wide, graph))

    return of


def crystal():
    atoms = Atoms("ArKrAr", cell=[[4.6, 0.2, 0], [-0.9, 4.4, 0.3], [0.4, -0.6, 9.1]], pbc=True,
                  scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.35], [0.1, 0.6, 0.7]])  # fmt: skip
    atoms.rattle(0.05, seed=0)
    return atoms


def test_the_model_is_static_and_compared_by_value(source, potential):
    again = source.energy_model(source.example(), ELEMENTS)
    assert isinstance(again, EnergyModel)
    assert again == potential.model
    assert hash(again) == hash(potential.model)
    assert again != source.energy_model(source.example(), (18,))
    assert jax.tree.leaves(potential) == jax.tree.leaves(potential.params)  # no arrays inside


def test_settings_lead_back_to_the_model(source, potential):
    settings = dict(potential.model.settings)
    assert settings.pop("kind") == source.__name__.rpartition(".")[2]
    config = validate(settings, source.Config, where="settings")
    assert source.energy_model(config, ELEMENTS) == potential.model


def test_parameters_are_single_precision_and_tell_weights_from_constants(potential):
    assert set(potential.params) == {"weights", "constants"}
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(potential.params))
    references = potential.model.reference_energies(potential.params)
    assert references.shape == (len(ELEMENTS),)


def test_energy_is_invariant_and_forces_turn_with_the_crystal(evaluate):
    atoms, rotation = crystal(), Rotation.from_rotvec([0.4, 1.0, -0.3]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    turned.positions += [5.0, -3.0, 1.0]
    plain, moved = evaluate(atoms), evaluate(turned)
    assert np.isfinite(plain.energy).all()
    assert np.abs(plain.forces).max() > 0
    np.testing.assert_allclose(moved.energy, plain.energy, rtol=1e-11)
    np.testing.assert_allclose(moved.forces, plain.forces @ rotation.T, atol=1e-11)


def test_the_energy_ends_smoothly_at_the_cutoff(potential, evaluate):
    # A pair just inside and just outside the cutoff: no jump of energy or force.
    lone = evaluate(Atoms("Ar")).energy[0] + evaluate(Atoms("Kr")).energy[0]
    for distance in (potential.cutoff * (1 - 1e-4), potential.cutoff * (1 + 1e-4)):
        found = evaluate(Atoms("ArKr", positions=[[0, 0, 0], [0, 0, distance]]))
        np.testing.assert_allclose(found.energy[0], lone, atol=1e-6)
        np.testing.assert_allclose(found.forces, 0, atol=1e-6)


def test_a_round_trip_through_the_store_changes_nothing(potential, tmp_path):
    card = Card(name="contract", elements=symbols(ELEMENTS), model=potential.model.settings,
                reference="none", functional="none")  # fmt: skip
    save(tmp_path, potential, card)
    again, _ = load(tmp_path)
    assert again.model == potential.model
    jax.tree.map(np.testing.assert_array_equal, again.params, potential.params)


def test_equal_models_stack(potential):
    stacked = trees.stack([potential, potential])
    assert trees.length(stacked) == 2
    assert stacked.model == potential.model
