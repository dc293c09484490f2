"""From a model file of mace-torch to a potential with its card; torch is not needed.

``read_torch`` reads the file, ``lora`` adds up low-rank updates, ``parts`` refuses what we do not
compute, ``architecture`` recovers the hyper-parameters, ``heads`` keeps one head, ``bases`` brings
the product basis into our form, ``constants`` accounts for tensors that are no weights, and
``torch_names`` moves the weights. Each tensor of the file has exactly one use, and each of our
arrays exactly one source.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ase.data import atomic_numbers

import mlffjax
from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.errors import CompatibilityError, InputError, MlffjaxError
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.convert.architecture import architecture
from mlffjax.potential.convert.bases import in_our_basis
from mlffjax.potential.convert.constants import check_constants
from mlffjax.potential.convert.elements import keep_elements
from mlffjax.potential.convert.heads import Share, choose_head, keep_head
from mlffjax.potential.convert.lora import merge_updates
from mlffjax.potential.convert.read_torch import LIMIT, Module, TorchFile, read
from mlffjax.potential.convert.torch_names import Entry, entries, from_torch
from mlffjax.potential.mace.model import MaceModel
from mlffjax.structures.elements import symbols

ACCELERATED = {
    "cuequivariance": "mace/cli/convert_cueq_e3nn.py",
    "openequivariance": "mace/cli/convert_oeq_e3nn.py",
}
"""Packages whose layers may stand in a model for those of e3nn, and what replaces them again."""
ACCELERATORS = re.compile(rf"'({'|'.join(ACCELERATED)})\w*\.")


def convert(
    path: str | Path,
    *,
    reference: str,
    functional: str,
    dispersion: str | None = None,
    name: str | None = None,
    elements: Sequence[str] | None = None,
    head: str | None = None,
    limit: int = LIMIT,
) -> tuple[Potential, Card]:
    """Import a ``.model`` file of mace-torch.

    A file may hold several heads, trained with different methods; a potential has one of them. All
    potentials of one file have equal shapes, so ``trees.stack`` makes them one argument of a map.

    Weights keep the precision of the file. What the labels were computed with is not in the file,
    so the caller says it.

    Args:
        path: the file.
        reference: method of the training labels, for the card.
        functional: exchange-correlation functional, for the card.
        dispersion: dispersion correction in the labels, for the card.
        name: name of the potential; the file's by default.
        elements: chemical symbols to keep; all by default.
        head: which head to keep; by default the only one, or else that called Default.
        limit: bytes the file may need.

    Raises:
        InputError: the file is damaged or hostile, and nothing of it was run; or a symbol is none.
        CompatibilityError: it holds another model than we compute; the message names the part.
    """
    numbers = None if elements is None else _numbers(elements)
    file = _read(path, limit)
    with _named(path):
        whole, chosen, names = _imported(file.root, head)
        potential = whole if numbers is None else keep_elements(whole, numbers)
    card = Card(
        checksum="",  # known when the weights are written
        name=name or file.path.stem,
        elements=symbols(potential.elements),
        model=potential.model.settings,
        reference=reference,
        functional=functional,
        dispersion=dispersion,
        description=f"Converted from the mace-torch model {file.path.name}.",
        provenance=_provenance(file, whole.elements, chosen, names),
    )
    return potential, card


def import_module(root: Module, *, head: str | None = None) -> Potential:
    """The potential of a stored mace-torch module.

    Raises:
        CompatibilityError: it is not one we compute, has no such head, or a tensor is left over,
            missing, of another shape, or not finite.
    """
    return _imported(root, head)[0]


def heads(path: str | Path, *, limit: int = LIMIT) -> tuple[str, ...]:
    """Names of the heads of a ``.model`` file of mace-torch.

    Raises:
        InputError: the file is damaged or hostile; nothing of it was run.
        CompatibilityError: it holds another model than we compute; the message names the part.
    """
    with _named(path):
        return architecture(merge_updates(_read(path, limit).root)).heads


def _read(path: str | Path, limit: int) -> TorchFile:
    """Read the file; say what to do where it holds the layers of an accelerator."""
    try:
        return read(path, limit=limit)
    except InputError as error:
        if found := ACCELERATORS.search(str(error)):
            raise CompatibilityError(
                f"{path}: it was saved in the layout of {found[1]}, which is not supported yet; "
                f"convert it back with {ACCELERATED[found[1]]} of mace-torch"
            ) from error
        raise


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Put the path before messages, and say what is wrong where a file is not as it should be."""
    try:
        yield
    except CompatibilityError as error:
        raise CompatibilityError(f"{path}: {error}") from error
    except (
        ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, MlffjaxError):
            raise
        raise InputError(
            f"{path}: the model is not put together as mace-torch does it: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error


def _imported(root: Module, head: str | None) -> tuple[Potential, str, tuple[str, ...]]:
    """The potential, its head, and all heads."""
    root = merge_updates(root)
    model, average_neighbors, names = architecture(root)
    index = choose_head(names, head)
    share = Share(len(names), index, model.config.channels)
    tensors = in_our_basis(keep_head(root.named_tensors(), share), model)
    if root.kind.name == "MACE":  # the same function without scale and shift
        units = {"scale_shift.scale": np.ones(()), "scale_shift.shift": np.zeros(())}
        tensors |= {k: v.astype(_precision(tensors)) for k, v in units.items()}
    check_constants(tensors, model)
    ours = {entry.name: _weights(entry, tensors) for entry in entries(model)}
    params = from_torch(ours, model, average_neighbors=average_neighbors)
    return Potential(params=_complete(params, model), model=model), names[index], names


def _precision(tensors: dict[str, np.ndarray]) -> np.dtype:
    return tensors["node_embedding.linear.weight"].dtype


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


def _provenance(
    file: TorchFile, elements: tuple[int, ...], head: str, names: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "source": {
            "file": file.path.name,
            "sha256": file.sha256,
            "class": str(file.root.kind),
            "format": f"torch.save archive, version {file.archive_version or 'unknown'}",
            "elements": list(symbols(elements)),
            "head": head,
            "heads": list(names),
        },
        "converted_by": f"mlffjax {mlffjax.__version__}",
    }
