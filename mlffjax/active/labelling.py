"""Labelling many structures: nothing twice, nothing lost, several processes at once.

::

    FOLDER/<settings>/settings.json      on what labels depend; one folder for each setting
    FOLDER/<settings>/<structure>.json   LabelRecord: a label, or the reason why there is none
    FOLDER/<settings>/<structure>.lock   held by the process that computes this label

The names are digests of the settings and of the structure, so labels are found again whatever
campaign, round or order asks for them. Labels of one reference are never made with two settings.

A lock belongs to an open file: the system releases it when its process ends in whatever way, and
somebody else computes the label. A failure is remembered like a label and not tried again unless
its file is deleted.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import pydantic

import mlffjax
from mlffjax import config as configuration
from mlffjax import registry
from mlffjax.active.labelers._labeler import Label, Labeler, LabelError, LabelPending, Section
from mlffjax.config import Config, by_kind, fingerprint
from mlffjax.durable import write_bytes
from mlffjax.errors import CompatibilityError, ConfigError
from mlffjax.structures.checks import structure_digest
from mlffjax.structures.system import Frame

SETTINGS = "settings.json"
PAUSE = 0.2  # s between two looks at what other processes compute


class LabellingConfig(Config):
    """The section of a labeller alone."""

    labeler: Annotated[Section, by_kind("active.labelers")]


class LabelRecord(Config):
    """Contents of a file ``<structure>.json``."""

    structure: str
    settings: str
    status: Literal["ok", "failed"]
    message: str = ""
    energy: float | None = None
    forces: tuple[tuple[float, float, float], ...] | None = None
    stress: tuple[tuple[float, float, float], ...] | None = None
    about: dict[str, Any] = {}
    source: str = ""
    """Where the geometry comes from."""
    seconds: float = 0.0
    version: str = ""
    """Of this package."""


class Labelled(NamedTuple):
    """What came of a batch."""

    frames: tuple[Frame, ...]
    """Those with labels, in the order given."""
    failures: tuple[tuple[Frame, str], ...]
    """The others, with reasons."""
    computed: int
    """Labels and failures that this process made anew."""


def label(
    frames: Sequence[Frame],
    labeler: Labeler,
    folder: Path,
    *,
    observe: Callable[[int, int], None] | None = None,
) -> Labelled:
    """Label structures, as far as that is not done.

    Several processes may be given the same folder and the same or other structures: each label is
    computed by one of them, and all get it.

    Args:
        frames: structures; labels they carry are not looked at.
        labeler: the source of labels.
        folder: where outcomes are kept; made if need be.
        observe: told how many of how many are done; what it raises ends the labelling, and what is
            done is kept.

    Raises:
        LabelPending: some are computed elsewhere; all inputs are written and everything that could
            be had is kept. The same call continues when results have arrived.
        CompatibilityError: the folder holds labels of the same reference with other settings.
    """
    place, setting = _place(labeler, folder)
    keys = [structure_digest(frame.system) for frame in frames]
    waiting, computed = list(dict.fromkeys(keys)), 0
    pending: list[str] = []
    by_key = dict(zip(keys, frames, strict=True))
    total = len(waiting)
    while waiting:
        before = len(waiting)
        for key in list(waiting):
            if read(place, key, setting) is None:
                with _claimed(place / f"{key}.lock") as mine:
                    if not mine:
                        continue
                    if read(place, key, setting) is None:  # another may have finished it just now
                        try:
                            _write(place, _computed(by_key[key], key, setting, labeler))
                            computed += 1
                        except LabelPending as error:
                            pending.append(str(error))
            waiting.remove(key)
            if observe is not None:
                observe(total - len(waiting), total)
        if len(waiting) == before:
            time.sleep(PAUSE)
    if pending:
        raise LabelPending(
            f"{len(pending)} of {total} labels are computed elsewhere and not there yet; the first "
            f"is expected in {pending[0]}. Compute them, then give the same command again"
        )
    records = [(frame, read(place, key, setting)) for frame, key in zip(frames, keys, strict=True)]
    good = tuple(_frame(f, r) for f, r in records if r is not None and r.status == "ok")
    bad = tuple((f, r.message) for f, r in records if r is not None and r.status == "failed")
    return Labelled(good, bad, computed)


def read_labeler(path: Path, overrides: Sequence[str] = ()) -> Labeler:
    """The labeller of a configuration; sections beside ``labeler`` are not looked at.

    Raises:
        ConfigError: the file is no YAML, or the section is missing or wrong.
        InputError: what the section names cannot be read.
    """
    try:
        data = configuration.plain(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as a text file: {error}") from error
    if "labeler" in data:
        data = {"labeler": data["labeler"]}
    section = configuration.assemble(data, LabellingConfig, overrides, where=str(path)).labeler
    module = registry.resolve("active.labelers", configuration.kind_of(section))
    return module.build(section, path.absolute().parent)


def read(place: Path, key: str, setting: str) -> LabelRecord | None:
    """A record, or None where there is none or it is damaged or of other settings."""
    try:
        record = LabelRecord.model_validate_json((place / f"{key}.json").read_bytes())
    except (OSError, pydantic.ValidationError):
        return None
    return record if (record.structure, record.settings) == (key, setting) else None


def _place(labeler: Labeler, folder: Path) -> tuple[Path, str]:
    """Directory of the labeller's settings, which are written there, and their digest.

    Raises:
        CompatibilityError: other settings have made labels of the same reference.
    """
    setting = fingerprint(labeler.settings)
    place = folder / setting
    reference = _reference(labeler.settings)
    for other in sorted(folder.glob(f"*/{SETTINGS}")):
        if other.parent == place or reference is None or not _has_labels(other.parent):
            continue
        if _reference(json.loads(other.read_text())) == reference:
            raise CompatibilityError(
                f"{folder}: expected labels of {reference!r} with one setting, got some with "
                f"another ({other}); labels are never mixed: give the new setting another "
                "reference, or another folder"
            )
    if not (place / SETTINGS).is_file():
        text = json.dumps(labeler.settings, indent=1, sort_keys=True) + "\n"
        write_bytes(place / SETTINGS, text.encode())
    return place, setting


def _reference(settings: Any) -> str | None:
    return settings.get("reference") if isinstance(settings, dict) else None


def _has_labels(place: Path) -> bool:
    """Whether there is a label, not only failures."""
    records = (read(place, file.stem, place.name) for file in place.glob("*.json"))
    return any(record is not None and record.status == "ok" for record in records)


def _computed(frame: Frame, key: str, setting: str, labeler: Labeler) -> LabelRecord:
    start = time.monotonic()
    outcome: dict[str, Any]
    try:
        outcome = {"status": "ok", **_plain(labeler.label(frame))}
    except LabelError as error:
        outcome = {"status": "failed", "message": str(error)}
    return LabelRecord(
        structure=key,
        settings=setting,
        source=frame.source or frame.identifier,
        seconds=time.monotonic() - start,
        version=mlffjax.__version__,
        **outcome,
    )


def _plain(found: Label) -> dict[str, Any]:
    return {
        "energy": float(found.energy),
        "forces": np.asarray(found.forces).tolist(),
        "stress": None if found.stress is None else np.asarray(found.stress).tolist(),
        "about": found.about,
    }


def _frame(frame: Frame, record: LabelRecord) -> Frame:
    """The structure with its label and where that is from; labels it carried before are gone."""
    origin = {
        "label_settings": record.settings,
        "label_program": str(record.about.get("program", "")),
        "label_geometry": record.source,
    }
    return frame._replace(
        energy=record.energy,
        forces=np.array(record.forces, np.float64).reshape(-1, 3),
        stress=None if record.stress is None else np.array(record.stress, np.float64),
        info=frame.info | {key: value for key, value in origin.items() if value},
    )


def _write(place: Path, record: LabelRecord) -> None:
    write_bytes(place / f"{record.structure}.json", record.model_dump_json(indent=1).encode())


@contextlib.contextmanager
def _claimed(path: Path) -> Iterator[bool]:
    """Hold a file for this process while the context lasts; whether that could be had."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
