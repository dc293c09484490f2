"""Variants proposed by optuna, a batch at a time, so that a batch is trained as one fleet.

The trials are kept in ``search.json``: what was asked and what came of it. Samplers are made anew
for every batch, from the trials so far and a seed that depends on their number, so a search that
was interrupted proposes what it would have proposed undisturbed.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mlffjax import config as configuration
from mlffjax.config import Config
from mlffjax.errors import ConfigError, MissingExtra
from mlffjax.study.records import SCHEMA, StudyRecords, read_model, write_json
from mlffjax.study.sweep_config import (
    Choices,
    Range,
    SearchConfig,
    SweepConfig,
    Value,
    Variant,
)

FILE = "search.json"


class Trial(Config):
    """A point of the space and what came of it."""

    values: dict[str, Value]
    done: bool = False
    cost: float | None = None
    """Less is better; None, if done, for a variant without a number, such as a diverged one."""


class Trials(Config):
    """Contents of ``search.json``."""

    schema_version: int = SCHEMA
    fingerprint: str
    """Of what the costs of the trials depend on."""
    trials: tuple[Trial, ...] = ()


Run = Callable[[Sequence[Variant]], StudyRecords]
Cost = Callable[[Variant, StudyRecords], float | None]


def search(
    sweep: SweepConfig, out: Path, run: Run, cost: Cost
) -> tuple[tuple[Variant, ...], StudyRecords]:
    """Ask for batches of variants, have them run, and note their costs, until all are done.

    Args:
        sweep: with a search.
        out: output directory.
        run: trains and probes all variants given, as far as that is not yet done.
        cost: of a variant.

    Returns:
        All variants in the order in which they were proposed, and all records.

    Raises:
        ConfigError: ``out`` holds another search.
        MissingExtra: optuna is not installed.
    """
    settings = sweep.search
    assert settings is not None
    optuna = _optuna()
    known = _read(sweep, out)
    while True:
        count = min(settings.batch, settings.trials - len(known.trials))
        if count > 0 and all(trial.done for trial in known.trials):
            asked = _ask(optuna, settings, known.trials, count)
            known = _noted(known, [*known.trials, *(Trial(values=point) for point in asked)], out)
        variants = tuple(
            Variant(f"{sweep.run}_t{number:04d}", trial.values)
            for number, trial in enumerate(known.trials)
        )
        records = run(variants)
        pairs = zip(known.trials, variants, strict=True)
        known = _noted(known, [_done(*pair, records, cost) for pair in pairs], out)
        if len(known.trials) >= settings.trials:
            return variants, records


def _done(trial: Trial, variant: Variant, records: StudyRecords, cost: Cost) -> Trial:
    if trial.cost is not None:
        return trial
    # One without a number may have one now: what failed is tried again with every batch.
    return trial.model_copy(update={"done": True, "cost": cost(variant, records)})


def _ask(
    optuna: ModuleType, settings: SearchConfig, trials: Sequence[Trial], count: int
) -> list[dict[str, Any]]:
    """Points to try next."""
    seed = settings.seed + len(trials)
    samplers = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study = optuna.create_study(sampler=samplers[settings.sampler](seed=seed))
    space = {path: _distribution(optuna, entry) for path, entry in settings.space.items()}
    for trial in trials:
        # A variant that diverged is worse than any number: that is what "pruned" means to optuna.
        outcome = {"state": optuna.trial.TrialState.PRUNED}
        outcome = outcome if trial.cost is None else {"value": trial.cost}
        study.add_trial(
            optuna.trial.create_trial(params=dict(trial.values), distributions=space, **outcome)
        )
    return [dict(study.ask(space).params) for _ in range(count)]


def _distribution(optuna: ModuleType, entry: Range | Choices) -> Any:
    kinds = optuna.distributions
    if isinstance(entry, Choices):
        return kinds.CategoricalDistribution(entry.choices)
    if entry.integer:
        return kinds.IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return kinds.FloatDistribution(entry.low, entry.high, log=entry.log)


def _read(sweep: SweepConfig, out: Path) -> Trials:
    """The trials so far."""
    fingerprint = configuration.fingerprint(_essence(sweep))
    problems: list[str] = []
    known = read_model(out / FILE, Trials, problems)
    for problem in problems:
        warnings.warn(f"{problem}; the search begins again", RuntimeWarning, stacklevel=3)
    if known is None:
        return Trials(fingerprint=fingerprint)
    if known.fingerprint != fingerprint:
        raise ConfigError(
            f"{out}: expected trials of this search, got those of one with another study, run, "
            "space, seeds or objective, whose numbers cannot be compared; choose another output "
            "directory"
        )
    return known


def _essence(sweep: SweepConfig) -> Mapping[str, Any]:
    """Without what only says how far to go, how to choose, and where to compute."""
    data = configuration.dump(sweep)
    change = {path: x for path, x in data["change"].items() if path.split(".")[0] != "executor"}
    names = ("study", "run", "seeds", "objective")
    space = data["search"]["space"]
    return {name: data[name] for name in names} | {"change": change, "space": space}


def _noted(known: Trials, trials: Sequence[Trial], out: Path) -> Trials:
    known = known.model_copy(update={"trials": tuple(trials)})
    write_json(out / FILE, known)
    return known


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtra("a search needs optuna: pip install 'mlffjax[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
