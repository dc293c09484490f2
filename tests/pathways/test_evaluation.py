import functools

import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.graphs.batching import build
from mlffjax.graphs.skin import make
from mlffjax.pathways import evaluation
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration

ARGON = trees.cast(lennard_jones((18,), cutoff=5.5), np.float64)


@pytest.fixture(scope="module")
def case():
    """A distorted crystal and its list, in the form the loop has them."""
    system = migration(images=3).paths["hop"].frames[1].system
    shifts = np.random.default_rng(2).normal(scale=0.1, size=(9, 3))
    system = system._replace(positions=system.positions + shifts)
    near = make(system, 5.5, 0.5)
    members = trees.stack([lennard_jones((18,), epsilon=e, cutoff=5.5) for e in (0.01, 0.02)])
    subject = evaluation.Subject(
        evaluation.folded(ARGON), jax.vmap(evaluation.folded)(members), np.zeros(9, np.int32),
        np.ones(9),
    )  # fmt: skip
    return system, subject, (near.graph, system.positions, system.cell)


def test_one_image_equals_a_plain_evaluation(case):
    system, subject, image = case
    run = functools.partial(evaluation.examined, ARGON.model, slots=96, by_cell=True)
    found = jax.jit(run)(subject, image)
    graph = build([system], (18,), 5.5, dtype=np.float64)
    expected = jax.jit(derivatives.predict)(ARGON, graph)
    assert found.energy == pytest.approx(float(expected.energy[0]), abs=1e-12)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-12)
    # Strain moves atoms and cell together: virial = r^T dE/dr + h^T dE/dh.
    virial = system.cell.T @ found.virial - system.positions.T @ found.forces
    volume = abs(np.linalg.det(system.cell))
    np.testing.assert_allclose((virial + virial.T) / 2 / volume, expected.stress[0], atol=1e-12)
    assert found.slots == graph.edge_mask.sum(axis=1).max()
    # Two members with forces f and 2 f: the spread is half of f.
    half = 0.5 * 0.01 / 0.0104 * np.linalg.norm(expected.forces, axis=-1).max()
    assert found.disagreement == pytest.approx(half, rel=1e-10)


@pytest.mark.parametrize("lanes", [1, 4])
def test_images_at_rest_are_not_evaluated_one_by_one(case, monkeypatch, lanes):
    _, subject, image = case
    monkeypatch.setattr(evaluation, "lanes", lambda count: lanes)
    images = trees.stack([image, image, image])
    active = np.array([True, False, True])
    run = functools.partial(
        evaluation.examined, ARGON.model, subject._replace(members=None), slots=96, by_cell=False
    )
    found = jax.jit(lambda images: evaluation.each(run, active, images))(images)
    assert found.energy[0] == found.energy[2] != 0
    assert np.isnan(found.disagreement[0])
    if lanes == 1:
        assert found.energy[1] == 0
        assert found.slots[1] == 0
