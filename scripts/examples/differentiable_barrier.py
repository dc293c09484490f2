"""What a migration barrier hangs on: parameters, strain, atoms, and frames of the training set.

    python scripts/examples/differentiable_barrier.py [--frames 12] [--epochs 6] [--check 0]

Takes the bundled generalist and the bundled in-gap path of Cr in Sb2Te3 (images from the
reference calculation, nothing is relaxed), prints the barrier with its derivatives, fine-tunes the
last layer on a few PBE frames and says which of them pull at the barrier. ``--check N`` trains
again without each of the first N frames and compares: do that before you believe the ranking.
"""

import argparse
import dataclasses
import time

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.tree_util import Partial  # noqa: E402
from scipy.stats import spearmanr  # noqa: E402

from mlffjax import trees  # noqa: E402
from mlffjax.active.influence import InfluenceConfig, influence, leave_one_out  # noqa: E402
from mlffjax.arrays import PyTree  # noqa: E402
from mlffjax.pathways.profiles import band  # noqa: E402
from mlffjax.pathways.sensitivity import PathGradient, path_gradient  # noqa: E402
from mlffjax.potential.base import Potential  # noqa: E402
from mlffjax.potential.store import load  # noqa: E402
from mlffjax.structures import bundled, paths  # noqa: E402
from mlffjax.structures.files import read_frames  # noqa: E402
from mlffjax.structures.system import Frame  # noqa: E402
from mlffjax.training.config import LossConfig, ScheduleConfig, TrainingConfig  # noqa: E402
from mlffjax.training.fit import fit  # noqa: E402
from mlffjax.training.recipe import Recipe, standard  # noqa: E402
from mlffjax.training.reference_energies import estimate, with_constants  # noqa: E402

LAST = "layer_1/"  # weights of the last layer: contraction, linear maps, readout
DAMPING = 1e-2  # the training is short; see mlffjax.active.influence

_path_gradient = jax.jit(path_gradient)


def main() -> None:
    """Parse arguments, differentiate, fine-tune, tell."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=12, help="training frames")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--check", type=int, default=0, metavar="N", help="frames to leave out")
    arguments = parser.parse_args()

    start = time.monotonic()
    potential, _ = load("bundled:generalist")
    path = paths.read_path(bundled.files("in_gap")[0], "in_gap")
    images = band([frame.system for frame in path.frames], potential.elements, potential.cutoff)
    images = jax.tree.map(jnp.asarray, images)

    def differentiated(potential: Potential) -> PathGradient:
        return _path_gradient(trees.cast(potential, np.float64), images)

    tell_gradient(differentiated(potential), potential, paths.energies(path))
    print(f"[{time.monotonic() - start:.0f} s]")

    frames = read_frames(bundled.root() / "md_doped_600K.xyz")[: arguments.frames]
    training = protocol(arguments.epochs)
    recipe = last_layer(potential, frames, training)
    tuned = fit(recipe, frames, frames[:2], training, seed=0).potential
    after = differentiated(tuned)
    settings = InfluenceConfig(loss=training.loss, weights=(f"{LAST}*",), damping=DAMPING)
    found = influence(tuned, frames, after.params, settings)
    print(f"\nbarrier after fine-tuning on {len(frames)} frames: {after.value:.3f} eV")
    again = None
    if arguments.check:
        again = leave_one_out(
            recipe,
            frames,
            frames[:2],
            training,
            lambda potential: float(differentiated(potential).value),
            seed=0,
            leave=range(min(arguments.check, len(frames))),
        ).change
    tell_influence(frames, found.left_out, again)
    print(f"[{time.monotonic() - start:.0f} s]")


def tell_gradient(found: PathGradient, potential: Potential, reference: np.ndarray | None) -> None:
    """The barrier, what it owes to each group of weights, and what strain and atoms do to it."""
    note = "" if reference is None else f" (reference: {reference.max():.3f} eV)"
    print(f"in-gap barrier on fixed images: {found.value:.3f} eV{note}")
    slopes = trees.names(found.params["weights"])
    weights = trees.names(potential.params["weights"])
    # Change of the barrier if all weights of a group grew by one percent of their size each, in
    # the direction that raises it most.
    effect = {
        name: 0.01 * float(np.linalg.norm(slopes[name]) * np.linalg.norm(weights[name]))
        for name in slopes
    }
    print("\nweights that matter most: largest change of the barrier for a change of 1 %, meV")
    for name in sorted(effect, key=effect.__getitem__, reverse=True)[:6]:
        print(f"  {name:40s} {1000 * effect[name]:8.1f}")
    strain = np.asarray(found.strain) * 10  # meV per percent
    print("\nchange of the barrier by 1 % of strain (cell and images together), meV")
    for name, value in zip(("xx", "yy", "zz"), np.diag(strain), strict=True):
        print(f"  {name:40s} {value:+8.1f}")
    forces = np.linalg.norm(np.asarray(found.positions), axis=-1)
    image, atom = np.unravel_index(forces.argmax(), forces.shape)
    print(
        f"\nplace that matters most: atom {atom} of image {image}, "
        f"{1000 * forces.max() * 0.01:.1f} meV for 0.01 Å"
    )


def tell_influence(frames: list[Frame], left_out: np.ndarray, again: np.ndarray | None) -> None:
    """Frames by how much the barrier would change without them."""
    print("predicted change of the barrier if a frame is left out, meV")
    for index in np.argsort(-np.abs(left_out)):
        checked = ""
        if again is not None and index < len(again):
            checked = f"   trained again: {1000 * again[index]:+7.2f}"
        print(f"  {frames[index].identifier:40s} {1000 * left_out[index]:+8.2f}{checked}")
    if again is not None and len(again) > 2:
        correlation = spearmanr(left_out[: len(again)], again)[0]
        print(f"rank correlation with training again, {len(again)} frames: {correlation:+.2f}")


def protocol(epochs: int) -> TrainingConfig:
    """A short fine-tuning that ends where it ends: no best epoch, no average."""
    return TrainingConfig(
        epochs=epochs,
        patience=epochs,
        batch=4,
        learning_rate=1e-3,
        ema=None,
        keep="last",
        schedule=ScheduleConfig(kind="cosine", floor=0.01),
        loss=LossConfig(energy=10.0, forces=10.0, stress=0.0),
        buckets=1,
    )


def last_layer(potential: Potential, frames: list[Frame], training: TrainingConfig) -> Recipe:
    """Train the weights of the last layer only; reference energies follow the labels."""
    references = estimate("reestimated", frames, potential, isolated={})
    potential = with_constants(potential, {"atomic_energies": references.energies})
    weights = trees.names(potential.params["weights"])
    chosen = {name: leaf for name, leaf in weights.items() if name.startswith(LAST)}
    return standard(chosen, Partial(merged, potential), training)


def merged(potential: Potential, chosen: PyTree) -> Potential:
    """The potential with some of its weights replaced."""
    weights = trees.from_names(trees.names(potential.params["weights"]) | chosen)
    return dataclasses.replace(potential, params={**potential.params, "weights": weights})


if __name__ == "__main__":
    main()
