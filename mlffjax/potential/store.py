"""Potentials on disk: ``weights.safetensors`` and ``card.json`` in one directory.

safetensors holds raw arrays only, so loading a file from anywhere runs no code. Tensors are named
by their place in the parameter tree, joined by ``/``, and keep their dtype. The card says how to
rebuild the model; its checksum ties the two files together. The card is written last, so a
directory with a card is complete. ``FORMAT.md`` beside this file describes both for other programs.
"""

import hashlib
import json
from pathlib import Path

import jax
import numpy as np
import safetensors
import safetensors.numpy

from mlffjax import health, trees
from mlffjax.config import resolve_path, validate
from mlffjax.durable import from_json, sealed, unsealed, write_bytes
from mlffjax.errors import CompatibilityError, InputError, MlffjaxError
from mlffjax.potential.base import EnergyModel, Potential
from mlffjax.potential.card import FORMAT_VERSION, Card
from mlffjax.registry import resolve
from mlffjax.structures.elements import symbols

WEIGHTS = "weights.safetensors"
CARD = "card.json"


def save(directory: str | Path, potential: Potential, card: Card) -> Card:
    """Write a potential; returns the card as written, with the checksum.

    Raises:
        CompatibilityError: the card describes other elements or another model.
    """
    directory = Path(directory)
    if symbols(potential.elements) != card.elements or model_of(card) != potential.model:
        raise CompatibilityError(
            f"the card {card.name!r} describes {card.model} for {', '.join(card.elements)}, which "
            f"is not the potential to be saved ({potential.model})"
        )
    directory.mkdir(parents=True, exist_ok=True)
    arrays = {name: np.asarray(leaf) for name, leaf in trees.names(potential.params).items()}
    data = safetensors.numpy.save({k: np.asarray(v, order="C") for k, v in arrays.items()})
    found = {
        "format_version": FORMAT_VERSION,
        "reference_energies": _reference_energies(potential),
        "checksum": hashlib.sha256(data).hexdigest(),
    }
    card = card.model_copy(update=found)
    (directory / CARD).unlink(missing_ok=True)  # never a card beside weights it does not describe
    write_bytes(directory / WEIGHTS, data)
    text = json.dumps(sealed(card.model_dump(mode="json")), indent=1, ensure_ascii=False)
    write_bytes(directory / CARD, text.encode())
    return card


def load(source: str | Path) -> tuple[Potential, Card]:
    """Read a potential from a directory, or a bundled one such as ``bundled:generalist``.

    Raises:
        InputError: files are missing, damaged, or do not belong together.
        CompatibilityError: the format is newer than this version, or arrays do not fit the model.
        HealthError: the installed jax computes wrong numbers.
    """
    health.require_sound_jax()  # scripts come in through this door
    directory = resolve_path(str(source), Path.cwd())
    card = load_card(directory)
    model = model_of(card)
    data = _read(directory / WEIGHTS)
    if card.checksum != hashlib.sha256(data).hexdigest():
        raise InputError(
            f"{directory / WEIGHTS} is not the file its card describes (sha256 differs): it is "
            "damaged or was replaced; copy both files again"
        )
    try:
        arrays = safetensors.numpy.load(data)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{directory / WEIGHTS} is no safetensors file: {error}") from error
    _check_arrays(arrays, model, directory)
    potential = Potential(params=trees.from_names(arrays), model=model)
    if card.reference_energies not in ({}, _reference_energies(potential)):
        raise InputError(
            f"{directory / CARD} states other reference energies than {WEIGHTS} holds: it was "
            "edited; copy both files again"
        )
    return potential, card


def is_whole(directory: Path) -> bool:
    """Whether a potential is there: a card, and the very weights that it describes."""
    try:
        checksum = load_card(directory).checksum
        return hashlib.sha256(_read(directory / WEIGHTS)).hexdigest() == checksum
    except MlffjaxError:
        return False


def load_card(directory: Path) -> Card:
    """Read and check ``card.json`` of a directory."""
    data = _read(directory / CARD)
    try:
        entries = unsealed(from_json(data))
    except ValueError as error:
        raise InputError(f"{directory / CARD} is no JSON file, or damaged: {error}") from error
    version = entries.get("format_version") if isinstance(entries, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CompatibilityError(
            f"{directory / CARD} has format version {version}, this package reads up to "
            f"{FORMAT_VERSION}; update mlffjax"
        )
    return validate(entries, Card, where=str(directory / CARD))


def model_of(card: Card) -> EnergyModel:
    """The energy model a card describes, without parameters."""
    settings = dict(card.model)
    source = resolve("potential.sources", str(settings.pop("kind", "")))
    settings = validate(settings, source.Config, where=f"model of the card {card.name!r}")
    return source.energy_model(settings, card.numbers)


def _reference_energies(potential: Potential) -> dict[str, float]:
    """E0 of each element by symbol, eV."""
    values = np.asarray(potential.model.reference_energies(potential.params), np.float64)
    return dict(zip(symbols(potential.elements), values.tolist(), strict=True))


def _check_arrays(found: dict[str, np.ndarray], model: EnergyModel, directory: Path) -> None:
    expected = trees.names(jax.eval_shape(lambda: model.init(key=jax.random.key(0))))
    wrong = [
        f"{name[:80]}: expected {expected[name].shape if name in expected else 'nothing'}, "
        f"found {found[name].shape if name in found else 'nothing'}"
        for name in sorted(expected.keys() | found.keys())
        if name not in expected or name not in found or expected[name].shape != found[name].shape
    ]
    if wrong:
        raise CompatibilityError(
            f"{directory / WEIGHTS} does not hold the arrays of its card's model: "
            + "; ".join(wrong[:5])
        )
    for name, array in found.items():
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise InputError(
                f"{directory / WEIGHTS}: expected finite floating-point numbers, but {name} has "
                f"others ({array.dtype}); copy both files again, or train again"
            )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"expected a potential's directory with {CARD} and {WEIGHTS}, but cannot read {path}: "
            f"{error.strerror}"
        ) from error
