"""Active learning: probe, choose, label, train, probe again, until the barrier settles.

Every round is a study of its own over a growing file of frames, so training, probes, records and
resuming are those of studies. What a round chose is written before it is labelled, and labels are
kept by structure and settings: a campaign that is killed anywhere, or that waits for labels of
another program, goes on to the same result.
"""

import dataclasses
import datetime
import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlffjax import config as configuration
from mlffjax import trees
from mlffjax.active.acquisition import Acquired, NothingLeft, acquire
from mlffjax.active.candidates._candidates import Given
from mlffjax.active.labelers._labeler import LabelPending
from mlffjax.active.labelling import label
from mlffjax.errors import InputError
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.registry import resolve
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.system import Frame
from mlffjax.study.active_config import Arm, CampaignConfig, round_study
from mlffjax.study.active_inputs import Inputs, open_candidates, read_inputs, write_round
from mlffjax.study.active_records import (
    FILE,
    MARK,
    CampaignInfo,
    Choice,
    End,
    Failure,
    Pick,
    Round,
    measured,
)
from mlffjax.study.evaluate import surroundings
from mlffjax.study.execute import execute
from mlffjax.study.lock import locked
from mlffjax.study.progress import Event, Observe
from mlffjax.study.records import SCHEMA, StudyInfo, StudyRecords, read_model, write_json


