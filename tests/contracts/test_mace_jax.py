"""A model of another program goes through training, probes and dynamics like our own."""

import jax
import numpy as np
import pytest
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from ase.units import fs

import mlffjax
from mlffjax import trees
from mlffjax.errors import MissingExtra
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import predict
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import mace_jax
from mlffjax.probes import fixed_path
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.system import Frame, from_ase
from mlffjax.training.config import TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.strategies import scratch


@pytest.fixture(scope="module")
def model():
    try:
        return mace_jax.energy_model(mace_jax.example().model_copy(update={"r_max": 5.5}), (18,))
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def potential(model):
    return Potential(trees.cast(model.init(key=jax.random.key(0)), np.float64), model)


def test_it_is_trained(model):
    truth = trees.cast(lennard_jones((18,), cutoff=5.5), np.float64)
    frames = []
    for index in range(6):
        atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
        atoms.rattle(0.15, seed=index)
        system = from_ase(atoms)
        label = predict(truth, build([system], (18,), 5.5, dtype=np.float64))
        frames.append(
            Frame(system, float(label.energy[0]), np.asarray(label.forces),
                  np.asarray(label.stress[0]), "all", "all", index, "", "here", {})
        )  # fmt: skip
    training = TrainingConfig(epochs=8, learning_rate=0.01)
    data = Dataset(tuple(frames), {18: 0.0}, "this", "0" * 16)
    ingredients = Ingredients(data, training, model, None)
    recipe = scratch.build(scratch.example(), ingredients, key=jax.random.key(1))
    result = fit(recipe, frames[:5], frames[5:], training, seed=0)
    losses = [epoch.train_loss or 0.0 for epoch in result.history[1:]]
    assert losses[-1] < 0.9 * losses[0]


def test_it_is_probed(potential):
    probe = fixed_path.build(*fixed_path.example())
    metrics = jax.jit(probe.measure)(potential)
    assert np.isfinite(metrics["barrier"])


def test_it_moves_atoms(potential):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms.calc = mlffjax.calculator(potential)
    before = atoms.get_total_energy()
    VelocityVerlet(atoms, 1 * fs).run(10)
    # Drift of Verlet over ten steps of atoms at rest, far below what moves.
    assert abs(atoms.get_total_energy() - before) < 1e-4
    assert atoms.get_stress().shape == (6,)
