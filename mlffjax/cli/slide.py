"""``mlffjax slide``: slide the layers of a structure over each other."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from mlffjax.cli._console import open_console

if TYPE_CHECKING:
    from mlffjax.study.slide import SlideConfig

app = typer.Typer()
CONFIGS = (".yaml", ".yml")


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
) -> None:
    """Slide layers along a line or over a whole surface; writes slide.json, slide.npz, line.extxyz.

    Layers are found in the structure. Useful entries: potential=DIR, surface=[12,12],
    direction=[1,-1,0], relaxation=gap, dispersion=d3bj, images=25.
    """
    import jax

    # A program may choose its precision; energies of sliding are small differences.
    jax.config.update("jax_enable_x64", True)
    from mlffjax import health
    from mlffjax.study.slide import run

    health.require_sound_jax()
    wanted, base = _wanted(source, overrides or [])
    console = open_console()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as bar:
        tasks = {name: bar.add_task(name, total=None) for name in ("line", "surface")}

        def observe(what: str, done: int, every: int) -> None:
            bar.update(tasks[what], completed=done, total=every)

        outcome = run(wanted, base, out, observe=observe)
    _tell(console, outcome.report, out)
    for failure in outcome.failures:
        console.print(f"failed: {failure}", markup=False, style="red", soft_wrap=True)
    if outcome.failures:
        raise typer.Exit(1)


def _wanted(source: str, overrides: list[str]) -> "tuple[SlideConfig, Path]":
    """The configuration in a file, or that of a structure alone."""
    from mlffjax.config import BUNDLED, assemble, locate, read
    from mlffjax.study.slide import SlideConfig

    if Path(source).suffix in CONFIGS:
        path = locate(source)
        return read(path, SlideConfig, overrides), path.parent
    name = source if source.startswith(BUNDLED) else str(Path(source).absolute())
    return assemble({"structure": name}, SlideConfig, overrides, where=source), Path.cwd()


def _tell(console: Console, report: dict[str, Any], out: Path) -> None:
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
        console.print(text, markup=False, highlight=False, soft_wrap=True)


def _energy(part: dict[str, Any], name: str) -> str:
    if part[name] is None:
        return "unknown"
    return f"{1e3 * part[name]:.1f} meV ({part[f'{name}_j_per_m2']:.4f} J/m²)"
