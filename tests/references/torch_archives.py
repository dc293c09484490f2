"""Archives like those of ``torch.save``, put together byte by byte: sound ones and hostile ones.

Each function gives the opcodes that leave one object on the stack of an unpickler.
"""

import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = "model"


def literal(value: Any) -> bytes:
    """Anything that pickle writes by itself, without entries of the memo that nothing reads."""
    return pickletools.optimize(pickle.dumps(value, protocol=2))[2:-1]


def name(module: str, attribute: str) -> bytes:
    """A function or class."""
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """The result of a call."""
    return function + b"(" + b"".join(arguments) + b"tR"


def storage(key: Any, count: Any, *, kind: str = "Double") -> bytes:
    """A storage of the archive."""
    parts = [literal("storage"), name("torch", f"{kind}Storage"), literal(key), literal("cpu")]
    return b"(" + b"".join(parts) + literal(count) + b"tQ"


def tensor(stored: bytes, shape: Any, stride: Any, *, offset: Any = 0) -> bytes:
    """A tensor in a storage."""
    hooks = call(name("collections", "OrderedDict"))
    parts = [stored, literal(offset), literal(shape), literal(stride), literal(False), hooks]
    return call(name("torch._utils", "_rebuild_tensor_v2"), *parts)


def dictionary(entries: Mapping[str, bytes]) -> bytes:
    """A dictionary with string keys."""
    return b"}(" + b"".join(literal(key) + value for key, value in entries.items()) + b"u"


def module(
    *,
    kind: str = "Linear",
    buffers: Mapping[str, bytes] | None = None,
    children: Mapping[str, bytes] | None = None,
    attributes: Mapping[str, bytes] | None = None,
) -> bytes:
    """A module of torch."""
    state = {
        "_parameters": dictionary({}),
        "_buffers": dictionary(buffers or {}),
        "_modules": dictionary(children or {}),
        **(attributes or {}),
    }
    return name("torch.nn.modules.linear", kind) + b")\x81" + dictionary(state) + b"b"


def write(
    path: Path,
    body: bytes,
    entries: Mapping[str, bytes] | None = None,
    *,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """An archive with one pickle; ``entries`` are further files below its root folder."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{ROOT}/data.pkl", b"\x80\x02" + body + b".")
        for entry, data in (entries or {}).items():
            archive.writestr(f"{ROOT}/{entry}", data)
    return path
