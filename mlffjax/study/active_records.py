"""What an active-learning campaign leaves on disk.

::

    OUT/
      study.json                       StudyInfo without runs, for the report
      campaign.json                    CampaignInfo: all rounds so far, how arms ended
      labels/                          outcomes of calculations (active.labelling)
      start/s<seed>/                   round 0, which all arms share: a study
      rounds/<arm>/s<seed>/<number>/   a later round: a study, and
        chosen-<n>.json, .xyz          what was chosen; more than one if all calculations failed
        frames.xyz                     all labelled frames, each with its part
      report.html
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlffjax.config import Config
from mlffjax.errors import InputError
from mlffjax.study.records import SCHEMA, StudyRecords, mean_and_std, read_model

FILE = "campaign.json"
MARK = "arms"
"""Entry of the configuration that tells a campaign from a study."""


class Pick(Config):
    """A structure that was chosen."""

    name: str
    source: str
    score: float | None = None


class Failure(Config):
    """A structure without a label."""

    name: str
    source: str
    reason: str


class Choice(Config):
    """Contents of ``chosen-<n>.json``."""

    schema_version: int = SCHEMA
    fingerprint: str
    """Of the models, candidates and settings it depends on."""
    candidates: int
    """All that were proposed."""
    dropped: dict[str, int]
    """Candidates that were not considered, by reason."""
    picks: tuple[Pick, ...]
    notes: tuple[str, ...] = ()


class Round(Config):
    """One training of a committee, and what led to it."""

    arm: str
    seed: int
    number: int
    """0 is the training with the first frames."""
    study: str
    """Directory of its study, relative to that of the campaign."""
    frames: int
    """Trained on."""
    labels: int
    """Added since the beginning."""
    asked: int
    """Calculations since the beginning, failed ones included."""
    choices: tuple[Choice, ...] = ()
    failures: tuple[Failure, ...] = ()
    members: int
    """Potentials that training gave."""
    lost: tuple[str, ...] = ()
    """Trainings and probes that gave nothing, with reasons."""
    values: dict[str, dict[str, float]] = {}
    """Mean over members of what probes measured: probe, metric."""
    spreads: dict[str, dict[str, float]] = {}
    """Sample standard deviation over members; none for one member."""
    seconds: float = 0.0
    """Wall time of the trainings."""


class End(Config):
    """How an arm ended for one seed, or where it stands."""

    arm: str
    seed: int
    status: Literal["settled", "budget", "exhausted", "waiting", "failed"]
    reason: str


class CampaignInfo(Config):
    """Contents of ``campaign.json``."""

    schema_version: int = SCHEMA
    name: str
    config: dict[str, Any]
    rounds: tuple[Round, ...] = ()
    ends: tuple[End, ...] = ()

    def waiting(self) -> tuple[str, ...]:
        """One line for every arm that waits for labels."""
        return tuple(_said(end) for end in self.ends if end.status == "waiting")

    def failures(self) -> tuple[str, ...]:
        """One line for everything that should have worked and did not."""
        lines = [_said(end) for end in self.ends if end.status == "failed"]
        for one in self.rounds:
            place = f"{one.arm}, seed {one.seed}, round {one.number}"
            lines += [f"{place}: no label for {f.name}: {f.reason}" for f in one.failures]
            lines += [f"{place}: {text}" for text in one.lost]
        return tuple(dict.fromkeys(lines))

    def notes(self) -> tuple[str, ...]:
        """What a reader must know beside."""
        lines = [_said(end) for end in self.ends if end.status == "exhausted"]
        for one in self.rounds:
            place = f"{one.arm}, seed {one.seed}, round {one.number}"
            lines += [f"{place}: {note}" for choice in one.choices for note in choice.notes]
        return tuple(dict.fromkeys(lines))

    def problems(self) -> tuple[str, ...]:
        """All of these, the gravest first."""
        return (*self.failures(), *self.waiting(), *self.notes())


def _said(end: End) -> str:
    return f"{end.arm}, seed {end.seed}: {end.status}: {end.reason}"


def measured(records: StudyRecords) -> dict[str, Any]:
    """What a round's study says of its committee, as entries of ``Round``."""
    good = [run for run in records.runs if run.info.status == "ok"]
    values: dict[str, dict[str, float]] = {}
    spreads: dict[str, dict[str, float]] = {}
    for probe in records.probes():
        names = dict.fromkeys(m for r in good if probe in r.probes for m in r.probes[probe].metrics)
        for metric in names:
            if "/" in metric:  # a part of the frames
                continue
            mean, spread, _ = mean_and_std(run.metric(probe, metric) for run in good)
            if mean is not None:
                values.setdefault(probe, {})[metric] = mean
            if spread is not None:
                spreads.setdefault(probe, {})[metric] = spread
    return {
        "members": len(good),
        "lost": records.failures(),
        "values": values,
        "spreads": spreads,
        "frames": max((run.info.frames.get("train", 0) for run in good), default=0),
        "seconds": float(np.sum([run.info.seconds for run in good])),
    }


def load_campaign(out: Path) -> CampaignInfo:
    """Read ``campaign.json``.

    Raises:
        InputError: there is none that can be read.
    """
    problems: list[str] = []
    info = read_model(out / FILE, CampaignInfo, problems)
    if info is None:
        raise InputError(
            f"{out}: expected the output of a campaign, found no usable {FILE} "
            f"({'; '.join(problems) or 'no such file'}); run 'mlffjax active CONFIG --out DIR' "
            "first"
        )
    return info
