"""``mlffjax slide``: slide the layers of a structure over each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlffjax import startup
from mlffjax.cli import _output, _plan, _progress, _studies
from mlffjax.cli._output import Output

if TYPE_CHECKING:
    from mlffjax.study.slide import SlideConfig, SlidePlan

app = typer.Typer()
CONFIG = "mlffjax.study.slide:SlideConfig"
SUFFIXES = (".yaml", ".yml")


@app.command("slide")
def slide(
    source: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG|STRUCTURE", help="A YAML file, or a structure to slide as it comes."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Change an entry; may be repeated."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write.")] = Path(
        "results/slide"
    ),
    dry_run: _studies.DryRun = False,
    estimate: _studies.Estimate = False,
    quiet: _output.Quiet = False,
    log: _output.LogForm = _output.Log.TEXT,
) -> None:
    """Slide layers along a line or over a whole surface; writes slide.json, slide.npz, line.extxyz.

    Layers are found in the structure. Useful entries: potential=DIR, surface=[12,12],
    direction=[1,-1,0], relaxation=gap, dispersion=d3bj, images=25.
    """
    startup.set_up()
    from mlffjax import health
    from mlffjax.study.slide import planned, run

    health.require_sound_jax()
    wanted, base = _wanted(source, overrides or [])
    output = Output(quiet=quiet, log=log)
    if dry_run or estimate:
        _tell_plan(output, wanted, planned(wanted, base), estimate=estimate)
        return
    with output.progress() as display:
        counter = _progress.Counter(display)

        def observe(what: str, done: int, every: int) -> None:
            counter(what, f"{what}: {done} of {every} structures", done, every)

        outcome = run(wanted, base, out, observe=observe)
    _tell(output, outcome.report, out)
    for failure in outcome.failures:
        output.fail(failure)
    if outcome.failures:
        raise typer.Exit(1)


def _wanted(source: str, overrides: list[str]) -> "tuple[SlideConfig, Path]":
    """The configuration in a file, or that of a structure alone."""
    from mlffjax.config import BUNDLED, assemble, locate, read
    from mlffjax.study.slide import SlideConfig

    if Path(source).suffix in SUFFIXES:
        path = locate(source)
        return read(path, SlideConfig, overrides), path.parent
    name = source if source.startswith(BUNDLED) else str(Path(source).absolute())
    return assemble({"structure": name}, SlideConfig, overrides, where=source), Path.cwd()


def _tell_plan(output: Output, wanted: "SlideConfig", plan: "SlidePlan", *, estimate: bool) -> None:
    sizes = ", ".join(str(len(layer.atoms)) for layer in plan.layers.layers)
    x, y, z = plan.vector
    shifts = wanted.images + (
        0 if wanted.surface is None else wanted.surface[0] * wanted.surface[1]
    )
    relaxed = (
        "" if wanted.relaxation == "rigid" else f", each relaxed in up to {wanted.steps} steps"
    )
    lines = [
        f"{len(plan.frame.system.numbers)} atoms in {len(plan.layers.layers)} layers of {sizes}; "
        f"{int(plan.along.moving.sum())} atoms move, {plan.along.interfaces} sheared gap(s)",
        f"line of {wanted.images} images along ({x:.3f}, {y:.3f}, {z:.3f}) Å",
    ]
    if wanted.surface is not None:
        lines.append(f"surface of {wanted.surface[0]} x {wanted.surface[1]} shifts")
    lines.append(f"{shifts} structures to evaluate{relaxed}; model {plan.model.described}")
    if estimate:
        lines += _estimate(plan, shifts, wanted.steps if relaxed else 1)
    for text in lines:
        output.say(text)


def _estimate(plan: "SlidePlan", shifts: int, steps: int) -> list[str]:
    from mlffjax.study.estimate import memory_peak, pace_of_atoms, times

    system = plan.frame.system
    pace = pace_of_atoms(plan.model.potential, [system])
    total = times(pace, shifts * steps * len(system.numbers))
    return [
        f"measured here and now: {_plan.spread(pace.seconds)} an atom",
        f"time: at most {_plan.span(total)}, without compilation and new neighbour lists",
        f"memory: {memory_peak() / 1e9:.2g} GB used by one structure",
    ]


def _tell(output: Output, report: dict[str, Any], out: Path) -> None:
    layers = report["layers"]
    sizes = ", ".join(str(len(atoms)) for atoms in layers["atoms"])
    lines = [f"{len(layers['atoms'])} layers of {sizes} atoms, {layers['area']:.2f} Å² of plane"]
    for name in ("line", "surface"):
        part = report[name]
        if part is None:
            continue
        low, high = part["interlayer_distance"]
        lines += [
            f"{name}: barrier {_energy(part, 'barrier')}, corrugation "
            f"{_energy(part, 'corrugation')}, {len(part['minima'])} minima, layers {low:.3f} to "
            f"{high:.3f} Å apart; closure {part['closure_error']:.1g} eV"
        ]
    for text in (*lines, f"written: {out}"):
        output.say(text)


def _energy(part: dict[str, Any], name: str) -> str:
    if part[name] is None:
        return "unknown"
    return f"{1e3 * part[name]:.1f} meV ({part[f'{name}_j_per_m2']:.4f} J/m²)"
