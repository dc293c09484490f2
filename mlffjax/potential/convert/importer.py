"""From a model file of mace-torch to a potential with its card; torch is not needed.

``read_torch`` reads the file, ``architecture`` recovers the hyper-parameters and refuses what we
do not compute, ``constants`` accounts for tensors that are no weights, ``torch_names`` moves the
weights. Each tensor of the file has exactly one use, and each of our arrays exactly one source.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase.data import atomic_numbers

import mlffjax
from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card, symbols
from mlffjax.potential.convert.architecture import architecture
from mlffjax.potential.convert.constants import check_constants
from mlffjax.potential.convert.elements import keep_elements
from mlffjax.potential.convert.read_torch import LIMIT, Module, TorchFile, read
from mlffjax.potential.convert.torch_names import Entry, entries, from_torch
from mlffjax.potential.mace.model import MaceModel


def convert(
    path: str | Path,
    *,
    reference: str,
    functional: str,
    dispersion: str | None = None,
    name: str | None = None,
    elements: Sequence[str] | None = None,
    limit: int = LIMIT,
) -> tuple[Potential, Card]:
    """Import a ``.model`` file of mace-torch.

    Weights keep the precision of the file. What the labels were computed with is not in the file,
    so the caller says it.

    Args:
        path: the file.
        reference: method of the training labels, for the card.
        functional: exchange-correlation functional, for the card.
        dispersion: dispersion correction in the labels, for the card.
        name: name of the potential; the file's by default.
        elements: chemical symbols to keep; all by default.
        limit: bytes the file may need.

    Raises:
        InputError: the file is damaged or hostile, and nothing of it was run; or a symbol is none.
        CompatibilityError: it holds another model than we compute; the message names the part.
    """
    numbers = None if elements is None else _numbers(elements)
    file = read(path, limit=limit)
    try:
        whole = import_module(file.root)
        potential = whole if numbers is None else keep_elements(whole, numbers)
    except CompatibilityError as error:
        raise CompatibilityError(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: the model is not put together as mace-torch does it: "
            f"{type(error).__name__}: {error}"
        ) from error
    card = Card(
        checksum="",  # known when the weights are written
        name=name or file.path.stem,
        elements=symbols(potential.elements),
        model=potential.model.settings,
        reference=reference,
        functional=functional,
        dispersion=dispersion,
        description=f"Converted from the mace-torch model {file.path.name}.",
        provenance=_provenance(file, whole.elements),
    )
    return potential, card


def import_module(root: Module) -> Potential:
    """The potential of a stored mace-torch module.

    Raises:
        CompatibilityError: it is not one we compute, a tensor is left over, missing, of another
            shape, or not finite.
    """
    found, tensors = architecture(root), root.named_tensors()
    check_constants(tensors, found.model)
    ours = {entry.name: _weights(entry, tensors) for entry in entries(found.model)}
    params = from_torch(ours, found.model, average_neighbors=found.average_neighbors)
    return Potential(params=_complete(params, found.model), model=found.model)


def _numbers(names: Sequence[str]) -> list[int]:
    unknown = [name for name in names if atomic_numbers.get(name, 0) < 1]
    if unknown or not names:
        raise InputError(
            "expected elements by their symbols, such as Cr, Sb and Te, got "
            f"{', '.join(map(repr, unknown)) or 'none'}"
        )
    return [atomic_numbers[name] for name in names]


def _weights(entry: Entry, tensors: dict[str, np.ndarray]) -> np.ndarray:
    if entry.name not in tensors:
        raise CompatibilityError(f"the model has no tensor {entry.name!r}; it is not supported yet")
    tensor = tensors[entry.name]
    # Models with heads have a leading axis for them, and there is one head.
    if tensor.shape not in (entry.shape, (1, *entry.shape)):
        raise CompatibilityError(
            f"{entry.name} has shape {tensor.shape}, expected {entry.shape}; not supported yet"
        )
    if tensor.dtype not in (np.float32, np.float64):
        raise CompatibilityError(
            f"{entry.name} is {tensor.dtype}, expected float32 or float64; convert the model as it "
            "was before it was rounded"
        )
    if not np.isfinite(tensor).all():
        raise CompatibilityError(f"{entry.name} holds numbers that are not finite")
    return tensor


def _complete(params: PyTree, model: MaceModel) -> PyTree:
    """The parameters in the tree of the model, every leaf of which must receive its numbers."""
    template = trees.names(jax.eval_shape(lambda: model.init(key=jax.random.key(0))))
    named = trees.names(params)
    filled = {name: np.full(leaf.shape, np.nan) for name, leaf in template.items()}
    for name in filled.keys() & named.keys():
        if named[name].shape == filled[name].shape:
            filled[name] = named[name]
    empty = [name for name, leaf in filled.items() if np.isnan(leaf).any()]
    if empty or filled.keys() != named.keys():
        extra = sorted(named.keys() - filled.keys())
        raise CompatibilityError(
            f"the file leaves {', '.join(empty) or 'nothing'} of the model without numbers and has "
            f"{', '.join(extra) or 'nothing'} too much; it is not supported yet"
        )
    return trees.from_names(filled)


def _provenance(file: TorchFile, elements: tuple[int, ...]) -> dict[str, Any]:
    return {
        "source": {
            "file": file.path.name,
            "sha256": file.sha256,
            "class": str(file.root.kind),
            "format": f"torch.save archive, version {file.archive_version or 'unknown'}",
            "elements": list(symbols(elements)),
        },
        "converted_by": f"mlffjax {mlffjax.__version__}",
    }
