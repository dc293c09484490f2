"""Published checkpoints, wherever some are at hand: all are imported and, with torch, compared.

``MLFFJAX_REAL_MODELS`` names a folder with ``.model`` files; the caches of this package and of
mace-torch are looked through as well. Without files there is nothing to do.
"""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from ase import Atoms

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build
from mlffjax.potential.convert.importer import convert, heads
from mlffjax.potential.derivatives import predict
from mlffjax.structures.system import from_ase

FOLDERS = [
    *([Path(os.environ["MLFFJAX_REAL_MODELS"])] if "MLFFJAX_REAL_MODELS" in os.environ else []),
    Path.home() / ".cache/mlffjax/models",
    Path.home() / ".cache/mace",
]
FOUND = sorted(
    path
    for folder in FOLDERS
    if folder.is_dir()
    for path in folder.rglob("*")
    # mace-torch strips the dot of the suffix from the names of what it downloads.
    if path.is_file() and path.name.endswith("model")
)
pytestmark = [
    pytest.mark.skipif(
        not FOUND, reason="no published checkpoint in MLFFJAX_REAL_MODELS or the caches"
    ),
    pytest.mark.filterwarnings("ignore"),  # of torch and e3nn
]
each_file = pytest.mark.parametrize("path", FOUND or [None], ids=lambda p: p and p.name)


def structure(elements):
    """A crowded cell, thinner than the cutoff, of some elements the model knows."""
    chosen = [elements[k * len(elements) // 4] for k in range(4)]
    atoms = Atoms(
        chosen,
        scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.45], [0.1, 0.6, 0.75], [0.6, 0.1, 0.2]],
        cell=[[4.6, 0.2, 0], [-0.9, 4.4, 0.3], [0.4, -0.6, 5.1]],
        pbc=True,
    )
    atoms.rattle(0.05, seed=0)
    return atoms


@each_file
def test_every_head_is_imported_and_predicts_what_mace_torch_predicts(path):
    for head in heads(path):
        potential, _ = convert(path, reference="test", functional="test", head=head)
        atoms = structure(potential.elements)
        found, energy = evaluate(potential, atoms)
        assert np.isfinite(energy)
        assert np.isfinite(found.forces).all()
        try:
            from mace.calculators import MACECalculator
        except ImportError:
            continue
        atoms.calc = MACECalculator(path, device="cpu", default_dtype="float64", head=head)
        forces = atoms.get_forces()
        # Published weights and tables are rounded to 6e-8; ours are not where they are known.
        np.testing.assert_allclose(energy, atoms.get_potential_energy(), rtol=1e-6)
        atol = 1e-5 * max(np.abs(forces).max(), 1e-2)
        np.testing.assert_allclose(found.forces, forces, rtol=0, atol=atol)


def evaluate(potential, atoms):
    """Prediction in float64, and the total energy."""
    system = from_ase(atoms)
    graph = build([system], potential.elements, potential.cutoff, dtype=np.float64)
    found = jax.jit(predict)(trees.cast(potential, np.float64), graph)
    return found, float(found.energy[0]) + potential.reference_energy(system)


@each_file
def test_few_elements_change_no_number(path):
    try:
        whole, _ = convert(path, reference="test", functional="test")
    except CompatibilityError:
        pytest.skip("several heads and none is the default")
    atoms = structure(whole.elements)
    fewer, _ = convert(
        path, reference="test", functional="test", elements=sorted(set(atoms.symbols))
    )
    found, energy = evaluate(fewer, atoms)
    expected, total = evaluate(whole, atoms)
    # Weights are rounded to float32 once more.
    np.testing.assert_allclose(energy, total, rtol=1e-6)
    scale = np.abs(expected.forces).max()
    np.testing.assert_allclose(found.forces, expected.forces, rtol=0, atol=1e-5 * scale)
