"""What candidates forgot of the foundation, in words, beside the criteria of the verdict.

It enters the ranking only where ``forgetting_index`` asks for it: whether a material's potential
may forget other materials is for its user to say. Candidates that never saw the foundation are told
apart: they had nothing to forget.
"""

from collections.abc import Iterator, Sequence

from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std

KIND = "forgetting"
PARTS = {
    "generic_energy": "energies of generic structures",
    "generic_forces": "forces on generic structures",
    "sliding": "the slide",
    "strain_energy": "strain energies",
    "elastic": "elastic constants",
    "dimers": "dimers",
}
NEGLIGIBLE = 0.05  # of the index or a part: an error 4 % larger


def forgotten(records: StudyRecords, order: Sequence[str] = ()) -> Iterator[str]:
    """One line for every candidate with a forgetting index; none for the foundation as it is.

    Args:
        records: of a study; without probes of the kind nothing is said.
        order: names of the candidates to speak of, best first; all by default.
    """
    for probe in records.probes().values():
        if probe.kind != KIND:
            continue
        for name in order or records.by_name():
            runs = records.by_name().get(name, ())
            mean, spread, _ = _statistic(probe, runs, "index")
            if mean is None or not any(run.info.steps for run in runs):
                continue
            tail = "" if spread is None else f" ± {spread:.2f}"
            if all(run.info.starts_from == "model" for run in runs):
                yield (
                    f"{name} never saw the foundation, so it forgot nothing; beside it, its errors "
                    f"have the index {mean:+.2f}{tail}"
                )
            else:
                yield f"{name}: forgetting index {mean:+.2f}{tail}{_extremes(probe, runs)}"


def _extremes(probe: ProbeInfo, runs: Sequence[RunRecords]) -> str:
    """The part that lost most and the one that gained most."""
    parts = {part: _statistic(probe, runs, part)[0] for part in PARTS}
    known = {part: value for part, value in parts.items() if value is not None}
    worst = max(known, key=lambda part: known[part], default="")
    best = min(known, key=lambda part: known[part], default="")
    said = []
    if worst and known[worst] > NEGLIGIBLE:
        said.append(f"most forgotten: {PARTS[worst]} ({known[worst]:+.2f})")
    if best and known[best] < -NEGLIGIBLE:
        said.append(f"most improved: {PARTS[best]} ({known[best]:+.2f})")
    return f" ({'; '.join(said)})" if said else ""


def _statistic(
    probe: ProbeInfo, runs: Sequence[RunRecords], metric: str
) -> tuple[float | None, float | None, int]:
    return mean_and_std(run.metric(probe.name, metric) for run in runs)
