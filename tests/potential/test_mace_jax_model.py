"""What is particular about mace-jax behind our interface; the contract tests do the rest."""

import builtins

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError, MissingExtra
from mlffjax.graphs.batching import build
from mlffjax.potential import mace_jax_model
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies, predict
from mlffjax.potential.sources import mace_jax
from mlffjax.structures.system import System

ELEMENTS = (18, 36)


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    whole = builtins.__import__

    def refuse(name, *arguments, **choices):
        if name.split(".")[0] == "mace_jax":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole(name, *arguments, **choices)

    monkeypatch.setattr(builtins, "__import__", refuse)
    for door in (
        mace_jax.example,
        lambda: mace_jax.energy_model(mace_jax.Config.model_validate({}), ELEMENTS),
    ):
        with pytest.raises(MissingExtra, match=r"pip install 'mlffjax\[mace-jax\]'"):
            door()


@pytest.fixture(scope="module")
def installed():
    try:
        mace_jax_model.require()
    except MissingExtra as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def potential(installed):
    del installed
    model = mace_jax.energy_model(mace_jax.example(), ELEMENTS)
    return Potential(trees.cast(model.init(key=jax.random.key(0)), np.float64), model)


@pytest.fixture(scope="module")
def graph(potential):
    rng = np.random.default_rng(0)
    system = System(
        positions=rng.uniform(0, 5, (4, 3)),
        numbers=np.array([18, 36, 18, 36]),
        cell=np.eye(3) * 5.0,
        pbc=np.ones(3, bool),
    )
    found = build([system], ELEMENTS, potential.cutoff, dtype=np.float64)
    return jax.tree.map(jnp.asarray, found)


def test_forces_are_the_gradient(potential, graph):
    step, found = 1e-4, predict(potential, graph)
    for axis in range(3):
        moved = [
            graph._replace(positions=graph.positions.at[1, axis].add(by)) for by in (step, -step)
        ]
        up, down = (float(energies(potential, each)[0]) for each in moved)
        # Truncation is of order step^2 = 1e-8 of third derivatives of some 10 eV/Å^3.
        assert float(found.forces[1, axis]) == pytest.approx((down - up) / (2 * step), abs=1e-5)


def test_models_and_structures_can_be_mapped(potential, graph):
    """As training does over frames, and studies over seeds."""
    shaken = graph._replace(positions=graph.positions + 0.05)
    shaken = shaken._replace(positions=shaken.positions.at[0].add(0.1))
    other = potential.replace(params=jax.tree.map(lambda leaf: leaf * 1.1, potential.params))
    mapped = jax.jit(jax.vmap(energies))(
        trees.stack([potential, other]), trees.stack([graph, shaken])
    )
    singly = [energies(potential, graph), energies(other, shaken)]
    np.testing.assert_allclose(mapped, np.stack(singly), rtol=1e-12)


def test_weights_have_gradients_and_constants_count(potential, graph):
    gradient = jax.grad(lambda p: energies(p, graph)[0])(potential).params
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient["weights"]))
    before, constants = energies(potential, graph), potential.params["constants"]
    for name in constants:
        changed = {**constants, name: constants[name] + 0.1}
        other = potential.replace(params={**potential.params, "constants": changed})
        difference = abs(float(energies(other, graph)[0] - before[0]))
        # Reference energies are no part of interaction energies.
        assert difference == 0 if name == "atomic_energies" else difference > 1e-6


def test_activation_scales_of_two_models_do_not_mix(potential, graph):
    """mace-jax keeps one such number for the whole process."""
    before = energies(potential, graph)
    config = mace_jax.example().model_copy(update={"activation_scale": 1.5})
    other = potential.replace(model=mace_jax.energy_model(config, ELEMENTS))
    assert abs(float(energies(other, graph)[0] - before[0])) > 1e-4
    np.testing.assert_array_equal(energies(potential, graph), before)


def test_features_are_invariant_scalars_of_every_layer(potential, graph):
    found = potential.model.features(potential.params, graph)
    config = potential.model.config
    assert [each.shape for each in found] == [(4, config.channels)] * config.num_interactions
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = graph._replace(positions=graph.positions @ turn.T, cell=graph.cell @ turn.T)
    for plain, moved in zip(found, potential.model.features(potential.params, turned), strict=True):
        np.testing.assert_allclose(moved, plain, atol=1e-12)


def test_heat_fluxes_are_refused(potential, graph):
    tilted = graph._replace(tilt=np.zeros(graph.neighbors.shape))
    with pytest.raises(CompatibilityError, match="heat flux"):
        energies(potential, tilted)
    assert "heat_flux" not in potential.model.supports


@pytest.mark.parametrize(
    "change",
    [
        {"use_so3": True},
        {"hidden_irreps": "4x0e + 4x0o"},
        {"readout": "NonLinearBias"},
        {"radial_type": "chebyshev"},
        {"distance_transform": "Soft"},
    ],
)
def test_what_mace_jax_lacks_is_refused_by_name(installed, change):
    del installed
    config = mace_jax.Config(**{**mace_jax.example().model_dump(), **change})
    with pytest.raises(CompatibilityError, match=next(iter(change))):
        mace_jax.energy_model(config, ELEMENTS)
