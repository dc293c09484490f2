"""Images of the paths of a study, written beside its records, so that the report can show them."""

from collections.abc import Mapping
from pathlib import Path as FilePath

from mlffjax.config import Config
from mlffjax.durable import write_bytes
from mlffjax.structures import elements, geometry, paths
from mlffjax.study.records import SCHEMA, read_model

FILE = "structures.json"
DIGITS = 5  # of lengths in Å; nothing is computed from them

Vector = tuple[float, float, float]


class PathRecord(Config):
    """One path.

    Attributes:
        name: of the path in the configuration.
        symbols: chemical symbols by atom.
        radii: covalent radii by atom, Å.
        cell: lattice vectors, Å.
        pbc: which of them are periods.
        images: positions by image and atom, Å; continuous along the path, so outside the cell
            where an atom leaves it.
        arclength: by image, Å, over all 3N coordinates.
        energies: reference energies relative to the first image, eV; None without labels.
    """

    name: str
    symbols: tuple[str, ...]
    radii: tuple[float, ...]
    cell: tuple[Vector, Vector, Vector]
    pbc: tuple[bool, bool, bool]
    images: tuple[tuple[Vector, ...], ...]
    arclength: tuple[float, ...]
    energies: tuple[float, ...] | None = None


class _Records(Config):
    schema_version: int = SCHEMA
    paths: tuple[PathRecord, ...]


def write_paths(known: Mapping[str, paths.Path], out: FilePath) -> None:
    """Write the images of all paths of a study to ``structures.json``, whole or not at all."""
    records = tuple(_record(name, path) for name, path in known.items())
    write_bytes(out / FILE, (_Records(paths=records).model_dump_json() + "\n").encode())


def read_paths(out: FilePath, warnings: list[str]) -> tuple[PathRecord, ...]:
    """What ``write_paths`` wrote; nothing for studies without it.

    Args:
        out: output directory of the study.
        warnings: told about a damaged file, which counts as missing.
    """
    found = read_model(out / FILE, _Records, warnings)
    return () if found is None else found.paths


def _record(name: str, path: paths.Path) -> PathRecord:
    system, labels = path.frames[0].system, paths.energies(path)
    plain = {
        "name": name,
        "symbols": elements.symbols(system.numbers),
        "radii": geometry.radii(system.numbers).tolist(),
        "cell": system.cell.round(DIGITS).tolist(),
        "pbc": system.pbc.tolist(),
        "images": [frame.system.positions.round(DIGITS).tolist() for frame in path.frames],
        "arclength": paths.arclength(path).round(DIGITS).tolist(),
        "energies": None if labels is None else labels.round(DIGITS).tolist(),
    }
    return PathRecord.model_validate(plain)
