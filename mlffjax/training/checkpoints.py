"""The full state of an unfinished training, so that a killed run continues to the same bits.

One file holds everything the continuation depends on: weights, average, optimizer, place in the
epoch, history and the best weights so far. Files appear whole or not at all, and every array in
them carries a checksum. The two newest are kept: if the last one is damaged, the one before serves.
"""

import hashlib
import io
import json
import shutil
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import durable
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.training.batches import Sample
from mlffjax.training.config import TrainingConfig
from mlffjax.training.course import Course
from mlffjax.training.history import Epoch
from mlffjax.training.metrics import Scores
from mlffjax.training.recipe import Recipe
from mlffjax.training.step import State, as_pytree

FORMAT = 1
HEADER = "header"
KEPT = 2
"""Files in the directory; more than one, since the newest may be damaged."""
SHARE = 0.02
"""Largest share of the time that may go into writing."""
MAY_CHANGE = ("max_seconds",)
"""Entries of the configuration, besides incidental ones, in which a continued run may differ."""

Identity = Mapping[str, Any]


class Snapshot(NamedTuple):
    """Everything the continuation of a run depends on."""

    state: State
    course: Course
    done: int  # steps of the epoch that runs
    seconds: float  # since the start, without interruptions


class OtherRun(CompatibilityError):
    """What is kept belongs to another run; ``lines`` say how it differs."""

    def __init__(self, place: Path, lines: Sequence[str]) -> None:
        self.lines = tuple(lines)
        super().__init__(
            f"{place}: an unfinished training of other settings is kept here: {'; '.join(lines)}. "
            "Give the same settings to continue it, or remove the directory to begin again"
        )


