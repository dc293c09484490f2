"""Read a model that ``torch.save`` wrote, without torch and without running any of it.

Such a file is a zip archive: ``<root>/data.pkl`` describes the objects, ``<root>/data/<key>`` hold
the numbers of the tensors. The pickle is read as data (``inert_pickle``); of a ``torch.nn.Module``
remain its class name, its attributes and its tensors (``Module``). Nothing is written to disk.

Sizes that the file declares are compared with what is there before memory is asked for, so a
hostile file ends in an error and not in exhaustion.
"""

import hashlib
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential.convert.inert_pickle import Global, Inert, Rules, read_pickle

LIMIT = 2 * 1024**3
"""Bytes that storages, and tensors made from them, may have unless the caller says otherwise."""
PICKLE_LIMIT = 16 * 1024**2
"""Bytes of ``data.pkl``, which holds no numbers: below 2 MB in models that people publish."""
MOST_MODULES, DEEPEST = 20_000, 32
MOST_PARTS = 500_000
"""Tensors, modules and attributes of all modules: few bytes may name one part over and over."""
LARGEST_NUMBER = 2**62
"""Of shapes, strides and offsets: a pickle may hold numbers of a million digits."""
ALLOWED = re.compile(
    r"(mace|e3nn|torch\.nn|torch\.fx)(\.\w+)+"
    r"|torch\.\w+Storage|torch\.(float|int|uint|bfloat|complex)\d+|torch\.(bool|device|Size)"
    r"|torch\._utils\._rebuild_(tensor_v2|parameter|parameter_with_state)"
    r"|collections\.OrderedDict|_codecs\.encode|(__builtin__|builtins)\.(set|slice)"
    r"|numpy\.(core|_core)\.multiarray\.(scalar|_reconstruct)|numpy\.(dtype|ndarray)"
)
"""Globals that a MACE may name. All but those of ``_rebuild`` stay inert."""
DTYPES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "BFloat16": "u2", "Long": "i8", "Int": "i4",
    "Short": "i2", "Char": "i1", "Byte": "u1", "Bool": "?",
}  # fmt: skip
"""NumPy has no bfloat16: its bits are read as integers, which are the upper half of a float32."""
LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # how torch < 1.6 began its files
SCALARS = re.compile(r"[fi][248]|b1")
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, ArithmeticError,
)  # fmt: skip


@dataclass
class Module:
    """What was stored of a ``torch.nn.Module``; ``kind`` is its class.

    Attributes may hold ``Global`` and ``Inert`` from ``inert_pickle``.
    """

    kind: Global
    attributes: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    children: dict[str, "Module"] = field(default_factory=dict)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, "Module"]]:
        """This module and all below, by dotted name; its own name is empty."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}.{name}" if prefix else name)

    def named_tensors(self) -> dict[str, np.ndarray]:
        """Parameters, buffers and tensor attributes by dotted name, as ``state_dict`` has them."""
        return {
            f"{path}.{name}" if path else name: tensor
            for path, module in self.walk()
            for name, tensor in module.tensors.items()
        }


class TorchFile(NamedTuple):
    """A stored module and where it comes from."""

    path: Path
    root: Module
    sha256: str
    archive_version: str


def read(path: str | Path, *, limit: int = LIMIT) -> TorchFile:
    """Read a module that was stored whole (``torch.save(model, path)``).

    bfloat16 becomes float32, which holds it exactly; other tensors keep their dtype.

    Args:
        path: the file.
        limit: bytes that the file, its storages and its tensors may have, each.

    Raises:
        InputError: the file is missing, damaged, no torch file, too large, or names something
            that does not belong into a model.
        CompatibilityError: a torch file of another kind: weights without their module,
            TorchScript, or the format before torch 1.6.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            return _read(path, stream, limit)
    except (InputError, CompatibilityError) as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ZIP_ERRORS as error:
        raise InputError(
            f"{path}: cannot be read as the zip archive of a torch model ({error}); if it is one, "
            "it is truncated or damaged: copy it again"
        ) from error


def _read(path: Path, stream: BufferedReader, limit: int) -> TorchFile:
    _check_start(stream.read(512), path.stat().st_size, limit)
    stream.seek(0)
    sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    with zipfile.ZipFile(stream) as opened:
        archive = _Archive(opened)
        return TorchFile(path, _read_root(archive, limit), sha256, archive.text("version"))


