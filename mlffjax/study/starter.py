"""A first configuration for a user's own frames: what to choose, and why, written beside it.

``draft`` reads the frames, the paths and the foundation, chooses cutoff, splits, reference
energies, runs and probes by the rules stated in the comments of the text it returns, and checks
that a study accepts the result. ``study.starter_text`` holds the words.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlffjax import config as configuration
from mlffjax.durable import write_bytes
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.pathways.interpolate import idpp, linear
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.structures import datasets, paths
from mlffjax.structures.checks import is_isolated
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.geometry import minimum_image
from mlffjax.structures.splits import SplitConfig, split
from mlffjax.structures.survey import Survey, label_keys, survey
from mlffjax.structures.system import Frame
from mlffjax.study import starter_text
from mlffjax.study.config import StudyConfig
from mlffjax.study.plan import make_plan
from mlffjax.study.starter_text import Choices, PathFile

GENERALIST = "bundled:generalist"
NEAREST = 2.0  # cutoff over the distance to the nearest neighbour
CUTOFFS = (5.0, 6.0)  # Å, the least and the largest that are chosen
SAME = 1e-3  # Å, cells of two ends


class Wishes(NamedTuple):
    """What the user said; everything else is chosen.

    Attributes:
        files: of frames, as ``DataConfig.files``, relative to the working directory.
        out: the configuration to write.
        paths: files with the images of a path each.
        ends: two files whose last frames are the ends of a path.
        images: of the path between them, ends included.
        foundation: directory of a stored potential or ``bundled:``; None: the bundled generalist if
            it knows the elements; empty: none.
        size: of the model to train where no foundation sets it.
        reference: the method that labelled the frames.
        functional: its exchange-correlation functional.
    """

    files: tuple[str, ...]
    out: Path
    paths: tuple[str, ...] = ()
    ends: tuple[str, str] | None = None
    images: int = 7
    foundation: str | None = None
    size: str = "small"
    reference: str | None = None
    functional: str | None = None


class Draft(NamedTuple):
    """What to write, and what to tell the user."""

    text: str
    images: dict[Path, list[Frame]]
    """Paths between two ends, by the file they go to."""
    survey: Survey
    labels: tuple[str, ...]
    """Names that labels were read from, in the files."""
    notes: tuple[str, ...]


def draft(wishes: Wishes) -> Draft:
    """Choose and word a configuration; nothing is written.

    Raises:
        InputError: frames, paths or ends cannot be used.
        CompatibilityError: the foundation does not know an element.
        ConfigError: there is no such foundation.
    """
    here, folder = Path.cwd(), wishes.out.absolute().parent
    frames = _frames(wishes.files, here)
    found = survey(frames)
    learned = [frame for frame in frames if not is_isolated(frame)]
    splits = _splits(found)
    parts = split(learned, splits)
    images, named = _paths(wishes, here, folder)
    foundation, card, notes = _foundation(wishes, found, here, folder)
    cutoff = float(card.model["r_max"]) if card and "r_max" in card.model else _cutoff(found)
    choices = Choices(
        name=wishes.out.stem,
        files=tuple(_moved(text, here, folder) for text in wishes.files),
        reference=wishes.reference,
        functional=wishes.functional,
        survey=found,
        splits=splits,
        train=len(parts.train),
        foundation=foundation,
        architecture=card.model if card and card.model.get("kind") == "mace" else None,
        cutoff=cutoff,
        neighbors=_neighbors(learned, cutoff),
        size=wishes.size,
        paths=named,
    )
    text = starter_text.write(choices)
    files = datasets.expand(wishes.files, here)
    labels = tuple(dict.fromkeys(name for file in files for name in label_keys(file)[0]))
    return Draft(text, images, found, labels, (*notes, *starter_text.notes(choices)))


def write(drafted: Draft, out: Path, *, force: bool = False) -> tuple[str, ...]:
    """Write the configuration and its paths, and have a study plan it.

    Args:
        drafted: what to write.
        out: the configuration.
        force: whether to replace files that exist.

    Returns:
        Warnings of the plan.

    Raises:
        InputError: a file exists and must not be replaced, or the plan refuses the data; the
            configuration is not written then.
        CompatibilityError: foundation and data do not belong together.
    """
    for path in (out, *drafted.images):
        require_new(path, force=force)
    new = [path for path in drafted.images if not path.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        for path, frames in drafted.images.items():
            write_frames(path, frames)
        config = configuration.parse(drafted.text, StudyConfig, where=str(out))
        plan = make_plan(config, out.absolute().parent)
        write_bytes(out, drafted.text.encode())
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise
    return plan.warnings


def require_new(path: Path, *, force: bool) -> None:
    """Refuse to replace a file unless that is wanted.

    Raises:
        InputError: the file exists.
    """
    if path.is_dir() or (path.exists() and not force):
        raise InputError(f"{path} exists already; name another file, or give --force")


def told(drafted: Draft) -> tuple[str, ...]:
    """What was found in the files, in words."""
    found = drafted.survey
    labels = ", ".join(drafted.labels) or "none"
    kinds = ", ".join(
        f"{kind} {count}"
        + (f" ({found.temperatures[kind]:g} K)" if kind in found.temperatures else "")
        for kind, count in found.kinds.items()
    )
    return (
        f"{found.frames} frames of {', '.join(found.elements)}; labels read from {labels}",
        f"kinds: {kinds}",
        f"isolated atoms: {', '.join(found.isolated) or 'none'}; nearest neighbours "
        f"{found.spacing:.2f} Å apart",
    )


def _frames(files: Sequence[str], base: Path) -> list[Frame]:
    """All frames, as a study would read them; names that are not read help to explain a refusal."""
    config = datasets.DataConfig(files=tuple(files), reference="unknown", functional="unknown")
    try:
        datasets.load(config, base)
    except InputError as error:
        if "expected a label" not in str(error):
            raise
        found = {name for path in datasets.expand(files, base) for name in label_keys(path)[1]}
        hint = f"; the files have {', '.join(sorted(found))}, which are not read" if found else ""
        raise InputError(f"{error}{hint}") from error
    expanded = datasets.expand(files, base)
    labels = datasets.file_labels(expanded)
    return [
        frame
        for path, label in zip(expanded, labels, strict=True)
        for frame in read_frames(path, label=label)
    ]


def _splits(found: Survey) -> SplitConfig:
    """Fewer frames leave more to validation, which else would be one or two."""
    return SplitConfig(validation=0.2 if found.frames < 50 else 0.1, test=0.2)


def _cutoff(found: Survey) -> float:
    """Å; a multiple of the shortest distances, in steps of half an Å."""
    wanted = round(2 * NEAREST * found.spacing) / 2
    return float(min(max(wanted, CUTOFFS[0]), CUTOFFS[1]))


def _neighbors(frames: Sequence[Frame], cutoff: float) -> float:
    """Mean number of neighbours in the first, middle and last structure."""
    chosen = {0, len(frames) // 2, len(frames) - 1}
    masks = [neighbors_within(frames[index].system, cutoff).mask for index in chosen]
    return sum(int(mask.sum()) for mask in masks) / sum(len(mask) for mask in masks)


def _paths(
    wishes: Wishes, here: Path, folder: Path
) -> tuple[dict[Path, list[Frame]], tuple[PathFile, ...]]:
    """Images to be written, and all paths of the study."""
    images: dict[Path, list[Frame]] = {}
    named: list[PathFile] = []
    for text in wishes.paths:
        file = configuration.resolve_path(text, here)
        path, closed = _read(file)
        labelled = paths.energies(path) is not None
        named.append(PathFile(_name(file.stem), _moved(text, here, folder), closed, labelled))
    if wishes.ends is not None:
        target = wishes.out.with_name(f"{wishes.out.stem}_path.extxyz")
        images[target] = _between(*wishes.ends, wishes.images, here)
        named.append(PathFile("path", target.name, closed=False, labelled=False))
    names = [path.name for path in named]
    if len(set(names)) < len(names):
        raise InputError(f"expected files of paths with different names, got {', '.join(names)}")
    return images, tuple(named)


def _read(file: Path) -> tuple[paths.Path, bool]:
    """A path, and whether its end is its beginning up to lattice vectors."""
    path = paths.read_path(file, file.stem)
    try:
        return paths.read_path(file, file.stem, closed=True), True
    except InputError:
        return path, False


def _name(stem: str) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in stem)
    return kept if kept[0].isalnum() else f"path{kept}"


def _between(first: str, last: str, images: int, here: Path) -> list[Frame]:
    """Unlabelled images between the last frames of two files, along the shortest displacements."""
    start, end = (read_frames(configuration.resolve_path(t, here))[-1] for t in (first, last))
    one, other = start.system, end.system
    if not np.array_equal(one.numbers, other.numbers) or not np.array_equal(one.pbc, other.pbc):
        raise InputError(
            f"{end.source}: expected the atoms of {start.source}, in the same order and with the "
            "same periodic directions; write both ends from one list of atoms"
        )
    if abs(one.cell - other.cell).max() > SAME:
        raise InputError(f"{end.source}: expected the cell of {start.source}, got another")
    step = minimum_image(other.positions - one.positions, one.cell, one.pbc)
    if np.linalg.norm(step, axis=1).max() < SAME:
        raise InputError(f"{end.source}: expected another structure than {start.source}")
    places = idpp(linear(one.positions, step, images), one.cell, one.pbc)
    source = f"between {Path(first).name} and {Path(last).name}"
    return [
        Frame(one._replace(positions=place), None, None, None, "path", "path", float(index),
              f"path:{index}", source, {"image": index})
        for index, place in enumerate(places)
    ]  # fmt: skip


def _foundation(
    wishes: Wishes, found: Survey, here: Path, folder: Path
) -> tuple[str | None, Card | None, tuple[str, ...]]:
    """Its place for the configuration, its card, and notes."""
    if wishes.foundation == "":
        return None, None, ()
    text = wishes.foundation or GENERALIST
    card = store.load_card(configuration.resolve_path(text, here))
    unknown = [symbol for symbol in found.elements if symbol not in card.elements]
    if not unknown:
        return _moved(text, here, folder), card, ()
    if wishes.foundation:
        raise CompatibilityError(
            f"the foundation {card.name!r} knows {', '.join(card.elements)}, but the frames have "
            f"{', '.join(unknown)} too; convert one that knows them (mlffjax convert), or leave "
            "--foundation out to train from scratch only"
        )
    note = (
        f"no foundation: the bundled generalist does not know {', '.join(unknown)}; name one with "
        "--foundation (`mlffjax convert` makes one of a published MACE) to compare with fine-tuning"
    )
    return None, None, (note,)


def _moved(text: str, here: Path, folder: Path) -> str:
    """A path or pattern relative to ``here``, as seen from ``folder``."""
    if text.startswith(configuration.BUNDLED) or Path(text).expanduser().is_absolute():
        return text
    return Path(os.path.relpath(here / Path(text).expanduser(), folder)).as_posix()
