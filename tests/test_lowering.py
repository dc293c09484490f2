"""The programs that do the work lower for GPUs and TPUs, from the same code and without callbacks.

Each is caught where the package calls it, with the arguments of a real use, as on an accelerator
(lanes at once instead of in turn), and handed to ``jax.export``. Nothing is compiled or run there;
what XLA makes of it on such a device is not tested here.
"""

import functools

import jax
import numpy as np
import pytest

from mlffjax.dynamics import loop
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.graphs.batching import build
from mlffjax.pathways import bands, descent
from mlffjax.pathways.elastic import relax_bands
from mlffjax.pathways.settings import Elastic
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import predict
from mlffjax.potential.sources import mace
from mlffjax.structures.system import Frame, System
from mlffjax.training import fit as training
from mlffjax.training import metrics
from mlffjax.training.config import TrainingConfig
from mlffjax.training.recipe import all_weights, standard

ADVANCE_BANDS, ADVANCE_DYNAMICS = descent.advance, loop.advance
PLATFORMS = ("cuda", "tpu")


class Caught(Exception):
    """Raised in place of running a program; holds its arguments."""


@pytest.fixture(scope="module")
def potential():
    model = mace.energy_model(mace.example(), (18, 36))
    shapes = jax.eval_shape(lambda: model.init(key=jax.random.key(0)))
    return Potential(jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes), model)


@pytest.fixture(scope="module")
def system():
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    corners = np.array(list(np.ndindex(2, 1, 1)))
    positions = 5.3 * (corners[:, None] + basis).reshape(-1, 3)
    numbers = np.array([18, 36] * 4, np.int32)
    return System(positions, numbers, 5.3 * np.diag([2.0, 1, 1]), np.ones(3, bool))


@pytest.fixture
def accelerator(monkeypatch):
    """The package takes itself to be on one."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def catch(*args, **kwargs):
    raise Caught(args, kwargs)


def shaped(function):
    """A function that returns zeros of the shapes that ``function`` would return."""

    def zeros(*args):
        shapes = function.eval_shape(*args)
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

    return zeros


def lowered(function, *args, **kwargs):
    """Text of the program for all platforms; options that are not arrays are bound first."""
    exported = jax.export.export(
        jax.jit(functools.partial(function, **kwargs)), platforms=PLATFORMS
    )
    text = exported(*args).mlir_module()
    assert "callback" not in text
    assert "cpu" not in text
    return text


def test_energies_forces_and_stresses(potential, system, accelerator):
    graph = build([system], potential.elements, potential.cutoff)
    assert "dot_general" in lowered(predict, potential, graph)


def test_a_training_step(potential, system, accelerator, monkeypatch):
    random = np.random.default_rng(0)
    frames = [
        Frame(
            system=system,
            energy=0.1,
            forces=random.normal(size=(8, 3)),
            stress=random.normal(size=(3, 3)),
            config_type="made",
            trajectory="made",
            order=float(index),
            identifier=f"made_{index}",
            source="",
            info={},
        )
        for index in range(3)
    ]
    config = TrainingConfig(epochs=1, batch=2)
    recipe = standard(*all_weights(potential), config)
    monkeypatch.setattr(metrics, "_evaluate", shaped(metrics._evaluate))
    monkeypatch.setattr(training, "_advance", catch)
    with pytest.raises(Caught) as caught:
        training.fit(recipe, frames[1:], frames[:1], config, seed=0)
    (state, batch), others = caught.value.args
    optimizer = others.pop("optimizer")
    step = functools.partial(training.step, optimizer=optimizer)
    lowered(lambda state, batch, others: step(state, batch, **others), state, batch, others)


def test_steps_of_relaxed_bands(potential, system, accelerator, monkeypatch):
    moved = system._replace(positions=system.positions + np.eye(8, 3) * 0.5)
    band = bands.from_ends(system, moved, images=5)
    monkeypatch.setattr(descent, "advance", catch)
    with pytest.raises(Caught) as caught:
        relax_bands([potential], [band, band], Elastic(endpoints="keep"))
    (setup, *args), _ = caught.value.args
    assert args[-1].status.shape == (2,)  # both at once
    assert "while" in lowered(functools.partial(ADVANCE_BANDS, setup), *args)


def test_steps_of_molecular_dynamics(potential, system, accelerator, monkeypatch):
    for name in ("start", "begin"):
        monkeypatch.setattr(loop, name, shaped(getattr(loop, name)))
    monkeypatch.setattr(loop, "advance", catch)
    config = MdConfig.model_validate(
        {"temperature_k": 40, "ensemble": {"kind": "nvt_csvr"}, "steps": 10, "replicas": 2}
        | {"intervals": {"thermo": 1, "positions": 5}}
    )
    with pytest.raises(Caught) as caught:
        run(potential, system, config)
    (program, *args), _ = caught.value.args
    assert program.lanes == 2
    assert program.vectorised
    assert "while" in lowered(functools.partial(ADVANCE_DYNAMICS, program), *args)
