"""A short training of argon, also for programs that tests start, kill and spread over devices.

::

    python small_run.py OUT.json CHECKPOINTS|- [entry=value ...]

prints a line after every step and writes the bits of weights and history at the end.
"""

import json
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import Frame, System
from mlffjax.training import fit as loop
from mlffjax.training.checkpoints import Keeper
from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.leash import Leash
from mlffjax.training.recipe import all_weights, standard

CONFIG = TrainingConfig(
    epochs=4,
    batch=4,
    learning_rate=1e-4,
    precision="float64",
    checkpoint_seconds=0.0,
    loss=LossConfig(energy=10.0, forces=1.0, stress=1.0),
)


def frames(count: int) -> list[Frame]:
    """Rattled argon cells of 4 or 8 atoms with made-up labels; some lack energies or stresses."""
    random = np.random.default_rng(3)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    made = []
    for index in range(count):
        cells = 1 + index % 2
        corners = np.array(list(np.ndindex(cells, 1, 1)))
        positions = 5.3 * (corners[:, None] + basis).reshape(-1, 3)
        positions = positions + random.normal(scale=0.1, size=positions.shape)
        size = len(positions)
        system = System(
            positions, np.full(size, 18, np.int32), 5.3 * np.diag([cells, 1, 1]), np.ones(3, bool)
        )
        made.append(
            Frame(
                system=system,
                energy=None if index % 5 == 3 else float(random.normal()),
                forces=random.normal(scale=0.1, size=(size, 3)),
                stress=None if index % 3 == 1 else random.normal(scale=0.01, size=(3, 3)),
                config_type="made",
                trajectory="made",
                order=float(index),
                identifier=f"made_{index}",
                source=f"made {index}",
                info={},
            )
        )
    return made


def pulled(start, weights):
    """A penalty that matters: it does not depend on the rows of a batch."""
    return 1e2 * sum((weights[name] - 1.01 * start[name]) ** 2 for name in weights)


def run(config: TrainingConfig = CONFIG, observe=lambda progress: None, keeper=None, count=11):
    """Train the same potential on the same frames."""
    guess = trees.cast(lennard_jones((18,), epsilon=0.0085, sigma=3.34, cutoff=5.5), jnp.float64)
    weights, realize = all_weights(guess)
    recipe = standard(weights, realize, config)
    leash = Leash(weights, jax.tree.map(lambda leaf: 30.0 + 0 * leaf, weights))
    recipe = recipe._replace(penalty=jax.tree_util.Partial(pulled, weights), leash=leash)
    data = frames(count + 3)
    return loop.fit(recipe, data[3:], data[:3], config, seed=0, observe=observe, checkpoint=keeper)


def bits(fitted) -> dict[str, str]:
    """Everything a run leaves, but times, so that equal means equal bits."""
    leaves = trees.names(fitted.potential.params)
    return {name: np.asarray(leaf).tobytes().hex() for name, leaf in leaves.items()} | {
        "history": repr([epoch._replace(seconds=0.0) for epoch in fitted.history])
    }


def main() -> None:
    out, checkpoints, *changes = sys.argv[1:]
    values = {name: json.loads(value) for name, value in (item.split("=") for item in changes)}
    config = CONFIG.model_copy(update=values)

    def observe(progress) -> None:
        sys.stdout.write(f"{progress.epoch} {progress.step}\n")
        sys.stdout.flush()

    loop.PEEK = 1
    fitted = run(config, observe, Keeper(Path(checkpoints)) if checkpoints != "-" else None)
    Path(out).write_text(json.dumps(bits(fitted)))
    sys.stdout.write("done\n")


if __name__ == "__main__":
    if "COORDINATOR" in os.environ:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            os.environ["COORDINATOR"], int(os.environ["PROCESSES"]), int(os.environ["PROCESS"])
        )
    jax.config.update("jax_enable_x64", True)
    main()
