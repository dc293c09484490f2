"""Train the bundled generalist on the collected structures with the package's own loop.

    python scripts/data/generalist/train.py --data build --out mlffjax/assets/generalist

Reads ``train.xyz`` and ``test.xyz`` of ``collect.py``; one group in twenty of the training set
validates. Writes ``weights.safetensors`` and ``card.json``; the card tells what the model is, how
it was made and how far it is from its teacher on the test set, by family.
"""

import argparse
from pathlib import Path

import jax
import numpy as np

from mlffjax import trees
from mlffjax.potential.card import Card
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.store import save
from mlffjax.structures.datasets import DataConfig, Dataset, load
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import Frame
from mlffjax.training import metrics
from mlffjax.training.batches import collect, plan, samples
from mlffjax.training.config import LossConfig, ScheduleConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.history import Progress
from mlffjax.training.ingredients import Ingredients
from mlffjax.training.strategies import scratch

ELEMENTS = (24, 51, 52)
REFERENCE = "SevenNet-0 (11July2024), which was trained on MPtrj: VASP, PBE, PAW; spin-polarised"
DESCRIPTION = (
    "A small generalist for Cr, Sb and Te: a MACE distilled from SevenNet-0 on some three thousand "
    "small structures (elements, binaries, ternaries; strained, rattled, heated, defective, "
    "layered, intercalated). It is NOT MACE-MP and no universal potential: it knows three "
    "elements, is at best as good as its teacher, and has no dispersion correction."
)
ARCHITECTURE = MaceConfig(
    r_max=5.0, num_bessel=8, max_ell=2, hidden_irreps="48x0e + 48x1o", radial_mlp=(48, 48)
)


def main() -> None:
    """Train, test, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of train.xyz and test.xyz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the potential")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    dataset = read(arguments.data / "train.xyz")
    validation = [frame for frame in dataset.frames if group(frame) % 20 == 7]
    train = [frame for frame in dataset.frames if group(frame) % 20 != 7]
    training = TrainingConfig(
        epochs=arguments.epochs,
        patience=arguments.epochs,
        batch=8,
        learning_rate=4e-3,
        optimizer="amsgrad",
        ema=0.995,
        buckets=6,
        schedule=ScheduleConfig(kind="cosine", floor=0.005),
        loss=LossConfig(kind="huber", energy=4, forces=10, stress=20, delta=0.02),
    )
    model = MaceModel(ELEMENTS, ARCHITECTURE)
    ingredients = Ingredients(dataset._replace(frames=tuple(train)), training, architecture=model)
    key = jax.random.key(arguments.seed)
    recipe = scratch.build(scratch.Config(reference_energies="isolated"), ingredients, key=key)
    fitted = fit(recipe, train, validation, training, seed=arguments.seed, observe=say)
    print(fitted.explanation)
    potential = trees.cast(fitted.potential, np.float32)

    test = read(arguments.data / "test.xyz").frames
    card = Card(
        name="generalist",
        elements=symbols(ELEMENTS),
        model=model.settings,
        reference=REFERENCE,
        functional="PBE",
        description=DESCRIPTION,
        provenance={
            "made_by": "scripts/data/generalist",
            "licence": "MIT",
            "structures": {"train": len(train), "validation": len(validation), "test": len(test)},
            "training": training.model_dump(mode="json"),
            "epochs": len(fitted.history) - 1,
            "errors_against_teacher": errors(potential, test),
        },
    )
    print(save(arguments.out, potential, card).model_dump_json(indent=1))


def read(path: Path) -> Dataset:
    """A set of labelled structures; isolated atoms apart."""
    return load(DataConfig(files=(str(path),), reference=REFERENCE, functional="PBE"), Path.cwd())


def group(frame: Frame) -> int:
    """Number of the structure a frame descends from."""
    return int(frame.trajectory.rsplit("_", 1)[1])


def errors(potential, frames: tuple[Frame, ...]) -> dict[str, dict[str, float]]:
    """MAE and RMSE of energy (meV/atom) and force components (meV/Å), in all and by family."""
    labels = samples(frames, potential)
    shapes = plan([sample.system for sample in labels], potential.cutoff, most=6)
    data = collect(labels, potential.elements, potential.cutoff, shapes)
    predictions = metrics.predict(trees.cast(potential, np.float32), data, batch=8)
    rows = {}
    for name in ["all", *sorted({frame.config_type for frame in frames})]:
        chosen = [i for i, f in enumerate(frames) if name in ("all", f.config_type)]
        energy = np.array(
            [(predictions.energies[i] - labels[i].energy) / len(labels[i].forces) for i in chosen]
        )
        force = np.concatenate([(predictions.forces[i] - labels[i].forces).ravel() for i in chosen])
        rows[name] = {
            "frames": len(chosen),
            "energy_mae_mev_per_atom": round(1e3 * float(np.abs(energy).mean()), 2),
            "energy_rmse_mev_per_atom": round(1e3 * float(np.sqrt((energy**2).mean())), 2),
            "forces_mae_mev_per_a": round(1e3 * float(np.abs(force).mean()), 2),
            "forces_rmse_mev_per_a": round(1e3 * float(np.sqrt((force**2).mean())), 2),
        }
    return rows


def say(progress: Progress) -> None:
    """A line an epoch."""
    if progress.step == progress.steps:
        scores = progress.latest.validation
        print(
            f"epoch {progress.epoch:3d}/{progress.epochs}  {progress.seconds:6.0f} s  "
            f"loss {progress.latest.train_loss}  {scores}",
            flush=True,
        )


if __name__ == "__main__":
    main()
