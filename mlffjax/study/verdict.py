"""Which strategy for this material: a stated rule applied to the records, nothing else.

The rule (``RULE`` says it for readers)
    1. A candidate is an entry of ``runs``; its errors are magnitudes, averaged over its successful
       seeds (so errors of opposite sign do not cancel).
    2. Every criterion compares one error with a threshold: forces and energies on test frames, the
       barrier of every labelled migration path, the barrier of every labelled slide (relative to
       the reference barrier), trajectories that stopped, distances from a reference trajectory,
       and, where thresholds ask for them, relaxed barriers, numbers expected from elsewhere,
       forgetting and costs. A threshold below the uncertainty of the reference is raised to it:
       nobody can be asked to agree with a reference better than it knows itself.
    3. A path whose closure test failed counts as unknown, as do one that the candidate was trained
       on and whatever has no number; a relaxed band without a barrier has failed.
    4. Candidates whose molecular dynamics explodes come after all others. Then candidates with the
       fewest criteria missed (failed or unknown) come first; among equals the one with the smaller
       geometric mean of error / threshold.
    5. Two candidates differ on a criterion if their errors differ by more than twice the standard
       error over seeds and if moving the reference by its uncertainty cannot exchange them (that
       is, if the mean of their signed errors exceeds the uncertainty). If there is no criterion on
       which the first is better than the second in this sense, the verdict is a tie.
    6. An outcome is sure if the 95 % confidence interval of the mean over seeds (Student's t),
       widened by the uncertainty of the reference, lies on one side of the threshold. The
       confidence is high if the first candidate is recommended and all its outcomes are sure;
       low for a tie, where another candidate meets as many criteria without being told apart, or
       where fewer than half of the first candidate's outcomes are sure; otherwise moderate.

The result is a ``Verdict``, stored in ``summary.json`` under ``verdict``. ``yardsticks`` makes the
criteria, ``confidence`` weighs the scatter, ``data_need`` reads learning curves, ``next_labels``
says what to compute next, and ``wording`` puts it into sentences.
"""

import math
from collections.abc import Sequence

from mlffjax.study import data_need, next_labels, wording
from mlffjax.study.beside import beside
from mlffjax.study.confidence import confidence, differ, interval, is_sure, separates
from mlffjax.study.forgetting_evidence import forgotten
from mlffjax.study.judgement import (
    Candidate,
    Criterion,
    Decision,
    Outcome,
    Verdict,
    VerdictConfig,
)
from mlffjax.study.records import RunRecords, StudyRecords, mean_and_std
from mlffjax.study.relaxed_evidence import changes, remarks
from mlffjax.study.yardsticks import (
    EXPLOSION,
    Yardstick,
    absence,
    md_ms_per_step,
    unmet,
    yardsticks,
)

RULE = (
    "Candidates whose molecular dynamics explodes come last. The others are ranked by the number "
    "of criteria they miss, then by the geometric mean of error over threshold. Errors are "
    "magnitudes averaged over seeds. Two candidates count as different on a criterion only if "
    "their errors differ by more than twice the standard error over seeds and if shifting the "
    "reference by its stated uncertainty could not exchange them. An outcome is sure if the 95 % "
    "confidence interval over seeds, widened by that uncertainty, lies on one side of the limit. "
    "What has no limit (by default relaxed bands, whose reference barrier is that of the "
    "reference's images, forgetting and costs) is told beside the criteria and does not count."
)
SMALLEST = 1e-3  # of a threshold; a better agreement is luck and must not dominate a mean
UNTRAINED = "zero_shot"


def judge(records: StudyRecords, config: VerdictConfig) -> Verdict:
    """Apply the rule to whatever is there; never raises for want of data."""
    measures = yardsticks(records, config)
    groups = records.by_name()
    planned = dict.fromkeys(groups, 0) | _planned(records)
    judged = [
        _candidate(name, groups.get(name, ()), seeds, measures) for name, seeds in planned.items()
    ]
    ranked = sorted((c for c in judged if c.seeds), key=_order)
    ranked = [c.model_copy(update={"rank": place}) for place, c in enumerate(ranked, start=1)]
    candidates = (*ranked, *(c for c in judged if not c.seeds))
    decision = _decision(ranked)
    first = ranked[0] if ranked else None
    order = [candidate.name for candidate in ranked]
    trust, why = confidence(decision, ranked)
    needs = data_need.needs(records, ranked)
    changed = tuple(changes(records, config, order))
    return Verdict(
        recommended=first.name if first else None,
        decision=decision,
        headline=wording.headline(
            decision, candidates, data_need.enough_for(needs, first.name if first else "")
        ),
        evidence_for=wording.evidence(first, "pass") if first else (),
        evidence_against=wording.against(first) if first else (),
        disagreements=wording.few((*wording.disagreements(ranked, differ), *changed)),
        undecided=tuple(wording.undecided(ranked, differ, config.reference_uncertainty_ev)),
        candidates=candidates,
        rule=RULE,
        thresholds=config.model_dump(mode="json"),
        relaxed=wording.few(tuple(remarks(records, config, order))),
        forgotten=wording.few(tuple(forgotten(records, order))),
        confidence=trust,
        confidence_why=why,
        data=tuple(data_need.sentences(needs)),
        beside=tuple(beside(records, ranked, config)),
        next_labels=tuple(next_labels.suggestions(records, ranked, needs, config)),
    )


