"""Curves of single runs out of their arrays, and their mean and spread over seeds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from mlffjax.report import style
from mlffjax.report.panels import Form, Trace, cleaned
from mlffjax.report.style import Look
from mlffjax.study.records import ProbeInfo, RunRecords, StudyRecords, mean_and_std

Measured = Sequence[tuple[RunRecords, Mapping[str, np.ndarray]]]
"""Runs with the arrays of one probe."""


class Curve(NamedTuple):
    """One curve of one run; ``None`` and NaN are gaps."""

    run: str
    x: np.ndarray
    y: np.ndarray


def measured(study: StudyRecords, probe: ProbeInfo, *needed: str) -> Measured:
    """The runs whose arrays of this probe can be read and hold what is needed."""
    every = ((run, run.arrays(probe.name)) for run in study.runs)
    return [(run, arrays) for run, arrays in every if all(name in arrays for name in needed)]


def grouped(known: Measured) -> dict[str, Measured]:
    """The runs by candidate, in order."""
    groups: dict[str, Measured] = {}
    for run, arrays in known:
        groups[run.info.name] = (*groups.get(run.info.name, ()), (run, arrays))
    return groups


def reference_traces(source: str, known: Measured, axes: tuple[str, str]) -> Iterator[Trace]:
    """The reference's curve and images, from the first run that recorded them.

    Args:
        source: what the reference is called.
        known: runs with their arrays.
        axes: names of the abscissae of the images and of the samples of a curve, the latter empty
            where there is no curve but only images.
    """
    images, samples = axes
    for _, arrays in known:
        if "energy_reference" in arrays:
            x, y = cleaned(arrays[images]), cleaned(arrays["energy_reference"])
            if samples and "curve_energy_reference" in arrays:
                curve = cleaned(arrays["curve_energy_reference"])
                yield Trace(source, "line", style.REFERENCE, cleaned(arrays[samples]), curve)
            else:
                yield Trace(source, "line", style.REFERENCE, x, y)
            yield Trace(source, "marks", style.REFERENCE, x, y)
            return


def extracted(known: Measured, x: str, y: str, *, minus: str = "") -> list[Curve]:
    """One curve per run: array ``y`` over array ``x``, less array ``minus`` if given.

    Runs that lack one of the arrays are left out.
    """
    needed = [name for name in (x, y, minus) if name]
    return [
        Curve(
            f"seed {run.info.seed}",
            arrays[x],
            arrays[y] - arrays[minus] if minus else arrays[y],
        )
        for run, arrays in known
        if all(name in arrays for name in needed)
    ]


def with_spread(name: str, look: Look, curves: Sequence[Curve]) -> Iterator[Trace]:
    """Band, single seeds and mean; curves on different abscissae are left single."""
    if not curves:
        return
    if len(curves) == 1 or not _aligned(curves):
        for curve in curves:
            form: Form = "line" if len(curves) == 1 else "seed"
            yield Trace(name, form, look, cleaned(curve.x), cleaned(curve.y), curve.run)
        return
    spread = [mean_and_std(cleaned(column)) for column in zip(*(c.y for c in curves), strict=True)]
    low = tuple(None if m is None or s is None else m - s for m, s, _ in spread)
    high = tuple(None if m is None or s is None else m + s for m, s, _ in spread)
    x = cleaned(curves[0].x)
    yield Trace(name, "band", look, x, (), "", low, high)
    for curve in curves:
        yield Trace(name, "seed", look, x, cleaned(curve.y), curve.run)
    yield from mean_trace(name, look, curves, "line")


def mean_trace(name: str, look: Look, curves: Sequence[Curve], form: Form) -> Iterator[Trace]:
    """The mean over seeds where they share their abscissae, otherwise nothing."""
    if curves and _aligned(curves):
        columns = zip(*(curve.y for curve in curves), strict=True)
        means = tuple(mean_and_std(cleaned(column))[0] for column in columns)
        yield Trace(name, form, look, cleaned(curves[0].x), means)


def _aligned(curves: Sequence[Curve]) -> bool:
    first = curves[0].x
    return all(c.x.shape == first.shape and np.allclose(c.x, first) for c in curves)
