"""Tables and a figure of what ``compare.py`` measured."""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

LABELS = {
    "energy_forces": "energy + forces",
    "md": "MD step",
    "band": "9 images",
    "paths": "path of 9 images, of many",
    "training": "training step, 4 structures",
    "epoch": "epoch, 32 structures",
    "hvp": "Hessian times vector",
    "heat_flux": "heat flux",
}


class Bound(NamedTuple):
    """What is promised."""

    text: str
    key: str  # of the case
    quantity: str  # "speed": times; "first": seconds; else an entry, peer over ours
    limit: float


TUNED_136 = "energy_forces/medium/136/float32/1/tuned"
TUNED_376 = "energy_forces/medium/376/float32/1/tuned"
BOUNDS = (
    Bound("energy + forces, 136 atoms", "energy_forces/medium/136/float32/1/default", "speed", 10),
    Bound("energy + forces, 136 atoms, tuned malloc", TUNED_136, "speed", 6),
    Bound("energy + forces, 376 atoms, tuned malloc", TUNED_376, "speed", 6),
    Bound("MD step, 136 atoms", "md/medium/136/float32/1/default", "speed", 10),
    Bound("9 images of 61 atoms", "band/medium/61/float32/1/default", "speed", 10),
    Bound("training step, 4 x 61 atoms", "training/medium/61/float32/1/default", "speed", 8),
    Bound("peak memory of the process, 376 atoms", TUNED_376, "peak_rss_mb", 4),
    Bound("memory of a call, 376 atoms", TUNED_376, "call_mb", 4),
    Bound(
        "first call, 136 atoms, compilation included",
        "energy_forces/medium/136/float32/1/default",
        "first",
        10,
    ),
)
"""On one core, medium, float32; of the fastest peer with the same weights."""


def table(results: Mapping[str, Any], ours: str) -> str:
    """All cases and the bounds in Markdown."""
    parts = [_cases(results, ours), _bounds(results, ours)]
    if results.get("sweep"):
        ratios = results["sweep"]["ratios"]
        text = ", ".join(f"{name} {values['cpu_s']:.2f}" for name, values in ratios.items())
        parts.append(f"Eight variants in one program, CPU time over that of separate runs: {text}.")
    versions = {}
    for found in results["cases"].values():
        for entry in found["sides"].values():
            versions |= {k: v for k, v in entry.get("versions", {}).items() if k != "mode"}
    about = [
        f"{name} {value}" for name, value in {**results.get("machine", {}), **versions}.items()
    ]
    return "\n\n".join([*parts, "; ".join(about)])


def _cases(results: Mapping[str, Any], ours: str) -> str:
    head = [
        "work", "model", "atoms", "dtype", "cores", "malloc", "side", "ms (least)",
        "times ours (range; of the least)", "first call s", "peak GB (of a call)", "difference",
        "load",
    ]  # fmt: skip
    lines = [_row(head), _row(["---"] * len(head))]
    for found in results["cases"].values():
        case, sides = found["case"], found["sides"]
        start = [LABELS[case["work"]], case["architecture"], case["atoms"], case["dtype"]]
        start += [case["cores"], case["malloc"]]
        for name, entry in sides.items():
            if "failed" in entry:
                if entry["failed"] != "offers nothing of the kind":
                    lines.append(_row([*start, name, f"failed: {entry['failed'][:90]}", *[""] * 5]))
                continue
            lines.append(_row([*start, name, *_measured(found, name, ours)]))
    return "\n".join(lines)


def _measured(found: Mapping[str, Any], name: str, ours: str) -> list[str]:
    entry, mine = found["sides"][name], found["sides"].get(ours, {})
    clock = clock_of(found)
    values, ratio, call = entry[clock], "", entry.get("call_mb")
    if name != ours and mine.get(clock):
        ratios = [b / a for a, b in zip(mine[clock], values, strict=False)]
        least = min(values) / min(mine[clock])
        ratio = (
            f"{statistics.median(ratios):.1f} ({min(ratios):.1f}-{max(ratios):.1f}; {least:.1f})"
        )
    return [
        f"{1e3 * statistics.median(values):.1f} ({1e3 * min(values):.1f})",
        ratio,
        f"{entry['first_s']:.1f}",
        f"{entry['peak_rss_mb'] / 1024:.2f}" + (f" ({call / 1024:.2f})" if call else ""),
        f"{entry['difference']:.0e}" if "difference" in entry else "",
        "-".join(f"{load:.1f}" for load in found["load"]),
    ]