def _planned(records: StudyRecords) -> dict[str, int]:
    """Seeds per entry, in the order of the configuration."""
    entries = records.info.config.get("runs", ())
    return {entry["name"]: len(entry.get("seeds", (0,))) for entry in entries if "name" in entry}


def _candidate(
    name: str, runs: Sequence[RunRecords], planned: int, measures: Sequence[Yardstick]
) -> Candidate:
    good = [run for run in runs if run.info.status == "ok"]
    criteria = tuple(_apply(yardstick, good) for yardstick in measures)
    ratios = [max(c.ratio, SMALLEST) for c in criteria if c.ratio is not None]
    outcomes = [criterion.outcome for criterion in criteria]
    frames = [run.info.frames["train"] for run in good if "train" in run.info.frames]
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
        exploded=any(c.metric == EXPLOSION and c.outcome == "fail" for c in criteria),
        frames=max(frames, default=None),
        training_seconds=mean_and_std(run.info.seconds for run in good)[0],
        md_ms_per_step=mean_and_std(md_ms_per_step(run) for run in good)[0],
    )


def _apply(yardstick: Yardstick, runs: Sequence[RunRecords]) -> Criterion:
    values = [yardstick.read(run) for run in runs]
    signed, _, _ = mean_and_std(values)
    value, spread, count = mean_and_std(abs(v) for v in values if v is not None)
    if spread is None and count and runs[0].info.strategy == UNTRAINED:
        spread = 0.0  # nothing random was done
    outcome, reason = _outcome(yardstick, runs, value)
    between = interval(value, spread, count)
    limit, uncertainty = yardstick.threshold, yardstick.uncertainty
    return Criterion(
        probe=yardstick.probe,
        metric=yardstick.metric,
        label=yardstick.label,
        unit=yardstick.unit,
        threshold=limit,
        uncertainty=uncertainty,
        value=value,
        signed=signed,
        spread=spread,
        seeds=count,
        outcome=outcome,
        reason=reason,
        interval=between,
        sure=outcome != "unknown" and is_sure(between, limit, uncertainty),
    )


def _outcome(
    yardstick: Yardstick, runs: Sequence[RunRecords], value: float | None
) -> tuple[Outcome, str]:
    """The outcome and why it is unknown, or fails without a number."""
    reason = unmet(yardstick, runs)
    if reason:
        return "unknown", reason
    without = [run for run in runs if yardstick.read(run) is None and _ran(yardstick, run)]
    if yardstick.required and without:
        count = f"{len(without)} of {len(runs)} seeds gave no number"
        return "fail", f"{count}: {absence(yardstick, without)}"
    if value is None:
        return "unknown", absence(yardstick, runs)
    if yardstick.threshold is None:
        return "unknown", "the reference has no barrier to compare with"
    return ("pass" if value <= yardstick.threshold else "fail"), ""


def _ran(yardstick: Yardstick, run: RunRecords) -> bool:
    """Whether a probe did its work; one that an error stopped says nothing of the candidate."""
    record = run.probes.get(yardstick.probe)
    return record is not None and record.status == "ok"


def _order(candidate: Candidate) -> tuple[bool, int, float, str]:
    score = math.inf if candidate.score is None else candidate.score
    return candidate.exploded, candidate.failed + candidate.unknown, score, candidate.name


def _decision(ranked: Sequence[Candidate]) -> Decision:
    if not ranked or not any(c.passed + c.failed for c in ranked):
        return "none"
    first, *others = ranked
    if others and not separates(first, others[0]):
        return "tie"
    return "recommended" if first.failed + first.unknown == 0 else "least_bad"