class Keeper:
    """Keeps the state of one run in a directory of its own.

    Give the same directory to ``fit`` again and it continues where the run was killed. Call
    ``clear`` when the result of the run is safe.
    """

    def __init__(self, directory: Path, *, begin_again: bool = False) -> None:
        """Nothing is read or written yet.

        Args:
            directory: of the run alone; made when something is kept.
            begin_again: drop the state of another run, with a warning and a note, instead of
                refusing it; for directories whose name says that the run is meant.
        """
        self.directory = directory
        self.begin_again = begin_again
        self.notes: tuple[str, ...] = ()
        """What a reader of the run must know."""
        self.spent = 0.0
        """Seconds spent on the run before it was continued."""
        self._last = time.monotonic()
        self._cost = 0.0

    def due(self, interval: float) -> bool:
        """Whether ``interval`` seconds have passed, and enough to afford writing another time.

        An interval of 0 asks for every step, whatever it costs.
        """
        return not interval or time.monotonic() - self._last >= max(interval, self._cost / SHARE)

    def keep(self, snapshot: Snapshot, identity: Identity) -> None:
        """Write a snapshot. One that cannot be written is a warning: training goes on."""
        start = time.monotonic()
        file = self.directory / f"{int(snapshot.state.step):012d}.npz"
        try:
            durable.write_bytes(file, packed(snapshot, identity))
            for old in self._files()[KEPT:]:
                old.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(
                f"{file}: the state of the training could not be kept ({error}); it goes on, but "
                "a killed run will start further back",
                RuntimeWarning,
                stacklevel=2,
            )
        self._last = time.monotonic()
        self._cost = self._last - start

    def restore(self, initial: State, identity: Identity) -> Snapshot | None:
        """The newest snapshot that is whole; None if nothing was kept.

        Args:
            initial: state of the same run, with the shapes and types of all arrays.
            identity: see ``identity``.

        Raises:
            OtherRun: the directory holds another run, and ``begin_again`` is not set.
        """
        for file in self._files():
            try:
                found = _read(file, initial, identity)
            except InputError as error:
                warnings.warn(
                    f"{error}; going back to what was kept before", RuntimeWarning, stacklevel=2
                )
                continue
            except OtherRun as error:
                if not self.begin_again:
                    raise
                self._drop(error)
                return None
            self.spent = found.seconds
            return found
        return None

    def _drop(self, error: OtherRun) -> None:
        """Make room for another run than the one that is kept."""
        note = (
            "this training was interrupted and began again from its start, for something it "
            f"depends on has changed: {'; '.join(error.lines)}"
        )
        warnings.warn(f"{self.directory}: {note}", RuntimeWarning, stacklevel=3)
        self.notes = (note,)
        self.clear()

    def clear(self) -> None:
        """Remove everything kept."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _files(self) -> list[Path]:
        """Complete files, the newest first."""
        return sorted(self.directory.glob("[0-9]*.npz"), reverse=True)


def is_kept(directory: Path) -> bool:
    """Whether a directory of a keeper holds the state of an unfinished run."""
    return any(directory.glob("[0-9]*.npz"))


def identity(
    recipe: Recipe,
    train: Sequence[Sample],
    validation: Sequence[Sample],
    config: TrainingConfig,
    *,
    seed: int,
    shapes: Sequence[tuple[int, ...]],
) -> dict[str, Any]:
    """What must be the same for a run to be continued, in terms a reader understands."""
    functions = (recipe.loss, recipe.penalty, recipe.realize)
    data = jax.tree.leaves(([as_pytree(function) for function in functions], recipe.leash))
    return {
        "training": {k: v for k, v in config.essence().items() if k not in MAY_CHANGE},
        "seed": seed,
        "learning_rate": recipe.learning_rate,
        "initial_weights": _digest(jax.tree.leaves(recipe.trainable)),
        "fixed_weights": _digest(data),
        "training_frames": _digest([x for sample in train for x in _arrays(sample)]),
        "validation_frames": _digest([x for sample in validation for x in _arrays(sample)]),
        "shapes": [list(shape) for shape in shapes],
    }


def differences(known: Any, given: Any, where: str = "") -> list[str]:
    """Entries of plain data that differ, by dotted name and with both values."""
    if isinstance(known, dict) and isinstance(given, dict):
        return [
            line
            for name in sorted(known.keys() | given.keys())
            for line in differences(known.get(name), given.get(name), f"{where}.{name}")
        ]
    if known == given:
        return []
    return [f"{where.removeprefix('.')} was {known!r} and is now {given!r}"]


def packed(snapshot: Snapshot, identity: Identity) -> bytes:
    """A snapshot as bytes, with a checksum of every array."""
    course = snapshot.course
    leaves = jax.device_get(jax.tree.leaves((snapshot.state, course.best_average)))
    header = {
        "format": FORMAT,
        "identity": identity,
        "done": snapshot.done,
        "seconds": snapshot.seconds,
        "history": course.history,  # named tuples become lists
        "best": course.best,
    }
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    buffer = io.BytesIO()
    arrays = {f"{index:06d}": leaf for index, leaf in enumerate(leaves)}
    np.savez(buffer, **{HEADER: text}, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _read(file: Path, initial: State, identity: Identity) -> Snapshot:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: expected the state of a training, cannot read it ({error})"
        ) from error
    return unpacked(content, initial, identity, file)


def unpacked(content: bytes, initial: State, identity: Identity, file: Path) -> Snapshot:
    """The snapshot that ``packed`` made into bytes.

    Args:
        content: what ``packed`` returned.
        initial: state of the same run, with the shapes and types of all arrays.
        identity: of the run.
        file: where the content was found, for messages.

    Raises:
        InputError: it is damaged or of another version.
        OtherRun: it belongs to another run.
    """
    try:
        arrays = durable.from_npz(content)
        header = durable.from_json(arrays.pop(HEADER).tobytes())
        leaves = [arrays[name] for name in sorted(arrays)]
        if header["format"] != FORMAT:
            raise ValueError(f"format {header['format']} instead of {FORMAT}")
        history = tuple(_epoch(entry) for entry in header["history"])
        best, done, seconds = _epoch(header["best"]), header["done"], header["seconds"]
        known = header["identity"]
    except (KeyError, TypeError, ValueError) as e:
        raise InputError(
            f"{file}: expected the state of a training, got a file that cannot be read as one ({e})"
        ) from e
    if lines := differences(known, json.loads(json.dumps(identity))):
        raise OtherRun(file.parent, lines)
    wanted, structure = jax.tree.flatten((initial, initial.trainable))
    expected, got = ([(x.shape, np.dtype(x.dtype)) for x in each] for each in (wanted, leaves))
    if expected != got:
        raise InputError(f"{file}: expected arrays of {expected}, got {got}")
    state, best_average = jax.tree.unflatten(structure, [jnp.asarray(leaf) for leaf in leaves])
    return Snapshot(state, Course(history, best, best_average), done, seconds)


def _epoch(entry: list[Any]) -> Epoch:
    number, loss, scores, rate, seconds = entry
    return Epoch(number, loss, Scores(*scores), rate, seconds)


def _arrays(sample: Sample) -> list[np.ndarray]:
    """Everything of a sample that decides what is learned from it."""
    system = sample.system
    lacking = np.zeros(0)
    return [
        *(system.positions, system.numbers, system.cell, system.pbc, sample.forces),
        lacking if sample.energy is None else np.array(sample.energy),
        lacking if sample.stress is None else sample.stress,
        np.array([sample.weight, sample.head]),
    ]


def _digest(arrays: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]
