import math

import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.training.batches import collect, plan, samples
from mlffjax.training.metrics import ALL, Predictions, evaluate, predict, score, score_groups


@pytest.fixture(scope="module")
def predictions(frames, truth):
    members = samples(frames, truth)
    shapes = plan([frame.system for frame in frames], truth.cutoff, most=3)
    buckets = collect(members, truth.elements, truth.cutoff, shapes, dtype=np.float64)
    return predict(truth, buckets, batch=4)


def test_predictions_come_in_the_order_of_the_samples(frames, predictions):
    """The labels are the potential's own answers, so any mix-up of structures or atoms shows."""
    for frame, energy, forces in zip(frames, *predictions, strict=True):
        assert energy == pytest.approx(frame.energy, rel=1e-12)
        np.testing.assert_allclose(forces, frame.forces, atol=1e-13)


def test_scores_are_mean_absolute_and_root_mean_square(frames, truth, predictions):
    members = samples(frames, truth)
    shifted = Predictions(
        predictions.energies
        + np.array([0.4 * len(m.forces) * (-1) ** i for i, m in enumerate(members)]),
        tuple(forces + np.array([0.0, 0.3, -0.6]) for forces in predictions.forces),
    )
    scores = score(shifted, members)
    assert scores.structures == 11
    assert scores.energy_mae == pytest.approx(0.4)
    assert scores.energy_rmse == pytest.approx(0.4)
    assert scores.forces_mae == pytest.approx(0.3)
    assert scores.forces_rmse == pytest.approx(math.sqrt((0.09 + 0.36) / 3))


def test_groups_add_up(frames, truth, predictions, rng):
    members = samples(frames, truth)
    noisy = Predictions(
        predictions.energies + rng.normal(size=11),
        tuple(forces + rng.normal(size=forces.shape) for forces in predictions.forces),
    )
    groups = score_groups(noisy, members, [frame.config_type for frame in frames])
    assert list(groups) == [ALL, "large", "small"]
    assert (groups["small"].structures, groups["large"].structures) == (6, 5)
    # 24 atoms in small cells, 40 in large ones.
    parts = (24 * groups["small"].forces_rmse ** 2 + 40 * groups["large"].forces_rmse ** 2) / 64
    assert groups[ALL].forces_rmse ** 2 == pytest.approx(parts, rel=1e-12)


def test_missing_energies_leave_forces(frames, truth, predictions):
    members = samples([frame._replace(energy=None) for frame in frames], truth)
    scores = score(predictions, members)
    assert scores.energy_mae is None
    assert scores.energy_rmse is None
    assert scores.forces_mae < 1e-13


def test_nothing_to_score_is_an_error(truth, predictions, frames):
    with pytest.raises(InputError, match="at least one"):
        score(predictions, samples(frames, truth), [])


def test_evaluate_compares_totals(frames, truth):
    """E0s of potential and labels count: a shift of both cancels, a shift of one is the error."""
    shifted = truth.replace(
        params={**truth.params, "constants": {"atomic_energies": np.array([-5.0])}}
    )
    raised = [f._replace(energy=f.energy - 5.0 * len(f.system.numbers)) for f in frames]
    assert evaluate(shifted, raised, dtype=np.float64)[ALL].energy_rmse < 1e-12
    assert evaluate(truth, raised)["small"].energy_mae == pytest.approx(5.0, rel=1e-6)
