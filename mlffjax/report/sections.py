"""What the report says, in which order: sections of text, tables and figures."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pydantic

from mlffjax.report import (
    active,
    dynamics,
    figures,
    forgetting,
    learning_curve,
    pathways,
    representation,
    structures,
    tables,
    uncertainty,
)
from mlffjax.report.figures import Looks
from mlffjax.report.panels import Figure
from mlffjax.report.structures import Structure
from mlffjax.report.tables import Table
from mlffjax.report.texts import Text
from mlffjax.study.active_records import MARK as CAMPAIGN
from mlffjax.study.compared import MARK
from mlffjax.study.records import ProbeRecord, RunRecords, StudyRecords
from mlffjax.study.verdict import Verdict, VerdictConfig, judge


class Section(NamedTuple):
    """A heading with what stands below it."""

    key: str
    title: str
    blocks: tuple[Text | Table | Figure | Structure, ...]


def sections(study: StudyRecords, looks: Looks) -> tuple[Section, ...]:
    """The whole report, most important first; of a comparison, what belongs to it."""
    if MARK in study.info.config:
        return (
            Section("problems", "Failures and warnings", _problems(study)),
            Section("representation", "Representations", representation.blocks(study, looks)),
            Section("provenance", "Provenance", (*_left_out(study), *_provenance(study))),
        )
    if CAMPAIGN in study.info.config:
        return (
            *_optional("active", "Active learning", active.blocks(study, looks)),
            Section("problems", "Failures and warnings", _problems(study)),
            Section("provenance", "Provenance", _provenance(study)),
        )
    return (
        _verdict(study),
        *_optional("learning", "Learning curves", learning_curve.blocks(study, looks)),
        Section("problems", "Failures and warnings", _problems(study)),
        Section(
            "accuracy",
            "Accuracy on held-out frames",
            (
                tables.accuracy_table(study),
                figures.parity_figure(study, looks),
                tables.kinds_table(study),
            ),
        ),
        Section(
            "migration",
            "Migration paths",
            (
                figures.barrier_figure(study, looks),
                figures.profile_figure(study, looks),
                tables.path_table(study),
            ),
        ),
        Section(
            "sliding",
            "Interlayer sliding",
            (figures.sliding_figure(study, looks), tables.sliding_table(study)),
        ),
        *_optional("uncertainty", "Uncertainty", uncertainty.blocks(study, looks)),
        *_optional("structures", "Structures of the paths", structures.blocks(study)),
        *_optional("pathways", "Relaxed paths and surfaces", pathways.blocks(study, looks)),
        *_optional("forgetting", "Forgetting and strain", forgetting.blocks(study, looks)),
        *_optional("representation", "Representations", representation.blocks(study, looks)),
        *_optional("dynamics", "Molecular dynamics", dynamics.blocks(study, looks)),
        Section(
            "training",
            "Training",
            (figures.history_figure(study, looks), tables.runs_table(study), *_notes(study)),
        ),
        Section("provenance", "Provenance", (*_left_out(study), *_provenance(study))),
    )


def _optional(
    key: str, title: str, blocks: tuple[Text | Table | Figure | Structure, ...]
) -> tuple[Section, ...]:
    """A section for studies that ask for what it shows."""
    return (Section(key, title, blocks),) if blocks else ()


def _verdict(study: StudyRecords) -> Section:
    verdict = _judged(study)
    first = verdict.recommended or "the first candidate"
    lists = (
        (verdict.evidence_for, f"What speaks for {first}"),
        (verdict.evidence_against, f"What speaks against {first}"),
        (verdict.disagreements, "Where probes disagree"),
        (verdict.data, "How much data"),
        (verdict.relaxed, "What relaxed bands say, beside the criteria"),
        (verdict.forgotten, "What was forgotten, beside the criteria"),
        (verdict.beside, "Dynamics and costs, beside the criteria"),
        (verdict.undecided, "What these data cannot tell"),
        (verdict.next_labels, "What to compute next"),
    )
    limits = ", ".join(
        f"{name} {value:g}" if isinstance(value, int | float) else f"{name} {value or 'none'}"
        for name, value in verdict.thresholds.items()
    )
    sure = f"Confidence: {verdict.confidence} ({verdict.confidence_why})."
    blocks = (
        *_preliminary(study),
        Text(
            "text",
            (verdict.headline, *((sure,) if verdict.confidence_why else ())),
            emphasis="verdict",
        ),
        *(Text("list", lines, heading) for lines, heading in lists if lines),
        tables.score_table(verdict),
        Text(
            "text",
            (
                f"The rule: {verdict.rule}",
                f"Thresholds (section verdict of the configuration): {limits}.",
            ),
            emphasis="rule",
        ),
    )
    return Section("verdict", "Verdict", blocks)


def _judged(study: StudyRecords) -> Verdict:
    """The verdict of the summary, or of what is there where that is unfinished or outdated."""
    stored = (study.summary or {}).get("verdict")
    if stored is not None and not study.missing():
        with contextlib.suppress(pydantic.ValidationError):  # written by another version
            return Verdict.model_validate(stored)
    thresholds = study.info.config.get("verdict") or {}
    return judge(study, VerdictConfig.model_validate(thresholds))


def _preliminary(study: StudyRecords) -> tuple[Text, ...]:
    left, planned = len(study.missing()), len(study.info.runs)
    if not left:
        return ()
    text = f"Preliminary: {left} of {planned} planned runs are not finished."
    return (Text("text", (text,), emphasis="alarm"),)


def _problems(study: StudyRecords) -> tuple[Text, ...]:
    lines = (
        *(f"Not finished: {identifier}." for identifier in study.missing()),
        *(
            _sentence(f"{_label(run)}: the run {run.info.status}", run.info.message)
            for run in study.runs
            if run.info.status != "ok"
        ),
        *_of_probes(study),
        *study.info.warnings,
        *study.warnings,
        *structures.damage(study),
    )
    if not lines:
        return (Text("text", ("None: every planned run finished and every probe gave a result.",)),)
    return (Text("list", tuple(dict.fromkeys(lines)), emphasis="alarm"),)


def _of_probes(study: StudyRecords) -> Iterator[str]:
    """What went wrong in probes."""

    def said(run: RunRecords, record: ProbeRecord) -> Iterator[str]:
        if record.status != "ok":
            yield _sentence(record.status, record.message)
        yield from _nulls(record, set(record.reasons) - set(record.foreseen))
        if record.arrays is not None and not run.arrays(record.probe.name):
            yield "its arrays are missing or damaged; figures leave it out"
        yield from record.warnings

    return _shared(study, said)


def _left_out(study: StudyRecords) -> tuple[Text, ...]:
    """What probes were not asked for, or had nothing to compare with."""
    lines = tuple(_shared(study, lambda run, record: _nulls(record, set(record.foreseen))))
    return (Text("list", lines, "What probes left out, and why"),) if lines else ()


def _nulls(record: ProbeRecord, names: set[str]) -> Iterator[str]:
    """The reasons why metrics of these names have no number."""
    reasons: dict[str, list[str]] = {}
    for metric, why in record.reasons.items():
        if metric in names and "/" not in metric:  # not every split holds every kind of frame
            reasons.setdefault(why, []).append(metric)
    for why, metrics in reasons.items():
        yield f"no {', '.join(sorted(metrics))}: {why}"


def _shared(
    study: StudyRecords, said: Callable[[RunRecords, ProbeRecord], Iterator[str]]
) -> Iterator[str]:
    """What records say of their probes, once with the names of the runs that share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    for run in study.runs:
        for name, record in run.probes.items():
            for text in said(run, record):
                shared.setdefault((name, text), []).append(_label(run))
    for (name, text), runs in shared.items():
        everybody = len(runs) > 1 and len(runs) == sum(name in run.probes for run in study.runs)
        yield f"Probe {name}, {'every run' if everybody else '; '.join(runs)}: {text}"


def _label(run: RunRecords) -> str:
    return f"{run.info.name}, seed {run.info.seed}"


def _sentence(start: str, message: str) -> str:
    return f"{start}: {message}" if message else start


def _notes(study: StudyRecords) -> tuple[Text, ...]:
    """What runs say about themselves; what several candidates share is said once."""
    shared: dict[str, dict[str, None]] = {}
    for run in study.runs:
        for note in run.info.notes:
            shared.setdefault(note, {})[run.info.name] = None
    lines = tuple(f"{', '.join(names)}: {note}" for note, names in shared.items())
    return (Text("list", lines, "Notes on the runs"),) if lines else ()


def _provenance(study: StudyRecords) -> tuple[Table | Text, ...]:
    config = json.dumps(study.info.config, indent=2, ensure_ascii=False)
    return (tables.provenance_table(study), Text("code", (config,), "Resolved configuration"))
