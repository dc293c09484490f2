"""What every kind of probe promises, tried on its own example."""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import config, registry, trees
from mlffjax.potential.pair import lennard_jones

KINDS = registry.kinds("probes")


@jax.jit
def compiled(measure, potential):
    """One compilation per kind serves all tests below, because data are arguments."""
    return measure(potential)


def measured(probe, potential):
    """What the study would get: compiled if the probe can be."""
    if probe.compiled:
        return compiled(probe.measure, potential)
    return probe.measure(potential)


@pytest.fixture(scope="module")
def traced(probe):
    """The probe, if it can be compiled; those driven from the host promise less."""
    if not probe.compiled:
        pytest.skip("driven from the host")
    return probe


@pytest.fixture(scope="module", params=KINDS)
def module(request):
    return registry.resolve("probes", request.param)


@pytest.fixture(scope="module")
def probe(module):
    return module.build(*module.example())


@pytest.fixture(scope="module")
def potentials():
    strengths = ((0.0104, 3.4), (0.02, 3.3), (0.005, 3.5))
    made = [lennard_jones((18,), epsilon=e, sigma=s, cutoff=5.5) for e, s in strengths]
    return [trees.cast(potential, jnp.float64) for potential in made]


def scalars(metrics):
    return {name: value for name, value in metrics.items() if jnp.ndim(value) == 0}


class Holder(config.Config):
    probe: Annotated[config.Config, config.by_kind("probes")]


def test_config_is_found_by_its_kind_and_read_back(module):
    section, _ = module.example()
    data = config.dump(section)
    assert data["kind"] == module.__name__.rpartition(".")[2]
    assert config.validate({"probe": data}, Holder, where="test").probe == section


def test_every_scalar_has_a_unit_and_every_unit_a_scalar_or_a_reason(probe, potentials):
    found = set(scalars(measured(probe, potentials[0])))
    assert found | set(probe.reasons) == set(probe.units)


def test_metrics_are_finite_unless_a_reason_is_given(probe, potentials):
    found = measured(probe, potentials[0])
    for name, value in found.items():
        if probe.keeps_files and np.ndim(value) == 0:
            continue  # a short or lost trajectory lacks some: a diffusion that was not seen, say
        assert name in probe.reasons or np.isfinite(value).all(), name
    # Whatever the trajectory was like, it says how it went.
    assert np.isfinite(
        [float(found[name]) for name in ("survived", "status") if name in found]
    ).all()


def test_compiled_equals_plain(traced, potentials):
    # Fusion reorders sums of about a hundred terms of order one.
    compiled = measured(traced, potentials[0])
    check_close(compiled, traced.measure(potentials[0]), 1e-12)


def test_mapped_over_models_equals_one_by_one(traced, potentials):
    mapped = jax.jit(jax.vmap(traced.measure))(trees.stack(potentials))
    for one, potential in zip(trees.unstack(mapped), potentials, strict=True):
        check_close(one, measured(traced, potential), 1e-12)


def test_differentiable_by_parameters(traced, potentials):
    """The gradient of all smooth metrics together equals a central difference."""
    potential = potentials[0]
    # The closure error is an absolute value at its zero: no derivative there.
    left_out = {*traced.reasons, "closure_error"}

    def total(metrics):
        found = scalars(metrics).items()
        smooth = [
            v for n, v in found if n not in left_out and jnp.issubdtype(v.dtype, jnp.floating)
        ]
        return sum(smooth)

    def moved(by):
        weights = potential.params["weights"]
        weights = weights | {"epsilon": weights["epsilon"] + by}
        return potential.replace(params=potential.params | {"weights": weights})

    gradient = jax.jit(jax.grad(lambda p: total(traced.measure(p))))(potential)
    step = 1e-5 * float(potential.params["weights"]["epsilon"])
    up, down = (float(total(measured(traced, moved(by)))) for by in (step, -step))
    # Truncation is of relative order 1e-10, rounding of order 1e-16 / 1e-5.
    expected = (up - down) / (2 * step)
    assert gradient.params["weights"]["epsilon"] == pytest.approx(expected, rel=1e-6)


def test_uses_names_fields_of_the_context(module):
    section, context = module.example()
    assert section.uses <= set(context._fields)
    assert module.build(section, context).requires <= {
        "atomic_energies",
        "hessian",
        "features",
        "readout_features",
        "heat_flux",
    }


def check_close(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(
            found[name], expected[name], rtol=tolerance, atol=tolerance, err_msg=name
        )
