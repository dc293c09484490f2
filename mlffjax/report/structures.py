"""Structures along the paths of a study: what the viewer of the page draws, and the same as XYZ."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mlffjax.study.path_records import PathRecord, Vector, read_paths
from mlffjax.study.records import StudyRecords

LARGEST = 40_000  # places of atoms per path; more would make the page slow and hard to mail
# Okabe and Ito, see style; light ones first, because black symbols stand on them.
COLORS = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")
GOLDEN = 137.5  # degrees; hues of further elements, far from those before
DIGITS = 3


class Structure(NamedTuple):
    """Images of one path in a viewer.

    Attributes:
        key: name of files and anchors.
        alt: what a screen reader says.
        kinds: ``symbol``, ``radius`` (Å) and ``color`` by element.
        elements: index into ``kinds`` by atom.
        cell: Å, rows are the lattice vectors.
        pbc: which of them are periods.
        images: positions, Å.
        labels: what is said of each image.
        xyz: the same as extended XYZ.
    """

    key: str
    title: str
    caption: str
    alt: str
    kinds: tuple[Mapping[str, Any], ...]
    elements: tuple[int, ...]
    cell: tuple[Vector, ...]
    pbc: tuple[bool, ...]
    images: tuple[tuple[Vector, ...], ...]
    labels: tuple[str, ...]
    xyz: str


def blocks(study: StudyRecords) -> tuple[Structure, ...]:
    """One viewer per path; an element has one colour in all of them."""
    records = read_paths(study.directory, [])
    symbols = sorted({symbol for record in records for symbol in record.symbols})
    colors = {symbol: _color(place) for place, symbol in enumerate(symbols)}
    return tuple(
        _structure(f"structure-{place}", record, colors)
        for place, record in enumerate(records, start=1)
        if len(record.symbols) <= LARGEST
    )


def damage(study: StudyRecords) -> tuple[str, ...]:
    """What could not be read or is too large to show."""
    said: list[str] = []
    large = [r.name for r in read_paths(study.directory, said) if len(r.symbols) > LARGEST]
    return (*said, *(f"Path {name} has too many atoms to be drawn here." for name in large))


def describe(structure: Structure) -> dict[str, Any]:
    """What the viewer reads."""
    return {
        "kinds": structure.kinds,
        "elements": structure.elements,
        "cell": structure.cell,
        "pbc": structure.pbc,
        "images": [_rounded(image) for image in structure.images],
        "labels": structure.labels,
    }


def _structure(key: str, record: PathRecord, colors: Mapping[str, str]) -> Structure:
    shown = _shown(len(record.images), len(record.symbols))
    present = tuple(sorted(set(record.symbols)))
    radius = dict(zip(record.symbols, record.radii, strict=True))
    thinned = ""
    if len(shown) < len(record.images):
        thinned = (
            f" {len(shown)} of {len(record.images)} images are shown, to keep this page small."
        )
    return Structure(
        key=key,
        title=f"Path {record.name}",
        caption=(
            "Atoms with a bit more than half their covalent radius; lines are the edges of the "
            "cell, and black lines the tracks of the few atoms that move most. Atoms that cross a "
            "face of the cell are shown outside. Drag to turn, hold Ctrl and use the wheel to zoom "
            "and double-click to start again; on the keyboard, arrows turn and + and − zoom."
            + thinned
        ),
        alt=f"Path {record.name}: {len(record.symbols)} atoms of {', '.join(present)} in "
        f"{len(record.images)} images. The positions are in the XYZ file below.",
        kinds=tuple({"symbol": s, "radius": radius[s], "color": colors[s]} for s in present),
        elements=tuple(present.index(symbol) for symbol in record.symbols),
        cell=record.cell,
        pbc=record.pbc,
        images=tuple(record.images[image] for image in shown),
        labels=tuple(_label(record, image) for image in shown),
        xyz="".join(_xyz(record, image) for image in shown),
    )


def _shown(images: int, atoms: int) -> tuple[int, ...]:
    """Images, evenly spaced and with both ends, as many as ``LARGEST`` allows; at least one."""
    count = min(images, max(1, LARGEST // atoms))
    if count == 1:
        return (0,)
    return tuple(round(place * (images - 1) / (count - 1)) for place in range(count))


def _label(record: PathRecord, image: int) -> str:
    energy = "" if record.energies is None else f", reference {record.energies[image]:+z.3f} eV"
    place = f"{record.arclength[image]:.2f} Å along the path"
    return f"{image + 1} of {len(record.images)}: {place}{energy}"


def _xyz(record: PathRecord, image: int) -> str:
    """One image as extended XYZ; its energy is relative, so it is not called ``energy``."""
    lattice = " ".join(f"{value:.5f}" for vector in record.cell for value in vector)
    periods = " ".join("T" if period else "F" for period in record.pbc)
    head = f'Lattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="{periods}" image={image}'
    if record.energies is not None:
        head += f" relative_energy={record.energies[image]:.5f}"
    atoms = (
        f"{symbol} {x:.5f} {y:.5f} {z:.5f}"
        for symbol, (x, y, z) in zip(record.symbols, record.images[image], strict=True)
    )
    return "\n".join((str(len(record.symbols)), head, *atoms, ""))


def _color(place: int) -> str:
    """The colour of an element by its place among all of the study."""
    return COLORS[place] if place < len(COLORS) else f"hsl({GOLDEN * place % 360:.0f} 60% 60%)"


def _rounded(image: Sequence[Vector]) -> list[list[float]]:
    return [[round(value, DIGITS) for value in place] for place in image]
