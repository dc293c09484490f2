"""Many paths, many models: what is asked for, relaxed and written, pair by pair.

``run`` writes into its directory

    neb.json                     what was asked, one row a pair, failures
    neb.csv                      the barriers as a table
    pairs/MODEL/PATH.json        one pair: barriers, status, cause, attempts
    pairs/MODEL/PATH.npz         energies, positions and the traces of the relaxation
    pairs/MODEL/PATH.extxyz      the relaxed band, or the last sound images of a failed one

Three barriers stand in columns of their own and never replace each other: ``barrier_fixed`` on the
images as they are, ``barrier_matched`` on images brought to the lattice of the model, and
``barrier_relaxed``. With a section ``saddle`` a row has an entry of that name: the saddle below the
highest image of the relaxed band, its barrier, prefactor and rates.

A band that did not converge has no relaxed barrier; its row says what happened and why. A pair that
is finished, failed or not, is not repeated; one that an error stopped is tried again. Models of one
architecture are stacked and measured together.
"""

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from mlffjax import config as configuration
from mlffjax.durable import sealed, write_bytes
from mlffjax.errors import ConfigError, said
from mlffjax.pathways import fixed
from mlffjax.pathways.elastic import relax_pairs
from mlffjax.pathways.mapping import lanes
from mlffjax.pathways.outcome import Outcome
from mlffjax.pathways.transition import Options, Transition, refine
from mlffjax.probes import relaxed_neb, saddle
from mlffjax.probes.relaxed_neb import Task
from mlffjax.structures.files import write_frames
from mlffjax.structures.system import Frame
from mlffjax.study.inputs import versions
from mlffjax.study.lock import locked
from mlffjax.study.neb_inputs import NebConfig, NebPlan, planned, section_of
from mlffjax.study.records import (
    number_or_none,
    read_arrays,
    read_json,
    write_arrays,
    write_json,
)

REPORT, TABLE, PAIRS = "neb.json", "neb.csv", "pairs"
SCHEMA = 1  # of what a pair leaves behind; part of its fingerprint
ERROR, NOT_RELAXED = "error", "not relaxed"
COLUMNS = (
    "path", "model", "barrier_reference", "barrier_fixed", "barrier_matched", "barrier_relaxed",
    "status", "reason", "cause",
)  # fmt: skip

Observe = Callable[["Row", int, int], None]
"""Called with a row that was finished now or earlier, the number of these and that of all."""
Row = Mapping[str, Any]


class _Pair(NamedTuple):
    path: str
    model: str
    fingerprint: str
    file: Path  # without suffix


