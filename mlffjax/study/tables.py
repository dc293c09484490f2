"""Numbers of a study put together over seeds: Table 1 of the paper, paths, and what was forgotten.

Pure functions of records. Everything is in the units of the records (eV, Å); scaling to meV is a
matter of presentation.
"""

from collections.abc import Sequence

from mlffjax.config import Config
from mlffjax.study import forgetting_evidence
from mlffjax.study.records import RunRecords, StudyRecords, mean_and_std

TABLE_1 = ("train_force_rmse", "validation_force_rmse", "test_force_rmse", "test_energy_rmse")
PATH_METRICS = {
    "fixed_path": (
        "barrier",
        "barrier_reference",
        "barrier_error",
        "barrier_hermite_error",
        "transition_image_error",
        "asymmetry_error",
        "transition_shift",
        "path_rmse",
        "force_mae_parallel",
        "force_mae_perpendicular",
        "force_slope",
        "extrema",
        "extrema_reference",
    ),
    "sliding": (
        "barrier",
        "barrier_reference",
        "barrier_error",
        "asymmetry_error",
        "path_rmse",
        "closure_error",
    ),
    # Of a relaxed band ``barrier`` and ``barrier_error`` are the potential's own; what belongs to
    # the reference's images has names of its own, so that they are never mixed.
    "relaxed_neb": (
        "barrier",
        "barrier_reference",
        "barrier_error",
        "barrier_fixed",
        "barrier_fixed_error",
        "barrier_matched",
        "barrier_matched_error",
        "asymmetry_error",
        "converged",
        "iterations",
        "path_shift",
    ),
    "saddle": (
        "barrier",
        "barrier_band",
        "negative_modes",
        "imaginary_frequency",
        "prefactor",
        "connected",
    ),
    "gamma_surface": ("corrugation", "corrugation_per_area", "barrier", "minima", "closure_error"),
}


class Statistic(Config):
    """A metric over the seeds of one entry."""

    mean: float | None
    """None where no seed has the metric."""
    std: float | None
    """Sample standard deviation; None with fewer than two seeds."""
    count: int
    """Seeds that have the metric."""
    unit: str


class Row(Config):
    """One entry of the study (all its seeds) under one probe."""

    name: str
    strategy: str
    probe: str
    kind: str
    """Of the probe."""
    seeds: int
    """Finished seeds, whether they succeeded or not."""
    failed: int
    """Seeds without a potential."""
    metrics: dict[str, Statistic]


def statistic(values: Sequence[float | None], unit: str) -> Statistic:
    """Mean and sample standard deviation of the numbers among ``values``."""
    mean, std, count = mean_and_std(values)
    return Statistic(mean=mean, std=std, count=count, unit=unit)


def accuracy_table(records: StudyRecords) -> tuple[Row, ...]:
    """Table 1: force RMSE on all splits and energy RMSE on the test set, a row an entry."""
    return _table(records, {"accuracy": TABLE_1})


def path_table(records: StudyRecords) -> tuple[Row, ...]:
    """Barriers and their errors on every path, a row for an entry and a path."""
    return _table(records, PATH_METRICS)


def forgetting_table(records: StudyRecords) -> tuple[Row, ...]:
    """The forgetting index and its parts (positive: worse than the foundation), a row an entry."""
    metrics = ("index", *forgetting_evidence.PARTS)
    return _table(records, {forgetting_evidence.KIND: metrics})


def _table(records: StudyRecords, wanted: dict[str, tuple[str, ...]]) -> tuple[Row, ...]:
    return tuple(
        _row(name, runs, probe.name, probe.kind, wanted[probe.kind])
        for probe in records.probes().values()
        if probe.kind in wanted
        for name, runs in records.by_name().items()
    )


def _row(
    name: str, runs: Sequence[RunRecords], probe: str, kind: str, metrics: Sequence[str]
) -> Row:
    units = {
        metric: unit
        for run in runs
        if probe in run.probes
        for metric, unit in run.probes[probe].units.items()
    }
    return Row(
        name=name,
        strategy=runs[0].info.strategy,
        probe=probe,
        kind=kind,
        seeds=len(runs),
        failed=sum(run.info.status != "ok" for run in runs),
        metrics={
            metric: statistic([run.metric(probe, metric) for run in runs], units.get(metric, ""))
            for metric in metrics
        },
    )
