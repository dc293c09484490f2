import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.pathways.informative import expected_reduction, most_informative
from mlffjax.pathways.profiles import band, profile
from mlffjax.pathways.sensitivity import asymmetry
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration

informative = jax.jit(most_informative, static_argnames="quantity")


@pytest.fixture(scope="module")
def images():
    return band([f.system for f in migration(5).paths["hop"].frames], (18,), 5.5)


def committee(pairs):
    members = [lennard_jones((18,), epsilon=e, sigma=s, cutoff=5.5) for e, s in pairs]
    return trees.cast(trees.stack(members), np.float64)


def test_reduction_is_that_of_bayesian_regression(rng):
    """Linear in 3 parameters with a normal prior: the posterior is known in closed form."""
    prior = np.diag([1.0, 0.5, 2.0])
    jacobian = rng.normal(size=(2, 4, 3))  # candidates, quantities, parameters
    target = rng.normal(size=3)
    parameters = rng.multivariate_normal(np.zeros(3), prior, size=2000)
    sample = np.cov(parameters.T)  # the prior of this very committee
    found = expected_reduction(parameters @ target, np.einsum("mp,cqp->mcq", parameters, jacobian))
    for candidate in range(2):
        posterior = np.linalg.inv(
            np.linalg.inv(sample) + jacobian[candidate].T @ jacobian[candidate]
        )
        expected = target @ (sample - posterior) @ target
        assert float(found[candidate]) == pytest.approx(expected, rel=1e-8)


def test_reduction_lies_between_nothing_and_all(rng):
    values = rng.normal(size=6)
    labels = rng.normal(size=(6, 3, 5))
    labels[:, 1] = 0.0  # says nothing
    labels[:, 2, 0] = 1e6 * values  # says it all
    found = np.asarray(expected_reduction(values, labels))
    variance = values.var(ddof=1)
    assert found[1] == 0.0
    assert 0 < found[0] < variance
    assert found[2] == pytest.approx(variance, rel=1e-6)


def test_committee_without_doubt_learns_nothing(images):
    found = informative(committee([(0.0104, 3.4)] * 3), images)
    assert float(found.variance) == pytest.approx(0.0, abs=1e-25)
    np.testing.assert_allclose(found.reduction, 0, atol=1e-20)
    np.testing.assert_allclose(found.force_disagreement, 0, atol=1e-12)


def test_members_are_what_the_profile_says(images):
    made = committee([(0.0104, 3.4), (0.0110, 3.38), (0.0100, 3.45), (0.0104, 3.42)])
    found = informative(made, images, quantity=asymmetry, energy_noise=1e-3, force_noise=1e3)
    each = [jax.jit(profile)(member, images) for member in trees.unstack(made)]
    values = np.array([p.energy[-1] - p.energy[0] for p in each])
    assert float(found.variance) == pytest.approx(values.var(ddof=1), rel=1e-10, abs=1e-25)
    assert float(found.mean) == pytest.approx(values.mean(), rel=1e-10, abs=1e-12)
    # Energies alone: the textbook formula with one label.
    barriers = np.array([p.energy.max() - p.energy[0] for p in each])
    by_barrier = informative(made, images, force_noise=1e6)
    for image in range(1, 5):
        y = np.array([p.energy[image] - p.energy[0] for p in each])
        covariance = np.cov(barriers, y, ddof=1)
        expected = covariance[0, 1] ** 2 / (covariance[1, 1] + 1e-6)
        assert float(by_barrier.reduction[image]) == pytest.approx(expected, rel=1e-5, abs=1e-12)
    forces = np.array([p.forces for p in each])
    spread = np.sqrt(forces.var(axis=0, ddof=1).sum(axis=-1)).max(axis=-1)
    np.testing.assert_allclose(found.force_disagreement, spread, rtol=1e-8, atol=1e-15)


def test_a_committee_has_members(images):
    with pytest.raises(InputError, match="at least 2 potentials, got 1"):
        most_informative(committee([(0.0104, 3.4)]), images)
