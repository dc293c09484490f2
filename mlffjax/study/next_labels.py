"""What to compute next: the labels and seeds that would settle what the verdict leaves open.

Every suggestion names something that can be done: images of a path by number (counted from 0, as
files of paths number them), seeds, frames of a kind. The most decisive come first.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from mlffjax.study.confidence import APART, differ, standard_error
from mlffjax.study.data_need import Need
from mlffjax.study.judgement import Candidate, Criterion, VerdictConfig
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std
from mlffjax.study.relaxed_evidence import disagreeing
from mlffjax.study.wording import few, listed, quantity
from mlffjax.study.yardsticks import is_labelled, path_of

MOST = 8  # suggestions
RIVALS = 3  # candidates that are compared with the first
MOST_SEEDS = 10  # that are asked for; beyond, the difference is too small to matter


def suggestions(
    records: StudyRecords,
    ranked: Sequence[Candidate],
    needs: Sequence[Need],
    config: VerdictConfig,
) -> tuple[str, ...]:
    """What to compute next, most decisive first; empty where nothing was measured.

    Args:
        records: of a study.
        ranked: candidates with potentials, best first.
        needs: what learning curves say.
        config: thresholds.
    """
    if not ranked:
        return ("a run that gives a potential: see the failures",)
    lines = (
        *_unlabelled(records, ranked),
        *_relaxed(records, ranked, config),
        *_seeds(ranked),
        *_reference(records, ranked[0], config),
        *_weak_images(records, ranked[0]),
        *_frames(records, ranked[0], needs),
    )
    return few(tuple(dict.fromkeys(lines)), most=MOST)


def _unlabelled(records: StudyRecords, ranked: Sequence[Candidate]) -> Iterator[str]:
    """Paths without reference energies: the ends, the tops, and where candidates disagree most."""
    for probe in records.probes().values():
        if probe.kind not in ("fixed_path", "sliding") or is_labelled(records, probe):
            continue
        profiles = [
            energies
            for candidate in ranked
            if (energies := _profile(records.by_name()[candidate.name], probe)) is not None
        ]
        if not profiles or len({len(p) for p in profiles}) > 1:
            continue
        every = np.stack(profiles)
        tops = every.max(axis=1)
        apart = int(np.argmax(every.max(axis=0) - every.min(axis=0)))
        images = sorted({0, int(np.argmax(every.mean(axis=0))), apart, every.shape[1] - 1})
        yield (
            f"label images {_numbered(images)} of {path_of(probe)}, which has no reference "
            f"energies: the candidates put its barrier between {tops.min():.2f} and "
            f"{tops.max():.2f} eV and disagree most at image {apart}; then all its images, so that "
            "it becomes a criterion"
        )


def _profile(runs: Sequence[RunRecords], probe: ProbeInfo) -> np.ndarray | None:
    """Energies along a path, eV, mean over seeds; None where a run gave no finite ones."""
    found = [
        arrays["energy_model"]
        for run in runs
        if "energy_model" in (arrays := run.arrays(probe.name))
        and np.isfinite(arrays["energy_model"]).all()
    ]
    if not found or len({len(energies) for energies in found}) > 1:
        return None
    return np.mean(found, axis=0)


def _relaxed(
    records: StudyRecords, ranked: Sequence[Candidate], config: VerdictConfig
) -> Iterator[str]:
    """Single points on a relaxed band settle whether it or the fixed images are to be believed."""
    names = [candidate.name for candidate in ranked[:RIVALS]]
    for probe, name in disagreeing(records, config, names):
        for run in records.by_name()[name]:
            energies = run.arrays(probe.name).get("energy_model")
            if energies is not None and run.metric(probe.name, "converged") == 1:
                images = sorted({0, int(np.nanargmax(energies))})
                yield (
                    f"label images {_numbered(images)} of the band that {name} relaxed along "
                    f"{path_of(probe)} (positions_model in "
                    f"runs/{run.info.id}/records/{probe.name}.npz): its barriers on fixed images "
                    "and on the relaxed band contradict each other, and only the reference on its "
                    "own images can say which counts"
                )
                break


def _seeds(ranked: Sequence[Candidate]) -> Iterator[str]:
    """Seeds that would tell the first candidate from those close to it."""
    first = ranked[0]
    single = [c.name for c in ranked if c.seeds == 1 and c.strategy != "zero_shot"]
    near = [name for name in single if name in {c.name for c in ranked[: RIVALS + 1]}]
    if near:
        yield f"two more seeds of {listed(near)} (seeds: [0, 1, 2]): their scatter is unknown"
    for other in ranked[1 : RIVALS + 1]:
        wanted = [
            (more, mine.label)
            for mine, theirs in zip(first.criteria, other.criteria, strict=True)
            if differ(mine, theirs) is False and (more := _more_seeds(mine, theirs)) is not None
        ]
        if wanted:
            more, label = min(wanted)
            yield (
                f"{_count(more)} more seed{'s' if more > 1 else ''} of {first.name} and "
                f"{other.name}: enough to tell them apart on {label}, if the difference seen so "
                "far is real"
            )


def _more_seeds(one: Criterion, other: Criterion) -> int | None:
    """Additional seeds of each that would make a difference significant; None if not seeds."""
    assert one.value is not None
    assert other.value is not None
    error, apart = standard_error(one, other), abs(one.value - other.value)
    signed = abs((one.signed or 0.0) + (other.signed or 0.0)) / 2
    if not apart or apart > APART * error or signed < one.uncertainty:
        return None  # nothing to tell apart, or the reference is what hides it
    seeds = min(one.seeds, other.seeds)
    more = math.ceil(seeds * (APART * error / apart) ** 2) + 1 - seeds
    return more if 0 < more <= MOST_SEEDS else None


def _reference(records: StudyRecords, first: Candidate, config: VerdictConfig) -> Iterator[str]:
    """Better reference energies, where their uncertainty is what leaves an outcome open."""
    for criterion in first.criteria:
        probe = records.probes().get(criterion.probe)
        if probe is None or probe.kind not in ("fixed_path", "relaxed_neb"):
            continue
        if criterion.value is None or criterion.threshold is None or criterion.outcome == "unknown":
            continue
        top = _top(records, probe)
        where = "its highest image" if top is None else f"images {_numbered(sorted({0, top}))}"
        if not config.reference_uncertainty_ev:
            yield (
                f"{where} of {path_of(probe)} once more with tighter settings of the reference "
                "(k-points, cutoff): the change is reference_uncertainty_ev, which is not stated"
            )
            return
        near = abs(criterion.value - criterion.threshold) <= criterion.uncertainty
        if near and not criterion.sure:
            yield (
                f"{where} of {path_of(probe)} with a converged reference: its uncertainty of "
                f"{quantity(criterion.uncertainty, 'eV')} is what leaves open whether "
                f"{first.name} is within {quantity(criterion.threshold, 'eV')}"
            )


def _top(records: StudyRecords, probe: ProbeInfo) -> int | None:
    """The highest image of the reference."""
    for run in records.runs:
        energies = run.arrays(probe.name).get("energy_reference")
        if energies is not None and np.isfinite(energies).any():
            return int(np.nanargmax(energies))
    return None


def _weak_images(records: StudyRecords, first: Candidate) -> Iterator[str]:
    """Where on a path that it fails the first candidate is most wrong."""
    for criterion in first.criteria:
        probe = records.probes().get(criterion.probe)
        if criterion.outcome != "fail" or probe is None:
            continue
        if probe.kind not in ("fixed_path", "sliding"):
            continue
        runs = records.by_name()[first.name]
        model = _profile(runs, probe)
        reference = next(
            (
                arrays["energy_reference"]
                for run in runs
                if "energy_reference" in (arrays := run.arrays(probe.name))
            ),
            None,
        )
        if model is None or reference is None or len(reference) != len(model):
            continue
        errors = np.abs(model - reference)
        order = np.argsort(-errors, kind="stable")[:2]
        worst = sorted(int(image) for image in order if errors[image] > errors.max() / 2)
        yield (
            f"frames near image{'s' if len(worst) > 1 else ''} {_numbered(worst)} of "
            f"{path_of(probe)} for training, displaced at random, not the images themselves: there "
            f"{first.name} is off by {quantity(float(errors.max()), 'eV')}, most of the whole path"
        )


def _frames(records: StudyRecords, first: Candidate, needs: Sequence[Need]) -> Iterator[str]:
    """More training frames, if the learning curve of the first candidate still falls."""
    need = next((need for need in needs if first.name in need.members), None)
    kind = _worst_kind(records, first)
    most = f", above all {kind}" if kind else ""
    if need is not None and need.falling:
        labels = listed([last.label for _, last in need.falling])
        yield (
            f"more training frames ({2 * need.frames[-1]} instead of {need.frames[-1]}){most}: the "
            f"learning curve of {need.family} still falls on {labels}"
        )
        return
    accuracy = [c for c in first.criteria if c.metric.startswith("test_") and c.outcome == "fail"]
    if need is None and accuracy and first.strategy != "zero_shot":
        labels = listed([criterion.label for criterion in accuracy])
        yield (
            f"a learning curve of {first.name} (fractions: [0.25, 0.5, 1.0]), to know whether more "
            f"frames{most} would mend {labels}"
        )


def _worst_kind(records: StudyRecords, first: Candidate) -> str:
    """The kind of frames with the largest test error of forces, in words."""
    totals: dict[str, list[float]] = {}
    for run in records.by_name()[first.name]:
        for probe in run.probes.values():
            for name, value in probe.metrics.items():
                head, _, kind = name.partition("/")
                if probe.probe.kind == "accuracy" and head == "test_force_rmse" and kind:
                    totals.setdefault(kind, []).extend([] if value is None else [value])
    means = {kind: mean_and_std(values)[0] for kind, values in totals.items()}
    known = {kind: mean for kind, mean in means.items() if mean is not None}
    if len(known) < 2:
        return ""
    worst = max(known, key=lambda kind: known[kind])
    return f"of kind {worst} (test forces off by {quantity(known[worst], 'eV/Å')})"


def _numbered(images: Sequence[int]) -> str:
    *others, last = map(str, images)
    return f"{', '.join(others)} and {last}" if others else last


def _count(number: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[number] if number < len(words) else str(number)