def clock_of(found: Mapping[str, Any]) -> str:
    """CPU time does not feel other processes; on several cores it is not what one waits for."""
    return "cpu_s" if found["case"]["cores"] == 1 else "wall_s"


def _bounds(results: Mapping[str, Any], ours: str) -> str:
    lines = [_row(["promised", "limit", "found", "of", "met"]), _row(["---"] * 5)]
    for bound in BOUNDS:
        value, peer = judged(results, bound, ours)
        sign, unit = ("<=", " s") if bound.quantity == "first" else (">=", " x")
        met = "" if value is None else _met(value, bound)
        text = "not measured" if value is None else f"{value:.1f}{unit}"
        lines.append(_row([bound.text, f"{sign} {bound.limit:g}{unit}", text, peer, met]))
    return "\n".join(lines)


def _met(value: float, bound: Bound) -> str:
    good = value <= bound.limit if bound.quantity == "first" else value >= bound.limit
    return "yes" if good else "**no**"


def judged(results: Mapping[str, Any], bound: Bound, ours: str) -> tuple[float | None, str]:
    """The value of a bound and the peer that it is measured by, the best one with equal weights."""
    found = results["cases"].get(bound.key)
    mine = found["sides"].get(ours, {}) if found else {}
    if found is None or "peak_rss_mb" not in mine:
        return None, ""
    if bound.quantity == "first":
        return mine["first_s"], ""
    ratios: dict[str, float] = {}
    for name, entry in found["sides"].items():
        if name == ours or "peak_rss_mb" not in entry or "weights" in entry["versions"]:
            continue
        if bound.quantity != "speed":
            if entry.get(bound.quantity) and mine.get(bound.quantity):
                ratios[name] = entry[bound.quantity] / mine[bound.quantity]
        else:
            clock = clock_of(found)
            pairs = zip(mine[clock], entry[clock], strict=False)
            ratios[name] = statistics.median(theirs / own for own, theirs in pairs)
    if not ratios:
        return None, ""
    peer = min(ratios, key=lambda name: ratios[name])
    return ratios[peer], peer


def _row(cells: list[Any]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def figure(results: Mapping[str, Any], ours: str, target: Path) -> None:
    """Time of each side in units of ours, case by case, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = []
    for found in results["cases"].values():
        mine = found["sides"].get(ours, {})
        if mine.get("cpu_s"):
            rows.append((found, clock_of(found)))
    names = list(dict.fromkeys(name for found, _ in rows for name in found["sides"]))
    drawn, axes = pyplot.subplots(figsize=(8, 1.2 + 0.5 * len(rows)), layout="constrained")
    colours = pyplot.get_cmap("tab10")
    for place, (found, clock) in enumerate(rows):
        mine = statistics.median(found["sides"][ours][clock])
        for index, name in enumerate(names):
            values = found["sides"].get(name, {}).get(clock)
            if values:
                ratios = sorted(value / mine for value in values)
                middle = statistics.median(ratios)
                spread = [[middle - ratios[0]], [ratios[-1] - middle]]
                axes.errorbar(middle, place, xerr=spread, fmt="o", color=colours(index), capsize=2)
    for index, name in enumerate(names):
        axes.plot([], [], "o", color=colours(index), label=name)
    axes.axvline(1, color="0.8", zorder=0)
    axes.set(xscale="log", xlabel=f"time over that of {ours}", yticks=range(len(rows)))
    axes.set_yticklabels([_label(found["case"]) for found, _ in rows])
    axes.invert_yaxis()
    drawn.legend(fontsize="small", loc="outside lower center", ncols=6)
    drawn.savefig(target, dpi=150)
    pyplot.close(drawn)


def _label(case: Mapping[str, Any]) -> str:
    cores = f", {case['cores']} cores" if case["cores"] > 1 else ""
    tuned = ", tuned malloc" if case["malloc"] == "tuned" else ""
    what = f"{LABELS[case['work']]}, {case['architecture']}, {case['atoms']} atoms"
    return f"{what}, {case['dtype']}{cores}{tuned}"