class _Ended(Exception):  # not an error: how an arm leaves its loop
    """An arm is at its end."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class _Batch(NamedTuple):
    """What one round adds."""

    frames: tuple[Frame, ...] = ()
    choices: tuple[Choice, ...] = ()
    failed: tuple[tuple[Frame, str], ...] = ()


class _Site(NamedTuple):
    """Where a campaign happens."""

    config: CampaignConfig
    inputs: Inputs
    base: Path
    out: Path
    observe: Observe | None
    restart: bool


@dataclasses.dataclass
class _Lane:
    """One arm with one seed, as far as it is."""

    arm: str
    seed: int
    rounds: list[Round] = dataclasses.field(default_factory=list)
    new: list[Frame] = dataclasses.field(default_factory=list)
    failed: list[Frame] = dataclasses.field(default_factory=list)

    def folder(self, out: Path) -> Path:
        """Of the next round; arms begin with the same frames, so they share their first one."""
        if not self.rounds:
            return out / "start" / f"s{self.seed}"
        return out / "rounds" / self.arm / f"s{self.seed}" / f"{len(self.rounds):02d}"


def campaign(
    config: CampaignConfig,
    base: Path,
    out: Path,
    *,
    observe: Observe | None = None,
    restart: bool = False,
) -> CampaignInfo:
    """Do what is not yet done of a campaign.

    Args:
        config: what to do.
        base: directory that its relative paths start from.
        out: output directory; see ``active_records``.
        observe: told about progress of the trainings, as by ``execute``.
        restart: begin trainings that were interrupted again instead of continuing them.

    Returns:
        All rounds, and how the arms ended; those that wait for labels are ``waiting``.

    Raises:
        ConfigError, CompatibilityError: as ``execute``.
        InputError: data cannot be used, or another process works on ``out``.
    """
    inputs = read_inputs(config, base)
    with locked(out):
        info = CampaignInfo(name=config.name, config=configuration.dump(config))
        _write_study(config, inputs, info, out)
        site = _Site(config, inputs, base, out, observe, restart)
        for arm, seed in config.lanes:
            info = _follow(site, _Lane(arm, seed), info)
        _write_study(config, inputs, info, out)
        return info


def _follow(site: _Site, lane: _Lane, info: CampaignInfo) -> CampaignInfo:
    """All rounds of one arm and seed; the record is written after each of them."""
    batch = _Batch()
    try:
        while True:
            folder = lane.folder(site.out)
            records = _trained(site, lane, folder)
            lane.rounds.append(_round(lane, batch, str(folder.relative_to(site.out)), records))
            info = info.model_copy(update={"rounds": (*info.rounds, lane.rounds[-1])})
            write_json(site.out / FILE, info)
            _check(site.config, lane.rounds, records)
            batch = _more(site, lane, records)
            lane.new += batch.frames
            lane.failed += [frame for frame, _ in batch.failed]
    except _Ended as ended:
        end = End.model_validate(
            {"arm": lane.arm, "seed": lane.seed, "status": ended.status, "reason": ended.reason}
        )
        info = info.model_copy(update={"ends": (*info.ends, end)})
        write_json(site.out / FILE, info)
        return info


def _round(lane: _Lane, batch: _Batch, study: str, records: StudyRecords) -> Round:
    """The record of a training, and of what led to it."""
    return Round(
        arm=lane.arm,
        seed=lane.seed,
        number=len(lane.rounds),
        study=study,
        labels=len(lane.new),
        asked=len(lane.new) + len(lane.failed),
        choices=batch.choices,
        failures=tuple(
            Failure(name=frame.identifier, source=frame.source, reason=reason)
            for frame, reason in batch.failed
        ),
        **measured(records),
    )


def _trained(site: _Site, lane: _Lane, folder: Path) -> StudyRecords:
    """The study of a round."""
    file = folder / "frames.xyz"
    write_round(site.config, site.inputs, lane.seed, lane.new, file)
    study = round_study(site.config, lane.seed, file.absolute())
    observe = site.observe
    if observe is not None:
        place = f"{lane.arm}, seed {lane.seed}, round {len(lane.rounds)}"
        observe = functools.partial(_tell, observe, place)
    return execute(study, site.base, folder, observe=observe, restart=site.restart)


def _tell(observe: Observe, place: str, event: Event) -> None:
    observe(event._replace(text=f"{place}: {event.text}"))


def _check(config: CampaignConfig, rounds: Sequence[Round], records: StudyRecords) -> None:
    """Raise ``_Ended`` where an arm has nothing more to do."""
    if not rounds[-1].members:
        raise _Ended("failed", "; ".join(records.failures()) or "no potential")
    if config.settle is not None:
        _check_settled(config, rounds)
    if len(rounds) > config.budget.rounds:
        raise _Ended("budget", f"{config.budget.rounds} rounds are done")
    if config.budget.labels is not None and rounds[-1].asked >= config.budget.labels:
        raise _Ended("budget", f"{rounds[-1].asked} calculations were asked for")


def _check_settled(config: CampaignConfig, rounds: Sequence[Round]) -> None:
    rule = config.settle
    assert rule is not None  # asked for
    values = [one.values.get(rule.probe, {}).get(rule.metric) for one in rounds]
    if values[-1] is None:
        known = ", ".join(rounds[-1].values.get(rule.probe, {})) or "none"
        raise _Ended(
            "failed",
            f"settle: expected a number {rule.metric!r} of probe {rule.probe!r}, got none; it has "
            f"{known}",
        )
    last = [value for value in values[-rule.times - 1 :] if value is not None]
    if len(last) == rule.times + 1 and np.abs(np.diff(last)).max() < rule.change:
        raise _Ended(
            "settled",
            f"{rule.metric} of {rule.probe} changed by less than {rule.change:g} in each of "
            f"{rule.times} round(s)",
        )


def _more(site: _Site, lane: _Lane, records: StudyRecords) -> _Batch:
    """Choose and label for the next round, again if every calculation failed.

    Raises:
        _Ended: no candidates are left, the budget is used up, or labels are not there yet.
    """
    folder = lane.folder(site.out)
    choices: list[Choice] = []
    bad: list[tuple[Frame, str]] = []
    budget = site.config.budget.labels
    while True:
        count = site.config.batch
        if budget is not None:
            count = min(count, budget - lane.rounds[-1].asked - len(bad))
        if count <= 0:
            raise _Ended(
                "budget",
                f"{budget} calculations were asked for; the last one failed: {bad[-1][1]}",
            )
        without = [*lane.failed, *(frame for frame, _ in bad)]
        file = folder / f"chosen-{len(choices)}.xyz"
        choices.append(_chosen(site, lane, records, without, count, file))
        try:
            found = label(read_frames(file), site.inputs.labeler, site.out / "labels")
        except LabelPending as error:
            raise _Ended("waiting", str(error)) from error
        bad += found.failures
        if found.frames:
            return _Batch(found.frames, tuple(choices), tuple(bad))


def _chosen(
    site: _Site,
    lane: _Lane,
    records: StudyRecords,
    without: Sequence[Frame],
    count: int,
    file: Path,
) -> Choice:
    """What a round labels, as written before or chosen now.

    Raises:
        _Ended: no candidates are left.
    """
    section, number = site.config.arms[lane.arm], len(lane.rounds)
    good = [run for run in records.runs if run.info.status == "ok"]
    fingerprint = configuration.fingerprint(
        SCHEMA,
        section,
        site.inputs.identity,
        [run.info.fingerprint for run in good],
        [[frame.identifier for frame in frames] for frames in (lane.new, without)],
        [count, lane.seed, number, file.stem],
    )
    old = read_model(file.with_suffix(".json"), Choice, [])
    if old is not None and old.fingerprint == fingerprint and file.is_file():
        return old
    models = [trees.cast(store.load(run.directory)[0], np.float64) for run in good]
    draw = np.random.SeedSequence([lane.seed, number, int(file.stem.rpartition("-")[2])])
    random = int(draw.generate_state(1)[0])
    given = Given(models, site.inputs.free, site.base, random, f"s{lane.seed}r{number}")
    candidates = [
        frame
        for one in section.candidates
        for frame in resolve("active.candidates", configuration.kind_of(one)).propose(one, given)
    ]
    left, dropped = open_candidates(candidates, site.inputs, without)
    labelled = [*site.inputs.beginning(site.config, lane.seed), *lane.new]
    found, notes = _acquired(left, labelled, models, section, count, random)
    for one in found.dropped:
        dropped[one.reason] = dropped.get(one.reason, 0) + 1
    picked = [left[index] for index in found.indices]
    choice = Choice(
        fingerprint=fingerprint,
        candidates=len(candidates),
        dropped=dropped,
        picks=tuple(
            Pick(name=frame.identifier, source=frame.source, score=score)
            for frame, score in zip(picked, found.scores, strict=True)
        ),
        notes=notes,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_frames(file, [frame._replace(energy=None, forces=None, stress=None) for frame in picked])
    write_json(file.with_suffix(".json"), choice)
    return choice


def _acquired(
    left: Sequence[Frame],
    labelled: Sequence[Frame],
    models: Sequence[Potential],
    section: Arm,
    count: int,
    seed: int,
) -> tuple[Acquired, tuple[str, ...]]:
    """The batch, and what a reader must know of it.

    Raises:
        _Ended: no candidates are left.
    """
    if not left:
        raise _Ended("exhausted", "there are no candidates that may be labelled; add others")
    systems = [frame.system for frame in labelled]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = acquire(left, systems, models, section.acquisition, count, seed=seed)
        except NothingLeft as error:
            raise _Ended("exhausted", str(error)) from error
    return found, tuple(str(one.message) for one in caught)


def _write_study(config: CampaignConfig, inputs: Inputs, info: CampaignInfo, out: Path) -> None:
    """``study.json``, so that whatever reads studies knows what this is."""
    old = read_model(out / "study.json", StudyInfo, [])
    if old is not None and MARK not in old.config:
        raise InputError(
            f"{out}: expected a directory for a campaign, found the study {old.name!r}, which "
            "would be overwritten; choose another output directory"
        )
    here = surroundings()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    study = StudyInfo(
        name=config.name,
        config=info.config,
        fingerprint=configuration.fingerprint(info.config, inputs.identity),
        data={
            "digest": inputs.identity,
            "reference": config.data.reference,
            "functional": config.data.functional,
            "dispersion": config.data.dispersion,
            "frames": len(inputs.dataset.frames),
        },
        runs=(),
        versions=here.versions,
        device=here.device,
        started=now if old is None else old.started,
        warnings=(*inputs.notes, *info.problems()),
    )
    write_json(out / "study.json", study)
