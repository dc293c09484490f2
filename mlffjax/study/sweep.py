"""Many variants of one run of a study: trained together where one program serves them, ranked.

A variant is a run like any other: its records are those of a study, so that probes, report and
verdict work on a sweep, finished variants are not done again, and a killed sweep goes on. What is
particular to a sweep is in ``sweep.json`` (``SweepInfo``) beside them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlffjax import config as configuration
from mlffjax.config import Config
from mlffjax.study.config import StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.progress import Observe
from mlffjax.study.records import (
    SCHEMA,
    RunRecords,
    StudyRecords,
    mean_and_std,
    write_json,
)
from mlffjax.study.sweep_config import (
    Objective,
    SweepConfig,
    Value,
    Variant,
    read_base,
    study_of,
    variants,
)
from mlffjax.study.sweep_search import search

FILE = "sweep.json"


class Ranked(Config):
    """One variant and what it reached."""

    name: str
    """Of its runs."""
    values: dict[str, Value]
    value: float | None
    """Mean of the objective over seeds, of magnitudes if they are to be small."""
    spread: float | None
    """Sample standard deviation over seeds; None with fewer than two."""
    seeds: int
    """With a number."""
    lost: int
    """Seeds without one: diverged, failed, or not measured."""


class SweepInfo(Config):
    """Contents of ``sweep.json``."""

    schema_version: int = SCHEMA
    name: str
    config: dict[str, Any]
    objective: str
    """In words."""
    ranking: tuple[Ranked, ...]
    """The best first; those without a number last."""
    cautions: tuple[str, ...]


class Outcome(NamedTuple):
    """What a sweep leaves behind."""

    records: StudyRecords
    info: SweepInfo


def whole_study(config: SweepConfig, folder: Path) -> tuple[StudyConfig, Path]:
    """The study of all variants that are known beforehand, and where its relative paths start.

    Args:
        config: the sweep; of a search it is the study whose run is varied, for its variants depend
            on what comes of others.
        folder: directory of its file.

    Raises:
        ConfigError: the sweep or its study cannot be used.
    """
    base = read_base(config, folder)
    known = base.config if config.search else study_of(config, base, variants(config))
    return known, base.folder


def sweep(
    config: SweepConfig,
    folder: Path,
    out: Path,
    *,
    observe: Observe | None = None,
    restart: bool = False,
) -> Outcome:
    """Do what is not yet done of a sweep.

    Args:
        config: the sweep.
        folder: directory of its file.
        out: output directory, see ``records``.
        observe: told about progress, as by ``execute``.
        restart: begin trainings that were interrupted again instead of continuing them.

    Raises:
        ConfigError: the sweep or its study cannot be used, or ``out`` holds another search.
        MissingExtra: a search needs optuna, which is not installed.
        InputError: data cannot be used, or another process works on ``out``.
        CompatibilityError: data and foundation do not belong together, or changed settings would
            abandon a training that was interrupted.
    """
    base = read_base(config, folder)
    again = restart

    def run(chosen: Sequence[Variant]) -> StudyRecords:
        nonlocal again
        study = study_of(config, base, chosen)
        records = execute(study, base.folder, out, observe=observe, restart=again)
        again = False  # what the next batches of a search find half done is of this sweep
        return records

    def cost(variant: Variant, records: StudyRecords) -> float | None:
        value = ranked(variant, records, config.objective).value
        return None if value is None else config.objective.cost(value)

    if config.search is None:
        chosen = variants(config)
        records = run(chosen)
    else:
        chosen, records = search(config, out, run, cost)
    info = SweepInfo(
        name=config.name,
        config=configuration.dump(config),
        objective=config.objective.label,
        ranking=ranking(chosen, records, config.objective),
        cautions=cautions(config),
    )
    write_json(out / FILE, info)
    return Outcome(records, info)


def ranking(
    chosen: Sequence[Variant], records: StudyRecords, objective: Objective
) -> tuple[Ranked, ...]:
    """The variants, the best first, those without a number last."""
    rows = [ranked(variant, records, objective) for variant in chosen]

    def order(row: Ranked) -> tuple[bool, float]:
        return row.value is None, 0.0 if row.value is None else objective.cost(row.value)

    return tuple(sorted(rows, key=order))


def ranked(variant: Variant, records: StudyRecords, objective: Objective) -> Ranked:
    """What a variant reached, over its seeds."""
    runs = records.by_name().get(variant.name, ())
    numbers = [reached(run, objective) for run in runs]
    if objective.goal == "small":
        numbers = [None if number is None else abs(number) for number in numbers]
    value, spread, count = mean_and_std(numbers)
    return Ranked(
        name=variant.name,
        values=variant.values,
        value=value,
        spread=spread,
        seeds=count,
        lost=len(runs) - count,
    )


def reached(run: RunRecords, objective: Objective) -> float | None:
    """The objective of one run; None without a potential or a number."""
    if run.info.status != "ok":
        return None
    if objective.probe is not None and objective.metric is not None:
        return run.metric(objective.probe, objective.metric)
    errors = [e for e in run.history.get("validation_force_mae", ()) if e is not None]
    return min(errors, default=None)


def cautions(config: SweepConfig) -> tuple[str, ...]:
    """What a reader of the ranking must know."""
    label = config.objective.label
    return (
        f"variants were ranked by {label}, so the number of the best one is optimistic: the more "
        "variants, the more so. Judge it by probes and frames that did not choose it",
    )
