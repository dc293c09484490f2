"""Evaluates structures with a calculator of ASE, for a process that asks through pipes.

``client`` runs this file as a program by the interpreter of another environment: Python 3.9 or
newer with NumPy, ASE and the package of the calculator. Nothing else of mlffjax is imported, so
that none of its dependencies need be there. What both sides need, the format of messages and how a
calculator is made and asked, is here once; calculators in our own process go the same way.

A message is the four bytes ``MLFX``, the length of a header (uint32, little-endian), the header as
JSON, and the raw bytes of the arrays that the header lists. Nothing that arrives is ever run.
Requests come by what was standard input and answers go by what was standard output: both are moved
to descriptors of our own first, and what the model prints goes to standard error.

When the requests end, whoever asked is gone, whatever it died of, and this process ends at once.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import queue
import struct
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase.calculators.abc import GetPropertiesMixin
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress

MAGIC = b"MLFX"
PREFIX = struct.Struct("<4sI")
LONGEST_HEADER = 1 << 24
LARGEST_ARRAY = 1 << 33
DTYPES = ("<f8", "<i4", "|b1")
PARENT = os.path.dirname(os.path.abspath(__file__))


class ChannelError(Exception):
    """What came through the pipe is no message."""


class FactoryError(Exception):
    """There is no such calculator, or it cannot be made."""


class Found(NamedTuple):
    """What a calculator says about a structure: eV, eV/Å, eV/Å³ (ASE sign) or None."""

    energy: float
    forces: np.ndarray  # f8 [atoms, 3]
    stress: Any  # f8 [3, 3] or None


class Structure(NamedTuple):
    """Positions in Å, atomic numbers, rows of lattice vectors in Å, periodic directions."""

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray


def packed(header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """One message; arrays are of float64, int32 or bool."""
    parts = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    parts = {name: array.astype(_portable(array.dtype)) for name, array in parts.items()}
    listed = [[name, array.dtype.str, array.shape] for name, array in parts.items()]
    text = json.dumps({**header, "arrays": listed}, allow_nan=False).encode()
    return b"".join(
        [PREFIX.pack(MAGIC, len(text)), text, *(array.tobytes() for array in parts.values())]
    )


def unpacked(take: Callable[[int], bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The next message.

    Args:
        take: gives exactly so many bytes, or raises.

    Raises:
        ChannelError: something else came.
    """
    magic, length = PREFIX.unpack(take(PREFIX.size))
    if magic != MAGIC or length > LONGEST_HEADER:
        raise ChannelError(f"expected a message, got bytes that begin with {magic!r}")
    try:
        header = json.loads(take(length))
        listed = [(str(n), np.dtype(_known(d)), tuple(map(int, s))) for n, d, s in header["arrays"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ChannelError(f"expected the header of a message: {error}") from error
    arrays = {}
    for name, dtype, shape in listed:
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if min(shape, default=0) < 0 or size > LARGEST_ARRAY:
            raise ChannelError(f"expected arrays of a sensible size, got {name} of shape {shape}")
        arrays[name] = np.frombuffer(take(size), dtype).reshape(shape)
    return header, arrays


def make(factory: str, arguments: Mapping[str, Any]) -> Any:
    """The calculator of ``package.module:Class`` or ``package.module:Class.method``.

    Raises:
        FactoryError: there is no such class, it is none of calculators, or it refuses the
            arguments.
    """
    module, _, name = factory.partition(":")
    try:
        parts = [importlib.import_module(module)]
        for attribute in name.split("."):
            parts.append(getattr(parts[-1], attribute))
    except (ImportError, AttributeError) as error:
        raise FactoryError(
            f"cannot find the factory {factory!r}: {type(error).__name__}: {error}; install its "
            "package, or correct the name 'package.module:Class'"
        ) from error
    owner: Any = parts[-1] if isinstance(parts[-1], type) else parts[-2]
    if not _makes_calculators(owner) or not (
        parts[-1] is owner or getattr(parts[-1], "__self__", None) is owner
    ):
        raise FactoryError(
            f"expected the factory {factory!r} to be a class of ASE calculators or a class method "
            f"of one, got {parts[-1]!r}; functions are not called, so that no configuration can "
            "run arbitrary code"
        )
    called: Any = parts[-1]
    try:
        return called(**_with_network(factory, arguments))
    except Exception as error:  # constructors of others raise anything
        raise FactoryError(
            f"{factory} refused its arguments {json.dumps(dict(arguments))}: "
            f"{type(error).__name__}: {error}"
        ) from error


def evaluate(calculator: Any, structure: Structure, *, derivatives: bool, stress: bool) -> Found:
    """Ask a calculator about one structure.

    Args:
        calculator: of ASE.
        structure: what to ask about.
        derivatives: whether forces are wanted; they are zero otherwise.
        stress: whether the stress is wanted, where all directions are periodic.

    Raises:
        ValueError: the calculator gives forces or a stress of another shape.
    """
    atoms = ase.Atoms(**structure._asdict())
    atoms.calc = calculator
    # Some calculators compute everything again for every question: forces first.
    forces = atoms.get_forces() if derivatives else np.zeros((len(atoms), 3))
    consistent = "free_energy" in getattr(calculator, "implemented_properties", ())
    energy = np.asarray(atoms.get_potential_energy(force_consistent=consistent), np.float64)
    tensor = None
    if stress and structure.pbc.all():
        try:
            tensor = np.asarray(voigt_6_to_full_3x3_stress(atoms.get_stress()), np.float64)
        except (NotImplementedError, PropertyNotImplementedError):
            tensor = None
    forces = np.asarray(forces, np.float64)
    _require_shape("an energy", energy.reshape(-1), (1,))
    _require_shape("forces", forces, (len(atoms), 3))
    return Found(float(energy.reshape(())), forces, tensor)


def program(factory: str) -> dict[str, str]:
    """Versions of what computes: the calculator's package, ASE and Python."""
    package = factory.partition(":")[0].partition(".")[0]
    names = getattr(importlib.metadata, "packages_distributions", dict)()  # not in Python 3.9
    found = {"python": platform.python_version(), "ase": ase.__version__}
    for name in names.get(package, [package])[:1]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def questions(structures: Sequence[Structure]) -> dict[str, np.ndarray]:
    """Arrays of a request: all structures, their atoms one after the other."""
    return {
        "counts": np.array([len(one.numbers) for one in structures], np.int32),
        "positions": np.concatenate([one.positions for one in structures]),
        "numbers": np.concatenate([one.numbers for one in structures]),
        "cell": np.stack([one.cell for one in structures]),
        "pbc": np.stack([one.pbc for one in structures]),
    }


def serve() -> None:
    """Answer requests until there are no more."""
    requests, answers = _own_pipes()
    waiting: Any = queue.Queue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    calculator = None
    while True:
        header, arrays = waiting.get()
        results: dict[str, np.ndarray] = {}
        try:
            if header["do"] == "make":
                calculator = make(header["factory"], header["arguments"])
                reply = {"ok": True, "program": program(header["factory"])}
            else:
                reply, results = _answered(calculator, header, arrays)
        except FactoryError as error:
            reply = {"ok": False, "message": str(error)}
        _write(answers, packed(reply, results))


def _answered(
    calculator: Any, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Energies, forces and stresses of all structures; or which one failed, and how."""
    bounds = np.cumsum([0, *arrays["counts"]])
    found = []
    for index in range(len(arrays["counts"])):
        own = slice(bounds[index], bounds[index + 1])
        # Copies: arrays of messages cannot be written to, and calculators may try.
        structure = Structure(
            arrays["positions"][own].copy(),
            arrays["numbers"][own].copy(),
            arrays["cell"][index].copy(),
            arrays["pbc"][index].copy(),
        )
        wanted = {name: bool(header[name]) for name in ("derivatives", "stress")}
        try:
            found.append(evaluate(calculator, structure, **wanted))
        except (Exception, SystemExit) as error:  # programs of others raise anything
            return {"ok": False, "index": index, "message": f"{type(error).__name__}: {error}"}, {}
    nothing = np.full((3, 3), np.nan)
    return {"ok": True}, {
        "energy": np.array([one.energy for one in found]),
        "forces": np.concatenate([one.forces for one in found]),
        "stress": np.stack([nothing if one.stress is None else one.stress for one in found]),
        "has_stress": np.array([one.stress is not None for one in found]),
    }


def _own_pipes() -> tuple[int, int]:
    """Descriptors of requests and answers that nobody else here reads or writes."""
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    return requests, answers


def _listen(requests: int, waiting: Any) -> None:
    """Pass requests on; end this process, in the middle of whatever it does, when they end."""

    def take(count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = os.read(requests, min(count - len(data), 1 << 20))
            if not chunk:
                os._exit(0)
            data += chunk
        return bytes(data)

    while True:
        try:
            waiting.put(unpacked(take))
        except ChannelError as error:
            sys.stderr.write(f"{error}\n")
            os._exit(1)


def _write(answers: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(answers, rest) :]


def _makes_calculators(owner: Any) -> bool:
    """Whether it is a class whose instances ASE accepts as calculators."""
    return isinstance(owner, type) and issubclass(owner, GetPropertiesMixin)


def _with_network(factory: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments; where Orb's calculator wants a network, ``model`` may name a published one.

    The other calculators we know take names or files; Orb's takes objects only, which a
    configuration cannot hold. Newer versions return an adapter beside the network.
    """
    made = dict(arguments)
    if factory.startswith("orb_models.") and isinstance(made.get("model"), str):
        published = importlib.import_module("orb_models.forcefield.pretrained")
        choices = {name: made.pop(name) for name in ("precision", "compile") if name in made}
        loaded = published.ORB_PRETRAINED_MODELS[made["model"]](
            device=made.get("device"), **choices
        )
        network, *adapter = loaded if isinstance(loaded, tuple) else (loaded,)
        made["model"] = network
        if adapter:
            made["atoms_adapter"] = adapter[0]
    return made


def _require_shape(what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"expected {what} of shape {shape}, got {array.shape}")


def _portable(dtype: Any) -> str:
    return "|b1" if dtype.kind == "b" else "<i4" if dtype.kind in "iu" else "<f8"


def _known(dtype: Any) -> str:
    if dtype not in DTYPES:
        raise ValueError(f"expected one of {DTYPES}, got {dtype!r}")
    return dtype


if __name__ == "__main__":
    # The folder of this file comes first on the path of a program; nothing of it may be found
    # under the name of somebody's package.
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != PARENT]
    serve()