def _check_start(start: bytes, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(f"it has {size} bytes, more than the limit of {limit}; raise the limit")
    if start.startswith(LEGACY) or start[257:262] == b"ustar":
        raise CompatibilityError(
            "it was written by torch before 1.6, or in that format; load it with torch and save it "
            "again"
        )
    if not start.startswith(b"PK"):
        raise InputError("expected a model file of torch, which is a zip archive, got another")


def _read_root(archive: "_Archive", limit: int) -> Module:
    tensors = _Tensors(archive, limit)
    rules = Rules(ALLOWED, tensors.rebuild(), tensors.storage)
    found = read_pickle(archive.read("data.pkl", PICKLE_LIMIT), rules)
    if not (isinstance(found, Inert) and _state(found)):
        weights = "weights without their module: a state dictionary or a checkpoint of a training"
        raise CompatibilityError(
            f"it holds {weights if isinstance(found, dict) else 'no module'}; expected a whole "
            "model, as mace-torch's .model files are and torch.save(model, path) writes them"
        )
    return _module(found, 0, iter(range(MOST_MODULES)), iter(range(MOST_PARTS)))


class _Archive:
    """The entries of a torch archive below its root folder."""

    def __init__(self, opened: zipfile.ZipFile) -> None:
        self.opened = opened
        names = [info.filename for info in opened.infolist()]
        if any(_is_unsafe(name) for name in names) or len(set(names)) != len(names):
            raise InputError(
                "it has entries whose names repeat or lead out of the archive, as torch does not "
                "write them"
            )
        roots = [name.removesuffix("/data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1 or "/" in roots[0]:
            raise InputError(
                "it is a zip archive, but not one of torch.save, which has one <name>/data.pkl"
            )
        self.root = roots[0]
        if any(name.startswith((f"{self.root}/code/", f"{self.root}/const")) for name in names):
            raise CompatibilityError(
                "it is TorchScript, as compiled models and those for LAMMPS are; convert the "
                ".model it was made from"
            )
        order = self.text("byteorder") or "little"  # not written before torch 2.1
        if order not in ("little", "big"):
            raise InputError(f"its byte order is {order!r}, expected 'little' or 'big'")
        self.order: Literal["<", ">"] = "<" if order == "little" else ">"

    def size(self, name: str) -> int | None:
        """Bytes an entry declares, or None where there is none."""
        full = f"{self.root}/{name}"
        return self.opened.NameToInfo[full].file_size if full in self.opened.NameToInfo else None

    def read(self, name: str, limit: int) -> bytes:
        """Content of an entry: exactly as long as declared and with the right checksum."""
        info = self.opened.getinfo(f"{self.root}/{name}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"its entry {name} is compressed in a way torch does not use")
        if info.file_size > limit:
            raise InputError(f"its entry {name} has {info.file_size} bytes, more than {limit}")
        with self.opened.open(info) as stream:
            data = stream.read(info.file_size)  # with a length, zipfile inflates no more than that
        if len(data) != info.file_size:
            raise InputError(
                f"its entry {name} declares {info.file_size} bytes but holds {len(data)}"
            )
        return data

    def text(self, name: str) -> str:
        """Content of a small text entry; empty where there is none."""
        found = self.size(name) is not None
        return self.read(name, 100).decode("ascii", "replace").strip() if found else ""


def _is_unsafe(name: str) -> bool:
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name


class _Storage(NamedTuple):
    values: np.ndarray  # flat, in the byte order of the file
    is_bfloat: bool


class _Tensors:
    """Makes tensors from the storages of an archive, and keeps count of their bytes."""

    def __init__(self, archive: _Archive, limit: int) -> None:
        self.archive, self.limit = archive, limit
        self.read_bytes = self.made_bytes = 0
        self.raw: dict[str, bytes] = {}

    def rebuild(self) -> dict[str, Any]:
        """Our functions for the globals whose results we want."""
        return {
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_parameter": lambda data, *_: data,
            "torch._utils._rebuild_parameter_with_state": lambda data, *_: data,
            "collections.OrderedDict": _ordered,
            "_codecs.encode": _encode,
            "__builtin__.set": _set,
            "builtins.set": _set,
            "numpy.core.multiarray.scalar": _numpy_scalar,
            "numpy._core.multiarray.scalar": _numpy_scalar,
        }

    def storage(self, identifier: Any) -> _Storage:
        """The storage a persistent identifier names: ('storage', type, key, device, count)."""
        tag, kind, key, _, count = identifier
        name = kind.name.removesuffix("Storage") if isinstance(kind, Global) else ""
        if tag != "storage" or name not in DTYPES or type(count) is not int or count < 0:
            raise InputError(f"a tensor has a storage of an unknown kind: {name[:80]!r}")
        if type(key) is not str:  # tuples of tuples: a text of them may be longer than any memory
            raise InputError("a tensor has a storage whose name is no text, so it is missing")
        dtype = np.dtype(DTYPES[name])
        declared = self.archive.size(f"data/{key}")
        if declared is None:
            raise InputError(f"storage {key[:80]!r} is missing in the archive")
        if declared != count * dtype.itemsize:
            raise InputError(
                f"storage {key[:80]!r} has {declared} bytes, but {count:.6g} values of {dtype} are "
                "declared"
            )
        if key not in self.raw:
            self.read_bytes = self._within_limit(self.read_bytes + declared, "storages")
            self.raw[key] = self.archive.read(f"data/{key}", self.limit)
        values = np.frombuffer(self.raw[key], dtype.newbyteorder(self.archive.order))
        return _Storage(values, name == "BFloat16")

    def tensor(
        self, storage: _Storage, offset: int, shape: Any, stride: Any, *_: Any
    ) -> np.ndarray:
        """A strided view into a storage, as an array of its own."""
        numbers = (offset, *shape, *stride)
        if not isinstance(storage, _Storage) or not all(map(_is_natural, numbers)):
            raise InputError("a tensor has no storage, or a shape that is not of natural numbers")
        if len(shape) != len(stride) or len(shape) > 32:
            raise InputError(f"a tensor has {len(shape)} dimensions but {len(stride)} strides")
        count = math.prod(shape)
        steps = ((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if count and offset + sum(steps) >= len(storage.values):
            raise InputError(f"a tensor of shape {tuple(shape)} reaches outside its storage")
        size = storage.values.itemsize
        self.made_bytes = self._within_limit(self.made_bytes + count * size, "tensors")
        if count:
            strides = [step * size for step in stride]
            view = np.lib.stride_tricks.as_strided(storage.values[offset:], shape, strides)
        else:
            view = np.zeros(shape, storage.values.dtype)
        native = view.astype(view.dtype.newbyteorder("="))  # a copy
        return (native.astype("u4") << 16).view("f4") if storage.is_bfloat else native

    def _within_limit(self, count: int, what: str) -> int:
        if count > self.limit:
            raise InputError(f"its {what} need more than the limit of {self.limit} bytes; raise it")
        return count


def _is_natural(number: Any) -> bool:
    return type(number) is int and 0 <= number < LARGEST_NUMBER


def _ordered(*arguments: Any) -> dict:
    pairs = arguments[0] if arguments else []
    if not all(isinstance(key, str) for key, _ in pairs):
        raise InputError("a dictionary is made from something else than named values")
    return dict(pairs)


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        found = codec[:80] if isinstance(codec, str) else "something that is no text"
        raise InputError(f"bytes are stored as {found!r}, expected 'latin1'")
    return text.encode("latin1")


def _set(items: Any = ()) -> set:
    if not all(isinstance(item, str) for item in items):
        raise InputError("a set holds something else than names")
    return set(items)


def _numpy_scalar(dtype: Inert, data: bytes) -> float | int | bool:
    code, order = dtype.arguments[0], dtype.state[1] if isinstance(dtype.state, tuple) else "<"
    if not isinstance(code, str) or not isinstance(order, str):
        raise InputError("a NumPy scalar has a dtype without a name")
    if not SCALARS.fullmatch(code) or order not in ("<", ">", "=", "|"):
        raise InputError(f"a NumPy scalar has the unknown dtype {code[:80]!r}")
    return np.frombuffer(data, np.dtype(order + code)).reshape(()).item()


def _state(node: Inert) -> dict[str, Any] | None:
    """Attributes of a stored module; traced graphs keep them as the first argument."""
    traced = node.kind.name == "reduce_graph_module" and node.arguments
    state = node.arguments[0] if traced else node.state
    return state if isinstance(state, dict) and "_modules" in state else None


def _module(node: Inert, depth: int, count: Iterator[int], parts: Iterator[int]) -> Module:
    if depth > DEEPEST or next(count, None) is None:
        raise InputError(
            f"its modules are more than {MOST_MODULES} or nested deeper than {DEEPEST}, as if one "
            "contained itself"
        )
    state = dict(_state(node) or {})
    module = Module(node.kind)
    groups = [state.pop(name, None) or {} for name in ("_parameters", "_buffers", "_modules")]
    for name, value in [*groups[0].items(), *groups[1].items(), *groups[2].items(), *state.items()]:
        if next(parts, None) is None:
            raise InputError(f"its modules have more than {MOST_PARTS} parts")
        taken = name in module.tensors or name in module.children
        if not isinstance(name, str) or "." in name or taken:
            raise InputError(f"{str(node.kind)[:120]} has parts without a name of their own")
        if isinstance(value, np.ndarray):
            module.tensors[name] = value
        elif isinstance(value, Inert) and _state(value) is not None:
            module.children[name] = _module(value, depth + 1, count, parts)
        elif name in state:
            module.attributes[name] = value
        elif value is not None:
            raise InputError(
                f"{str(node.kind)[:120]} has a part {name[:80]!r} that is neither tensor nor module"
            )
    return module
