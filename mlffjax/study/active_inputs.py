"""What a campaign begins with, read and checked, and the file of frames of each round."""

from collections.abc import Sequence
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np

from mlffjax import config as configuration
from mlffjax.active.acquisition import place_digest
from mlffjax.active.labelers._labeler import Labeler
from mlffjax.errors import InputError
from mlffjax.registry import resolve
from mlffjax.structures import datasets
from mlffjax.structures.datasets import Dataset
from mlffjax.structures.files import write_frames
from mlffjax.structures.paths import Path, read_path
from mlffjax.structures.selection import select
from mlffjax.structures.splits import ENTRY, Split, split
from mlffjax.structures.system import Frame, System
from mlffjax.study.active_config import CampaignConfig
from mlffjax.study.plan import path_digest

HELD_OUT = "it is an image of a path that is held out"
KEPT = "it is a frame of the validation or test part"
FAILED = "its calculation failed before"


class Inputs(NamedTuple):
    """Everything read and checked."""

    dataset: Dataset
    parts: Split
    free: dict[str, Path]
    """Paths that candidates may be taken from."""
    closed: dict[str, str]
    """Why a structure must not become a candidate, by its digest."""
    labeler: Labeler
    identity: str
    """Of data, paths and labeller."""
    notes: tuple[str, ...]

    def beginning(self, config: CampaignConfig, seed: int) -> list[Frame]:
        """Training frames that have labels from the beginning.

        Raises:
            InputError: none is left, or the selection cannot be made.
        """
        section = config.start.model_copy(update={"seed": config.start.seed + seed})
        frames = self.dataset.frames
        allowed = [
            i for i in self.parts.train if self.closed.get(place_digest(frames[i].system)) is None
        ]
        if not allowed:
            raise InputError("start: expected training frames, but all are held out")
        try:
            return [frames[i] for i in select(frames, allowed, section)]
        except InputError as error:
            raise InputError(f"start: {error}") from error


def read_inputs(config: CampaignConfig, base: FilePath) -> Inputs:
    """Read data, paths and labeller; nothing is computed.

    Args:
        config: the campaign.
        base: directory that its relative paths start from.

    Raises:
        ConfigError: a file is not there, or the labeller cannot be used.
        InputError: data or paths cannot be used, or the beginning is empty.
    """
    dataset = datasets.load(config.data, base)
    parts = split(dataset.frames, config.splits)
    paths: dict[str, Path] = {}
    for name, one in config.paths.items():
        file = configuration.resolve_path(one.file, base)
        if file.is_file() or not one.optional:
            paths[name] = read_path(file, name, closed=one.closed, unwrap=one.unwrap)
    kind = resolve("active.labelers", configuration.kind_of(config.labeler))
    labeler = kind.build(config.labeler, base)
    images = {f.identifier: f for n in config.held_out if n in paths for f in paths[n].frames}
    closed = {place_digest(frame.system): HELD_OUT for frame in images.values()}
    for index in (*parts.validation, *parts.test):
        closed.setdefault(place_digest(dataset.frames[index].system), KEPT)
    identity = configuration.fingerprint(
        dataset.digest,
        {name: path_digest(path) for name, path in paths.items()},
        labeler.settings,
        [list(part) for part in parts],
        list(config.held_out),
    )
    free = {name: path for name, path in paths.items() if name not in config.held_out}
    notes = tuple(_shared(free, closed))
    inputs = Inputs(dataset, parts, free, closed, labeler, identity, notes)
    for seed in config.seeds:
        inputs.beginning(config, seed)
    return inputs


def _shared(free: dict[str, Path], closed: dict[str, str]) -> list[str]:
    """Images of open paths that are images of closed ones too, such as common ends."""
    notes = []
    for name, path in free.items():
        count = sum(closed.get(place_digest(f.system)) == HELD_OUT for f in path.frames)
        if count:
            notes.append(
                f"path {name!r} shares {count} image(s) with paths that are held out; they are no "
                "candidates"
            )
    return notes


def open_candidates(
    candidates: Sequence[Frame], inputs: Inputs, failed: Sequence[Frame]
) -> tuple[list[Frame], dict[str, int]]:
    """The candidates that may be labelled, and how many may not, by reason."""
    closed = inputs.closed | {place_digest(frame.system): FAILED for frame in failed}
    left: list[Frame] = []
    dropped: dict[str, int] = {}
    for frame in candidates:
        reason = closed.get(place_digest(frame.system))
        if reason is None:
            left.append(frame)
        else:
            dropped[reason] = dropped.get(reason, 0) + 1
    return left, dropped


def write_round(
    config: CampaignConfig, inputs: Inputs, seed: int, new: Sequence[Frame], file: FilePath
) -> None:
    """Write all frames of a round, each with its part, and the free atoms."""
    frames = inputs.dataset.frames
    marked = [_marked(frame, "train") for frame in (*inputs.beginning(config, seed), *new)]
    marked += [_marked(frames[index], "validation") for index in inputs.parts.validation]
    marked += [_marked(frames[index], "test") for index in inputs.parts.test]
    marked += [_atom(*pair) for pair in inputs.dataset.isolated.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    write_frames(file, marked)


def _marked(frame: Frame, part: str) -> Frame:
    """With its part, and where its label is from if it was made here."""
    kept = {key: value for key, value in frame.info.items() if key.startswith("label_")}
    return frame._replace(info={ENTRY: part, **kept})


def _atom(number: int, energy: float) -> Frame:
    system = System(
        np.zeros((1, 3)), np.array([number], np.int32), np.zeros((3, 3)), np.zeros(3, bool)
    )
    name = f"free_{number}"
    return Frame(system, energy, np.zeros((1, 3)), None, "IsolatedAtom", name, 0.0, name, "", {})
