import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.pathways import gamma_surface as driver
from mlffjax.pathways import slide
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import gamma_surface, sliding
from mlffjax.probes._example import slide as argon
from mlffjax.structures import builders, layers
from mlffjax.structures.layers import LayersConfig
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame


@jax.jit
def measured(measure, potential):
    return measure(potential)


@pytest.fixture(scope="module")
def potential():
    return trees.cast(lennard_jones((51, 52), epsilon=0.05, sigma=2.9, cutoff=7.0), jnp.float64)


def context(potential, shifts=(0.0, 1.0, 2.0, 3.0)):
    frames = tuple(
        Frame(builders.bilayer(1, shift=s), None, None, None, "", "", k, "", "", {})
        for k, s in enumerate(shifts)
    )
    made = argon()._replace(elements=potential.elements, cutoff=potential.cutoff)
    return made._replace(paths={"slide": Path("slide", frames, closed=False)})


@pytest.mark.parametrize("mode", ["rigid", "gap"])
def test_probe_says_what_the_host_driver_says(potential, mode):
    config = gamma_surface.Config(
        name="surface", path="slide", grid=(4, 4), relaxation=mode, tolerance=1e-8
    )
    probe = gamma_surface.build(config, context(potential))
    found = measured(probe.measure, potential)
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    expected = driver.over_grid(potential, along, (4, 4), settings=driver.Settings(mode, 1e-8))
    np.testing.assert_allclose(found["energy_model"], expected.energy, atol=1e-9)
    assert float(found["barrier"]) <= expected.barrier + 1e-9
    per_area = driver.per_area(float(found["corrugation"]), along)
    assert float(found["corrugation_per_area"]) == pytest.approx(per_area)
    assert float(found["corrugation_per_atom"]) == pytest.approx(float(found["corrugation"]) / 10)
    assert found["closure_error"] < 1e-10
    assert probe.inspect({k: float(v) for k, v in found.items() if jnp.ndim(v) == 0}) == []
    scalars = {name for name, value in found.items() if jnp.ndim(value) == 0}
    assert scalars == set(probe.units)
    if mode == "gap":
        distance = expected.found.distance[np.argmin(expected.found.energy)]
        assert float(found["interlayer_distance"]) == pytest.approx(distance, abs=1e-4)


def test_what_did_not_relax_is_said(potential):
    config = gamma_surface.Config(
        name="surface", path="slide", grid=(3, 3), relaxation="normal", steps=2
    )
    probe = gamma_surface.build(config, context(potential))
    found = measured(probe.measure, potential)
    assert int(found["unconverged"]) > 0
    (warning,) = probe.inspect({k: float(v) for k, v in found.items() if jnp.ndim(v) == 0})
    assert "did not relax" in warning


def test_sliding_path_relaxed_beside_rigid(potential):
    """Records of the rigid slide are what they are without a relaxation."""
    made = context(potential)
    rigid = sliding.build(sliding.Config(name="slide", path="slide"), made)
    config = sliding.Config(name="slide", path="slide", relaxation="gap", tolerance=1e-8)
    both = sliding.build(config, made)
    before, after = measured(rigid.measure, potential), measured(both.measure, potential)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, atol=1e-12)
    assert set(both.units) - set(rigid.units) == {
        "barrier_relaxed", "asymmetry_relaxed", "residual", "unconverged", "interlayer_distance"
    }  # fmt: skip
    assert float(after["barrier_relaxed"]) > 0
    assert float(after["barrier_relaxed"]) != pytest.approx(float(after["barrier"]), rel=0.01)
    assert abs(float(after["asymmetry_relaxed"])) < 1e-8
    assert int(after["unconverged"]) == 0
    assert after["interlayer_distance_model"].shape == (4,)


def test_relaxed_energies_are_differentiable_by_parameters(potential):
    config = sliding.Config(name="slide", path="slide", relaxation="gap", tolerance=1e-10)
    probe = sliding.build(config, context(potential, (0.0, 1.0, 2.0)))

    def barrier(epsilon):
        weights = potential.params["weights"] | {"epsilon": epsilon}
        model = potential.replace(params=potential.params | {"weights": weights})
        return probe.measure(model)["barrier_relaxed"]

    compiled = jax.jit(jax.value_and_grad(barrier))
    value, slope = compiled(jnp.asarray(0.05))
    # All energies of this potential are proportional to epsilon, and so is the relaxed barrier.
    assert float(slope) == pytest.approx(float(value) / 0.05, rel=1e-6)


def test_structures_without_layers_are_refused(potential):
    made = argon(3)
    config = gamma_surface.Config(name="surface", path="slide", grid=(3, 3))
    with pytest.raises(InputError, match="no layers in Ar2"):
        gamma_surface.build(config, made)
    named = config.model_copy(update={"layers": LayersConfig(atoms=((0,), (1,)))})
    assert gamma_surface.build(named, made).name == "surface"


def test_small_grids_are_refused():
    with pytest.raises(ConfigError, match="3 x 3"):
        validate({"name": "a", "path": "b", "grid": [2, 4]}, gamma_surface.Config, where="test")
