"""The probe of uncertainty: its numbers redone by hand, and what it leaves out."""

import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.analysis.calibration import calibration
from mlffjax.errors import ConfigError, InputError
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import uncertainty
from mlffjax.probes._example import migration
from mlffjax.probes.uncertainty import Config, build, example
from mlffjax.representation.features import outputs


@pytest.fixture(scope="module")
def potential():
    return trees.cast(lennard_jones((18,), cutoff=5.5), jnp.float64)


@pytest.fixture(scope="module")
def context():
    return example()[1]


@pytest.fixture(scope="module")
def found(context, potential):
    return build(Config(), context).measure(potential)


def test_spreads_are_those_of_regression_on_the_training_frames(context, potential, found):
    """The variance of a barrier from finite differences of the two coefficients of the model."""

    def features(system):
        """Energies are linear in the strengths of repulsion and attraction: two evaluations."""
        first, second = (
            lennard_jones((18,), epsilon=1.0, sigma=s, cutoff=5.5)
            for s in (3.4, 3.4 * 2 ** (1 / 6))
        )
        one, two = (
            float(outputs(trees.cast(p, jnp.float64), [system]).energy[0]) for p in (first, second)
        )
        # E(s) = R - A; with s^6 twice as large E = 4 R - 2 A.
        repulsion = (two - 2 * one) / 2
        return np.array([repulsion, one - repulsion])

    train = [context.frames[index] for index in context.splits["train"]]
    rows = np.array([features(f.system) / len(f.system.numbers) for f in train])
    covariance = rows.T @ rows / len(rows)
    only = build(Config(forces_weight=0.0), context).measure(potential)
    inverse = np.linalg.inv(covariance + float(only["ridge"]) * np.eye(2))
    images = [features(f.system) for f in context.paths["hop"].frames]
    top = int(only["image_energy"].argmax())
    apart = images[top] - images[0]
    frame = context.frames[context.splits["validation"][0]]
    own = features(frame.system)
    error = 0.0104 * own.sum() - frame.energy  # one validation frame: the scale is error over raw
    scale = abs(error) / np.sqrt(own @ inverse @ own)
    assert only["energy_scale"] == pytest.approx(scale, rel=1e-7)
    expected = scale * np.sqrt(apart @ inverse @ apart)
    # Differences of sums of some hundred terms, amplified by the inverse of the covariance.
    assert only["barrier_spread/hop"] == pytest.approx(expected, rel=1e-6)


def test_scores_are_those_of_the_arrays(found):
    for kind in uncertainty.UNITS:
        scores = calibration(found[f"{kind}_error"], found[f"{kind}_spread"])
        for name, value in scores._asdict().items():
            assert found[f"{kind}_{name}"] == pytest.approx(value, rel=1e-12, nan_ok=True)
    assert len(found["test_energy_error"]) == 2
    assert len(found["path_energy_error"]) == 5  # image 0 is known, the last is its equal
    assert found["image_spread"][0] == 0


def test_errors_are_model_minus_reference(context, found):
    reference = build(Config(), context).constants["image_reference"]
    np.testing.assert_allclose(
        found["path_energy_error"], (found["image_energy"] - reference)[1:-1], atol=1e-12
    )
    error = found["image_energy"].max() - reference.max()
    assert found["barrier_error/hop"] == pytest.approx(error, abs=1e-12)


def test_what_cannot_be_had_is_said(context, potential):
    bare = context._replace(paths=migration(labelled=False).paths)
    probe = build(Config(), bare._replace(splits={**context.splits, "test": ()}))
    assert "no reference energies" in probe.reasons["path_energy_nll/hop"]
    assert "no test frames" in probe.reasons["test_forces_nll"]
    found = probe.measure(potential)
    assert found["barrier_spread/hop"] > 0
    assert "test_energy_nll" not in found
    missing = set(probe.units) - {name for name, value in found.items() if np.ndim(value) == 0}
    assert missing <= set(probe.reasons)


def test_bad_input(context):
    with pytest.raises(InputError, match="validation frames"):
        build(Config(), context._replace(splits={**context.splits, "validation": ()}))
    with pytest.raises(ConfigError, match="no path 'other'"):
        build(Config(paths=("other",)), context)
    with pytest.raises(ValueError, match="got 0 for both"):
        Config(energy_weight=0.0, forces_weight=0.0)
