"""Energies, forces and stresses equal those of mace-torch, for published and for odd settings."""

import json

import jax
import numpy as np
import pytest
from references import mace_torch_peer as peer

from mlffjax import trees
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.torch_names import entries, from_torch, to_torch
from mlffjax.potential.derivatives import predict
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.structures.system import from_ase

REFERENCES = json.loads(peer.REFERENCE.read_text())["predictions"]


def potential_of(case):
    settings = peer.DEFAULTS | peer.CASES[case]
    model = MaceModel(peer.elements_of(case), MaceConfig(**settings))
    arrays = {
        e.name: peer.draw(e.name, e.shape) * peer.spread(e.name, e.shape) for e in entries(model)
    }
    arrays |= peer.constants(model.elements)
    arrays["radial_embedding.bessel_fn.bessel_weights"] = (
        np.arange(1, settings["num_bessel"] + 1) * np.pi / settings["r_max"]
    )
    params = from_torch(arrays, model, average_neighbors=peer.AVERAGE_NEIGHBORS)
    return Potential(params, model)


def assert_equal(potential, references, dtype, tolerance):
    """Largest force and stress deviation relative to the largest entry; energies relative."""
    systems = {name: from_ase(atoms) for name, atoms in peer.structures().items()}
    graph = build(list(systems.values()), potential.elements, potential.cutoff, dtype=dtype)
    found = jax.jit(predict)(trees.cast(potential, dtype), graph)
    for index, (name, system) in enumerate(systems.items()):
        reference = references[name]
        total = float(found.energy[index]) + potential.reference_energy(system)
        np.testing.assert_allclose(total, reference["energy"], rtol=tolerance)
        mine = np.asarray(graph.atom_graph) == index
        forces = np.array(reference["forces"])
        atol = tolerance * np.abs(forces).max()
        np.testing.assert_allclose(found.forces[mine], forces, rtol=0, atol=atol, err_msg=name)
        if "stress" in reference:
            stress = np.array(reference["stress"])
            atol = tolerance * np.abs(stress).max()
            np.testing.assert_allclose(found.stress[index], stress, rtol=0, atol=atol)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=pytest.mark.slow) if case in {"large", "both_parities"} else case
        for case in peer.CASES
    ],
)
def test_double_precision(case):
    # Both sides sum some 1e3 products of float64; 1e-14 is seen, 1e-10 is promised.
    assert_equal(potential_of(case), REFERENCES[case], np.float64, 1e-10)


@pytest.mark.parametrize("case", ["small", "medium"])
def test_single_precision(case):
    # mace-torch's own float32 is up to 3e-6 away from its float64 here. (Not for "three_layers",
    # whose stress cancels to 3e-5 in either program; the live test bounds it by mace-torch's.)
    assert_equal(potential_of(case), REFERENCES[case], np.float32, 1e-5)


def test_state_dictionaries_survive_a_round_trip_bit_by_bit():
    potential = potential_of("both_parities")
    arrays = to_torch(potential.params, potential.model)
    again = from_torch(arrays, potential.model, average_neighbors=peer.AVERAGE_NEIGHBORS)
    jax.tree.map(np.testing.assert_array_equal, again, potential.params)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # importing mace and e3nn gives many
@pytest.mark.parametrize("case", peer.CASES)
def test_against_mace_torch_itself(case):
    model = peer.torch_model(case)
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    ours = potential_of(case)
    params = from_torch(state, ours.model, average_neighbors=peer.AVERAGE_NEIGHBORS)
    live = peer.torch_predictions(model)
    assert_equal(Potential(params, ours.model), live, np.float64, 1e-10)
    rounding = largest_difference(peer.torch_predictions(model, "float32"), live)
    assert_equal(Potential(params, ours.model), live, np.float32, max(1e-5, 2 * rounding))


def largest_difference(predictions, references):
    """Of forces and stresses, relative to the largest entry."""
    pairs = [
        (np.array(predictions[name][key]), np.array(reference[key]))
        for name, reference in references.items()
        for key in ("forces", "stress")
        if key in reference
    ]
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in pairs if np.abs(b).max() > 0)
