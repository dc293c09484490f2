"""The full state of a run in one file, whole or not at all.

Everything the continuation depends on is in it, the neighbour list and the forces included: a list
made anew would hold the same edges in another order, and sums in another order differ in their last
bits. So an interrupted run continues bit by bit as if nothing had happened (same machine, same
versions, CPU).
"""

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import safetensors
import safetensors.numpy

from mlffjax import durable
from mlffjax.arrays import PyTree
from mlffjax.config import dump
from mlffjax.dynamics.preparation import Setup
from mlffjax.errors import CompatibilityError, InputError

FILE = "checkpoint.safetensors"
FORMAT = 2
"""2 adds a checksum of everything."""
MAY_CHANGE = ("steps", "checkpoint_every")
"""Entries of a configuration in which a continued run may differ."""

Tree = TypeVar("Tree")


class Progress(NamedTuple):
    """How far a run is; plain numbers."""

    stage: int  # -1 before the first one
    step: int
    slots: int
    wide: int  # slots of the lists
    rebuilds: int
    growths: int
    stopped: list[int]  # stage in which each lane was stopped; -1 for none


def save(path: Path, tree: PyTree, progress: Progress, identity: dict[str, Any]) -> None:
    """Write arrays and progress; the file before stays until the new one is complete."""
    arrays = {
        f"{index:04d}": np.array(leaf, order="C")
        for index, leaf in enumerate(jax.tree.leaves(tree))
    }
    plain = {"progress": progress._asdict(), "identity": identity, "arrays": _content(arrays)}
    header = {"format": FORMAT} | durable.sealed(plain)
    content = safetensors.numpy.save(arrays, {"run": json.dumps(header, allow_nan=False)})
    durable.write_bytes(path, content)


def load(path: Path, identity: dict[str, Any]) -> tuple[list[np.ndarray], Progress]:
    """Read the leaves that ``save`` wrote, and how far the run is.

    Raises:
        InputError: the file is damaged or of another program.
        CompatibilityError: it belongs to another run; names what differs, with both values.
    """
    try:
        with safetensors.safe_open(path, "numpy") as file:
            header = durable.from_json(file.metadata()["run"])
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if header.pop("format") != FORMAT:
            raise KeyError("format")
        header, leaves = durable.unsealed(header), list(arrays.values())
        if header["arrays"] != _content(arrays):
            raise ValueError("arrays differ from their checksum")
        progress = Progress(**header["progress"])
        known = header["identity"]
    except (
        AttributeError, OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError
    ) as error:  # fmt: skip
        raise InputError(
            f"{path}: expected the checkpoint of a run, got a file that cannot be read as one "
            f"({error}); start again in an empty directory"
        ) from error
    differing = _differences(known, identity)
    if differing:
        raise CompatibilityError(
            f"{path}: this directory holds another run: {'; '.join(differing)}. Give the same "
            "settings to continue it, or another directory to start a new one"
        )
    return leaves, progress


def filled(template: Tree, leaves: list[np.ndarray], path: Path) -> Tree:
    """A tree of given leaves; ``template`` has the shapes and types they must have.

    Raises:
        InputError: they do not.
    """
    wanted, structure = jax.tree.flatten(template)
    expected, found = ([(x.shape, np.dtype(x.dtype)) for x in each] for each in (wanted, leaves))
    if expected != found:
        pairs = itertools.zip_longest(expected, found)
        odd = next(pair for pair in pairs if pair[0] != pair[1])
        raise InputError(
            f"{path}: expected the arrays of this run, got others ({odd[0]} expected, {odd[1]} "
            "found); start again in an empty directory"
        )
    return jax.tree.unflatten(structure, leaves)


def identity(setup: Setup) -> dict[str, Any]:
    """What must be the same for a run to be continued, in terms a reader understands."""
    kept = {key: value for key, value in dump(setup.config).items() if key not in MAY_CHANGE}
    observers = {name: [each.every, each.unit] for name, each in setup.observers.items()}
    return {
        "config": kept,
        "model": repr(setup.original.model),
        "parameters": _digest(jax.tree.leaves(setup.original.params)),
        "models": setup.models,
        "atoms": len(setup.masses),
        "elements": _digest([setup.systems[0].numbers]),
        "masses": _digest([setup.masses]),
        "structures": _digest([x for s in setup.systems for x in (s.positions, s.cell, s.pbc)]),
        "velocities": _digest([setup.velocities]),
        "observers": observers,
    }


def _digest(arrays: list[Any]) -> str:
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _content(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _differences(known: Any, given: Any, where: str = "") -> list[str]:
    """Dotted names of entries that differ, with both values."""
    given = json.loads(json.dumps(given))
    if isinstance(known, dict) and isinstance(given, dict):
        names = sorted(known.keys() | given.keys())
        return [
            line
            for name in names
            for line in _differences(known.get(name), given.get(name), f"{where}.{name}")
        ]
    if known == given:
        return []
    return [f"{where.removeprefix('.')} was {known!r} and is now {given!r}"]
