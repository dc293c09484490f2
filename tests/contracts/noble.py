"""Small material for contracts of training: crystals of argon and krypton, and their foundations.

::

    python noble.py OUT.json KIND [KIND ...]

trains each kind of strategy with its batches spread over two devices, and writes the outcomes.
"""

import functools
import json
import sys
from pathlib import Path as File
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import registry, trees
from mlffjax.config import Config
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.derivatives import predict
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import LennardJonesModel, lennard_jones
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame, System
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.members import Member

ELEMENTS, CUTOFF = (18, 36), 5.0
TINY = MaceConfig(
    r_max=CUTOFF, num_bessel=2, max_ell=1, correlation=1, hidden_irreps="3x0e + 3x1o",
    radial_mlp=(3,), mlp_irreps="2x0e",
)  # fmt: skip

SCHEDULE_FREE = "schedule-free"
"""Among the kinds: fine-tuning with this optimizer."""
PRECISE = TrainingConfig(
    epochs=1, batch=4, learning_rate=1e-4, buckets=1, precision="float64", keep="last",
    loss=LossConfig(energy=10.0, forces=1.0, stress=30.0),
)  # fmt: skip
CHOICES = {
    "anchor": {"strength": 1e4},
    # Two structures to the five of the material: no batch of theirs alone, whose gradient would be
    # nothing but rounding, and the last batch is not full.
    "pseudolabel": {"ratio": 0.4},
    "replay": {"weight": 0.3, "ratio": 0.4},
    "multihead": {"weight": 0.3, "ratio": 0.4},
    "path_aware": {"weight": 1e3, "forces": 10.0},
}
"""Numbers that make what a strategy adds to the loss of the frames large."""


@functools.cache
def crystals() -> tuple[Frame, ...]:
    """Labelled cells of four atoms in several proportions; E0 are -2 and -3 eV."""
    random = np.random.default_rng(0)
    truth = trees.cast(lennard_jones(ELEMENTS, cutoff=CUTOFF), jnp.float64)
    basis = 5.4 * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frames = []
    for index, krypton in enumerate((0, 1, 2, 3, 1, 2)):
        numbers = np.array([36] * krypton + [18] * (4 - krypton), np.int32)
        positions = basis + random.normal(scale=0.1, size=(4, 3))
        system = System(positions, numbers, 5.4 * np.eye(3), np.ones(3, bool))
        graph = build([system], ELEMENTS, CUTOFF, shape=Shape(4, 24, 1), dtype=np.float64)
        label = jax.jit(predict)(truth, graph)
        energy = float(label.energy[0]) - 3.0 * krypton - 2.0 * (4 - krypton)
        forces, stress = np.asarray(label.forces), np.asarray(label.stress[0])
        frames.append(Frame(system, energy, forces, stress, "all", "all", index, "", "here", {}))
    return tuple(frames)


def with_pairs(training: TrainingConfig, model=LennardJonesModel) -> Ingredients:
    """Crystals, and a foundation that is a bit off."""
    frames = crystals()
    foundation = Potential(
        trees.cast(lennard_jones(ELEMENTS, epsilon=0.01, cutoff=CUTOFF).params, jnp.float64),
        model(ELEMENTS, CUTOFF),
    )
    card = Card(
        name="noble", elements=("Ar", "Kr"), model={}, reference="another", functional="none"
    )
    dataset = Dataset(frames, {18: -2.0, 36: -3.0}, "this", "0" * 16)
    other = dataset._replace(reference="a third")
    path = Path("path", (frames[1], frames[4]), closed=False)  # of one composition
    return Ingredients(
        dataset, training, foundation.model, (foundation, card), generic=other, paths={"path": path}
    )


def with_network(ingredients: Ingredients, model=MaceModel) -> Ingredients:
    """The same with a small MACE as foundation, for strategies that need a network."""
    network = model(ELEMENTS, TINY)
    params = network.init(key=jax.random.key(7))
    constants = params["constants"] | {"scale": jnp.float32(0.01), "average_neighbors": 18.0}
    params = {"weights": params["weights"], "constants": trees.cast(constants, jnp.float32)}
    assert ingredients.foundation is not None
    return ingredients._replace(
        architecture=network, foundation=(Potential(params, network), ingredients.foundation[1])
    )


def doubled(frame: Frame) -> Frame:
    """Two cells in a row, with what the labels of one imply."""
    system, (energy, forces) = frame.system, (frame.energy, frame.forces)
    assert energy is not None
    assert forces is not None
    twice = System(
        np.concatenate([system.positions, system.positions + system.cell[0]]),
        np.tile(system.numbers, 2),
        system.cell * np.array([[2], [1], [1]]),
        system.pbc,
    )
    return frame._replace(system=twice, energy=2 * energy, forces=np.tile(forces, (2, 1)))


def member(kind: str, *, seed: int) -> Member:
    """A run with cells of two sizes, some without energy or stress, in unevenly filled batches."""
    training = PRECISE
    if kind == SCHEDULE_FREE:
        changes = {"optimizer": "schedule_free_adamw", "ema": None}
        kind, training = "finetune", TrainingConfig(**(PRECISE.model_dump() | changes))
    ingredients = with_pairs(training)
    first, second, third, fourth, *held = ingredients.dataset.frames
    train = (
        first,
        doubled(second),
        third._replace(energy=None),
        doubled(fourth)._replace(stress=None),
        held[0],
    )
    ingredients = ingredients._replace(dataset=ingredients.dataset._replace(frames=train))
    module = registry.resolve("training.strategies", kind)
    if module.Config.needs_network:
        ingredients = with_network(ingredients)
    config = _isolated(module.example().model_copy(update=CHOICES.get(kind, {})))
    recipe = module.build(config, ingredients, key=jax.random.key(seed))
    return Member(recipe, train, held, training, seed)


def _isolated(config: Any) -> Any:
    """The same choices with E0 of isolated atoms, which cost no predictions."""
    if isinstance(getattr(config, "member", None), Config):
        return config.model_copy(update={"member": _isolated(config.member)})
    names = {"reference_energies", "generic_reference_energies"} & set(type(config).model_fields)
    return config.model_copy(update=dict.fromkeys(names, "isolated"))


def trained(run: Member, **changes):
    """A run by itself."""
    config = run.config.model_copy(update=changes)
    return fit(run.recipe, run.train, run.validation, config, seed=run.seed)


def numbers(fitted) -> dict[str, list[float]]:
    """Losses, errors and parameters of what has been trained."""
    last = fitted.history[-1]
    leaves = trees.names(fitted.potential.params)
    return {name: np.asarray(leaf).ravel().tolist() for name, leaf in leaves.items()} | {
        "loss": [last.train_loss],
        "error": [last.validation.forces_mae],
    }


def main() -> None:
    out, *kinds = sys.argv[1:]
    found = {kind: numbers(trained(member(kind, seed=0), devices=2)) for kind in kinds}
    File(out).write_text(json.dumps(found))


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    main()