def run(
    config: NebConfig, base: Path, out: Path, *, observe: Observe | None = None
) -> dict[str, Any]:
    """Measure every pair that is not finished, and write what was found into a directory.

    Args:
        config: what to do.
        base: directory that its relative paths start from.
        out: output directory; pairs that were finished with the same settings are kept.
        observe: told about every pair.

    Returns:
        Contents of ``neb.json``.

    Raises:
        ConfigError: as ``planned``, or JAX is not set to 64 bits.
        InputError: as ``planned``, or another process works on ``out``.
        CompatibilityError: as ``planned``.
    """
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ConfigError(
            "barriers are small differences: expected JAX set to 64 bits; call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    plan = planned(config, base)
    tell = observe or (lambda row, done, every: None)
    rows: dict[tuple[str, str], Row] = {}
    with locked(out):
        for group in plan.groups:
            pairs = [
                _pair(config, plan, path, model, out) for path in plan.tasks for model in group
            ]
            for row in _rows(config, plan, group, pairs):
                rows[row["path"], row["model"]] = row
                tell(row, len(rows), plan.pairs)
        report = _report(config, [rows[p, m] for p in plan.tasks for m in plan.models])
        write_bytes(out / TABLE, _table(report["rows"]).encode())
        write_json(out / REPORT, report)
    return report


def _pair(config: NebConfig, plan: NebPlan, path: str, model: str, out: Path) -> _Pair:
    settings = configuration.dump(section_of(config, path))
    parts = [SCHEMA, settings, sorted(config.barriers), plan.digests[path], plan.identities[model]]
    if config.saddle is not None:
        parts.append(configuration.dump(config.saddle))
    return _Pair(path, model, configuration.fingerprint(*parts), out / PAIRS / model / path)


def _rows(
    config: NebConfig, plan: NebPlan, group: Sequence[str], pairs: Sequence[_Pair]
) -> Iterator[Row]:
    """Rows of models of one architecture: first those that are there, then the others."""
    pending = []
    for pair in pairs:
        known = read_json(_file(pair, ".json"), []) or {}
        done = known.get("fingerprint") == pair.fingerprint and known.get("status") != ERROR
        if done and read_arrays(_file(pair, ".npz")) is not None:
            yield known
        else:
            pending.append(pair)
    width = config.together or lanes(len(pairs))
    for first in range(0, len(pending), width):
        yield from _measured(config, plan, group, pending[first : first + width])


def _file(pair: _Pair, suffix: str) -> Path:
    return pair.file.with_name(pair.file.name + suffix)  # names may contain dots


class _Found(NamedTuple):
    """What was found for one pair; None where it was not asked for."""

    fixed: np.ndarray
    matched: dict[str, float] | None
    outcome: Outcome | None
    transition: Transition | None


def _measured(
    config: NebConfig, plan: NebPlan, group: Sequence[str], pairs: Sequence[_Pair]
) -> Iterator[Row]:
    """Measure and write some pairs of models of one architecture."""
    start = time.monotonic()
    try:
        found: list[_Found | str] = [*_found(config, plan, group, pairs)]
    except Exception as error:  # one pair must not end the batch
        if len(pairs) > 1:  # nor the others of its call
            for pair in pairs:
                yield from _measured(config, plan, group, [pair])
            return
        found = [said(error)]
    seconds = (time.monotonic() - start) / len(pairs)
    for pair, one in zip(pairs, found, strict=True):
        row: dict[str, Any] = {"path": pair.path, "model": pair.model}
        row["fingerprint"] = pair.fingerprint
        arrays: dict[str, np.ndarray] = {}
        pair.file.parent.mkdir(parents=True, exist_ok=True)
        _file(pair, ".json").unlink(missing_ok=True)  # never a row beside arrays of another
        if isinstance(one, str):
            row |= {"status": ERROR, "reason": one, "cause": ""}
        else:
            numbers, arrays = _numbers(config, plan.tasks[pair.path], one)
            row |= numbers
            if one.outcome is not None:
                write_frames(_file(pair, ".extxyz"), _frames(pair, one.outcome))
        write_arrays(_file(pair, ".npz"), arrays)
        row["seconds"] = seconds
        write_json(_file(pair, ".json"), sealed(row))
        yield row


def _found(
    config: NebConfig, plan: NebPlan, group: Sequence[str], pairs: Sequence[_Pair]
) -> Iterator[_Found]:
    """Everything that is asked of some pairs, each kind of barrier in one call for all of them."""
    potentials = [plan.models[name] for name in group]
    tasks = [(plan.tasks[pair.path], group.index(pair.model)) for pair in pairs]
    energies = fixed.heights(potentials, [(task.reference, which) for task, which in tasks])
    matched: Sequence[dict[str, float] | None] = [None] * len(pairs)
    if "matched" in config.barriers:
        matched = relaxed_neb.matched_metrics_of(potentials, tasks)
    outcomes: Sequence[Outcome | None] = [None] * len(pairs)
    if "relaxed" in config.barriers:
        bands = [(task.start, which) for task, which in tasks]
        outcomes = relax_pairs(potentials, bands, config.relaxation)
    for index, (_, which) in enumerate(tasks):
        outcome, transition = outcomes[index], None
        if config.saddle is not None and outcome is not None:
            transition = refine(potentials[which], outcome, config.saddle)
        yield _Found(energies[index], matched[index], outcome, transition)


def _numbers(
    config: NebConfig, task: Task, found: _Found
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The row of a pair and its arrays."""
    arrays = {"energy_fixed": found.fixed, "positions_reference": task.reference.positions}
    numbers: dict[str, float] = {}
    if task.energy is not None:
        arrays["energy_reference"] = task.energy
        numbers["barrier_reference"] = float(task.energy.max())
    if "fixed" in config.barriers:
        numbers["barrier_fixed"] = float(found.fixed.max())
    numbers |= found.matched or {}
    told: dict[str, Any] = {"status": NOT_RELAXED, "reason": "", "cause": "", "attempts": []}
    if found.outcome is not None:
        metrics = relaxed_neb.outcome_metrics(task, found.outcome)
        numbers |= {_RENAMED.get(name, name): float(value) for name, value in metrics.items()}
        arrays |= relaxed_neb.outcome_arrays(found.outcome)
        told = _told(found.outcome)
    skipped = ("status", "failure", "attempts", "converged")
    plain: dict[str, Any] = {k: number_or_none(v) for k, v in numbers.items() if k not in skipped}
    if found.transition is not None and config.saddle is not None:
        plain["saddle"] = _saddle(found.transition, config.saddle)
        arrays |= saddle.transition_arrays(found.transition, config.saddle)
    return told | plain, arrays


def _saddle(transition: Transition, options: Options) -> dict[str, Any]:
    """The saddle of a pair: numbers as in the probe of that kind, status and reason in words."""
    metrics = saddle.transition_metrics(transition, options)
    plain = {name: number_or_none(float(value)) for name, value in metrics.items()}
    return plain | {"status": transition.status, "reason": transition.reason}


_RENAMED = {
    "barrier": "barrier_relaxed",
    "barrier_reverse": "barrier_relaxed_reverse",
    "barrier_hermite": "barrier_relaxed_hermite",
    "asymmetry": "asymmetry_relaxed",
}


def _told(outcome: Outcome) -> dict[str, Any]:
    """What became of a band, in words."""
    tries = [
        {"name": a.name, "status": a.status, "reason": a.reason, "iterations": a.iterations}
        for a in outcome.attempts
    ]
    return {
        "status": outcome.status,
        "reason": outcome.reason,
        "cause": outcome.cause,
        "attempts": tries,
    }


def _frames(pair: _Pair, outcome: Outcome) -> list[Frame]:
    """The images; energies are the model's, so they are no labels."""
    heights = outcome.energies - outcome.energies[0]
    name = f"{pair.model}:{pair.path}"
    return [
        Frame(
            system=outcome.image(index),
            energy=None,
            forces=None,
            stress=None,
            config_type="neb",
            trajectory=name,
            order=float(index),
            identifier=f"{name}:{index}",
            source=f"{name} image {index}",
            info={"image": index, "model": pair.model, "status": outcome.status}
            | ({"model_energy": float(height)} if np.isfinite(height) else {}),
        )
        for index, height in enumerate(heights)
    ]


def _failures(config: NebConfig, rows: Sequence[Row]) -> Iterator[str]:
    """Pairs that lack a number that was asked for, and why."""
    for row in rows:
        where = f"path {row['path']!r}, model {row['model']!r}"
        if row["status"] not in ("converged", NOT_RELAXED):
            cause = f"; {row['cause']}" if row["cause"] else ""
            yield f"{where}: {row['status']}: {row['reason']}{cause}"
            if row["status"] == ERROR:
                continue
        refined = row.get("saddle")
        if refined and refined["status"] not in ("found", "no_band"):  # the band was named above
            yield f"{where}: no saddle: {refined['status']}: {refined['reason']}"
        for kind, why in (
            ("fixed", "energies on the images are not finite"),
            ("matched", "the cell of the first image did not relax"),
        ):
            if kind in config.barriers and row.get(f"barrier_{kind}") is None:
                yield f"{where}: no {kind} barrier: {why}"


def _report(config: NebConfig, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "config": configuration.dump(config),
        "rows": list(rows),
        "failures": list(_failures(config, rows)),
        "warnings": [
            f"path {row['path']!r}, model {row['model']!r}: {row['reason']}"
            for row in rows
            if row["status"] == "converged" and row["reason"]
        ],
        "versions": versions(),
    }


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([row.get(name) for name in COLUMNS] for row in rows)
    return text.getvalue()
