"""Which strategy for this material: a stated rule applied to the records, nothing else.

The rule (``RULE`` says it for readers)
    1. A candidate is an entry of ``runs``; its errors are magnitudes, averaged over its successful
       seeds (so errors of opposite sign do not cancel).
    2. Every criterion compares one error with a threshold: forces and energies on test frames, the
       barrier of every labelled migration path, the barrier of every labelled slide (relative to
       the reference barrier). A threshold below the uncertainty of the reference is raised to it:
       nobody can be asked to agree with a reference better than it knows itself.
    3. A path whose closure test failed counts as unknown, as do one that the candidate was trained
       on and whatever has no number.
    4. Candidates with the fewest criteria missed (failed or unknown) come first; among equals the
       one with the smaller geometric mean of error / threshold.
    5. Two candidates differ on a criterion if their errors differ by more than twice the standard
       error over seeds and if moving the reference by its uncertainty cannot exchange them (that
       is, if the mean of their signed errors exceeds the uncertainty). If there is no criterion on
       which the first is better than the second in this sense, the verdict is a tie.

The result is a ``Verdict``, stored in ``summary.json`` under ``verdict``.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

from mlffjax.config import Config
from mlffjax.study import wording
from mlffjax.study.forgetting_evidence import forgotten
from mlffjax.study.judgement import (
    Candidate,
    Criterion,
    Decision,
    Outcome,
    Verdict,
    VerdictConfig,
)
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std
from mlffjax.study.relaxed_evidence import remarks

RULE = (
    "Candidates are ranked by the number of criteria they miss, then by the geometric mean of "
    "error over threshold. Errors are magnitudes averaged over seeds. Two candidates count as "
    "different on a criterion only if their errors differ by more than twice the standard error "
    "over seeds and if shifting the reference by its stated uncertainty could not exchange them. "
    "Relaxed bands are told beside the criteria and do not count: the reference barrier is that of "
    "the reference's images."
)
SMALLEST = 1e-3  # of a threshold; a better agreement is luck and must not dominate a mean


class _Yardstick(Config):
    """A criterion before it is applied."""

    probe: str
    metric: str
    label: str
    unit: str
    threshold: float | None
    uncertainty: float = 0.0
    closed: bool = False
    """Whether the probe has a closure test."""


def judge(records: StudyRecords, config: VerdictConfig) -> Verdict:
    """Apply the rule to whatever is there; never raises for want of data."""
    yardsticks = tuple(_yardsticks(records, config))
    groups = records.by_name()
    planned = dict.fromkeys(groups, 0) | _planned(records)
    judged = [
        _candidate(name, groups.get(name, ()), seeds, yardsticks) for name, seeds in planned.items()
    ]
    ranked = sorted((c for c in judged if c.seeds), key=_order)
    ranked = [c.model_copy(update={"rank": place}) for place, c in enumerate(ranked, start=1)]
    candidates = (*ranked, *(c for c in judged if not c.seeds))
    decision = _decision(ranked)
    first = ranked[0] if ranked else None
    return Verdict(
        recommended=first.name if first else None,
        decision=decision,
        headline=wording.headline(decision, candidates),
        evidence_for=wording.evidence(first, "pass") if first else (),
        evidence_against=wording.against(first) if first else (),
        disagreements=tuple(wording.disagreements(ranked, differ)),
        undecided=tuple(wording.undecided(ranked, differ, config.reference_uncertainty_ev)),
        candidates=candidates,
        rule=RULE,
        thresholds=config.model_dump(),
        relaxed=tuple(remarks(records, config)),
        forgotten=tuple(forgotten(records)),
    )


def differ(one: Criterion, other: Criterion) -> bool | None:
    """Whether two candidates differ on a criterion; None if one has no number.

    Where neither has several seeds the spread is unknown and counts as zero; the verdict says so.
    """
    if "unknown" in (one.outcome, other.outcome):
        return None
    assert one.value is not None
    assert other.value is not None
    assert one.signed is not None
    assert other.signed is not None
    variance = sum((c.spread or 0.0) ** 2 / max(c.seeds, 1) for c in _lend_spread(one, other))
    apart = abs(one.value - other.value)
    # |a - d| < |b - d| changes its truth when the shift d of the reference passes (a + b) / 2.
    safe = abs(one.signed + other.signed) / 2 >= one.uncertainty
    return apart > 2 * math.sqrt(variance) and apart > 0 and safe


def _lend_spread(one: Criterion, other: Criterion) -> tuple[Criterion, Criterion]:
    """A candidate with one seed is given the spread of the other, for want of a better estimate."""
    if one.spread is None:
        one = one.model_copy(update={"spread": other.spread})
    elif other.spread is None:
        other = other.model_copy(update={"spread": one.spread})
    return one, other


def _planned(records: StudyRecords) -> dict[str, int]:
    """Seeds per entry, in the order of the configuration."""
    entries = records.info.config.get("runs", ())
    return {entry["name"]: len(entry.get("seeds", (0,))) for entry in entries if "name" in entry}


def _yardsticks(records: StudyRecords, config: VerdictConfig) -> Iterable[_Yardstick]:
    uncertainty = config.reference_uncertainty_ev
    for probe in records.probes().values():
        name, path = probe.name, probe.config.get("path", probe.name)
        if probe.kind == "accuracy":
            yield _Yardstick(
                probe=name,
                metric="test_force_rmse",
                label="forces on test frames",
                unit="eV/Å",
                threshold=config.force_rmse_ev_a,
            )
            yield _Yardstick(
                probe=name,
                metric="test_energy_rmse",
                label="energies on test frames",
                unit="eV/atom",
                threshold=config.energy_rmse_ev,
            )
        elif probe.kind == "fixed_path" and _labelled(records, probe):
            yield _Yardstick(
                probe=name,
                metric="barrier_error",
                label=f"barrier of path {path}",
                unit="eV",
                threshold=max(config.barrier_error_ev, uncertainty),
                uncertainty=uncertainty,
            )
        elif probe.kind == "sliding" and _labelled(records, probe):
            yield _Yardstick(
                probe=name,
                metric="barrier_error",
                label=f"barrier of slide {path}",
                unit="eV",
                threshold=_sliding_threshold(records, probe, config),
                closed=True,
            )


def _labelled(records: StudyRecords, probe: ProbeInfo) -> bool:
    return any(run.metric(probe.name, "barrier_reference") is not None for run in records.runs)


def _sliding_threshold(
    records: StudyRecords, probe: ProbeInfo, config: VerdictConfig
) -> float | None:
    values = [run.metric(probe.name, "barrier_reference") for run in records.runs]
    reference, _, _ = mean_and_std(values)
    return config.sliding_error_fraction * abs(reference) if reference else None


def _candidate(
    name: str, runs: Sequence[RunRecords], planned: int, yardsticks: Sequence[_Yardstick]
) -> Candidate:
    good = [run for run in runs if run.info.status == "ok"]
    criteria = tuple(_apply(yardstick, good) for yardstick in yardsticks)
    ratios = [max(c.ratio, SMALLEST) for c in criteria if c.ratio is not None]
    outcomes = [criterion.outcome for criterion in criteria]
    return Candidate(
        name=name,
        strategy=runs[0].info.strategy if runs else "",
        rank=None,
        seeds=len(good),
        lost=max(planned, len(runs)) - len(good),
        passed=outcomes.count("pass"),
        failed=outcomes.count("fail"),
        unknown=outcomes.count("unknown"),
        score=math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None,
        criteria=criteria,
    )


def _apply(yardstick: _Yardstick, runs: Sequence[RunRecords]) -> Criterion:
    values = [run.metric(yardstick.probe, yardstick.metric) for run in runs]
    signed, _, _ = mean_and_std(values)
    value, spread, count = mean_and_std(abs(v) for v in values if v is not None)
    reason = _doubt(yardstick, runs)
    if not reason and value is None:
        reason = _absence(yardstick, runs)
    elif not reason and yardstick.threshold is None:
        reason = "the reference has no barrier to compare with"
    outcome: Outcome = "unknown"
    if not reason and value is not None and yardstick.threshold is not None:
        outcome = "pass" if value <= yardstick.threshold else "fail"
    return Criterion(
        **yardstick.model_dump(exclude={"closed"}),
        value=value,
        signed=signed,
        spread=spread,
        seeds=count,
        outcome=outcome,
        reason=reason,
    )


def _doubt(yardstick: _Yardstick, runs: Sequence[RunRecords]) -> str:
    """Why a number must not be trusted: it is no prediction, or the closure test failed."""
    for run in runs:
        record = run.probes.get(yardstick.probe)
        if record is not None and record.probe.config.get("path") in run.info.learned_paths:
            return "the candidate was trained on this path, so its error is of a fit"
    if not yardstick.closed:
        return ""
    for run in runs:
        record = run.probes.get(yardstick.probe)
        error = run.metric(yardstick.probe, "closure_error")
        tolerance = record.probe.config.get("closure_tolerance") if record else None
        if error is not None and tolerance is not None and error > tolerance:
            return f"the closure test failed ({error:.1e} eV), so the numbers are not physics"
    return ""


def _absence(yardstick: _Yardstick, runs: Sequence[RunRecords]) -> str:
    for run in runs:
        record = run.probes.get(yardstick.probe)
        if record is not None:
            return record.reasons.get(yardstick.metric) or record.message or "no number"
    return "not measured"


def _order(candidate: Candidate) -> tuple[int, float, str]:
    score = math.inf if candidate.score is None else candidate.score
    return candidate.failed + candidate.unknown, score, candidate.name


def _decision(ranked: Sequence[Candidate]) -> Decision:
    if not ranked or not any(c.passed + c.failed for c in ranked):
        return "none"
    first = ranked[0]
    for second in itertools.islice(ranked, 1, 2):
        pairs = list(zip(first.criteria, second.criteria, strict=True))
        if not any(differ(a, b) and _better(a, b) for a, b in pairs):
            return "tie"
    return "recommended" if first.failed + first.unknown == 0 else "least_bad"


def _better(one: Criterion, other: Criterion) -> bool:
    return (one.value or 0.0) < (other.value or 0.0)
