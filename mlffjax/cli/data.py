"""``mlffjax data``: look at frames, and make files of frames out of others, before a study."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mlffjax.cli._console import open_console
from mlffjax.errors import CompatibilityError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlffjax.structures.comparison import Comparison
    from mlffjax.structures.system import Frame

app = typer.Typer()
group = typer.Typer(
    no_args_is_help=True, help="Check, inspect, convert, select, split and merge frames."
)
app.add_typer(group, name="data")

COLUMNS = ("config_type", "frames", "atoms", "elements", "energy eV/atom", "max |F| eV/Å", "stress")

Files = Annotated[
    list[str], typer.Argument(help="Paths, globs or bundled:... of extended XYZ or ASE files.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Extended XYZ file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


@group.command("check")
def check(
    files: Files,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="FILES",
            help="Other files whose energies must be of the same reference; may be repeated.",
        ),
    ] = None,
) -> None:
    """Read files, check every frame, and print a table of what is in them.

    With --against, compare energies with those of other files: of structures that both hold, of
    equal compositions, and of elements by least squares; different units or references are refused.
    """
    from mlffjax.structures.datasets import expand
    from mlffjax.structures.files import read_frames

    console, errors = open_console(), []
    frames: dict[bool, list[Frame]] = {False: [], True: []}
    for text, other in [*((t, False) for t in files), *((t, True) for t in against or [])]:
        try:
            for path in expand([text], Path.cwd()):
                found = read_frames(path)
                frames[other] += found
                console.print(_table(path, found))
        except InputError as error:  # the other files still deserve their check
            errors.append(str(error))
    if errors:
        raise InputError("\n       ".join(errors))
    if against:
        _compare(frames[True], frames[False])


@group.command("inspect")
def inspect(
    files: Files,
    html: Annotated[
        Path | None, typer.Option("--html", help="Page with histograms to write.")
    ] = None,
    force: Force = False,
) -> None:
    """Count compositions, duplicates and missing labels, and show the range of every quantity."""
    from mlffjax.durable import write_bytes
    from mlffjax.report import datasheet
    from mlffjax.structures.overview import overview

    if html is not None:
        _refuse_existing([html], force=force)
    frames = [frame for members in _read(files) for frame in members]
    found = overview(frames)
    for line in datasheet.summary(found):
        _say(line)
    table = Table("quantity", "least", "median", "most", box=None, pad_edge=False)
    for name, values in found.values.items():
        ordered = sorted(values)
        numbers = (ordered[0], ordered[len(ordered) // 2], ordered[-1])
        table.add_row(name, *(f"{number:.5g}" for number in numbers))
    open_console().print(table)
    if html is not None:
        write_bytes(html, datasheet.page(found, title=" ".join(files)).encode())
        _say(f"wrote {html}")


@group.command("convert")
def convert(
    files: Annotated[
        list[str],
        typer.Argument(help="vasprun.xml, OUTCAR, output of pw.x or CP2K, or what ASE reads."),
    ],
    out: Out,
    config_type: Annotated[
        str, typer.Option("--config-type", help="Kind of structure to note in every frame.")
    ] = "Default",
    force: Force = False,
) -> None:
    """Make extended XYZ with REF_ labels of outputs of VASP, Quantum ESPRESSO and others.

    Frames without convergence or energy are left out and listed. Each file is one trajectory. The
    energy is the free energy, of which forces are derivatives.
    """
    from mlffjax.structures import conversion
    from mlffjax.structures.datasets import expand, file_labels

    _require_extended_xyz(out)
    _refuse_existing([out], force=force)
    paths = expand(files, Path.cwd())
    # Outputs are often all called alike, in folders that tell them apart.
    labels = file_labels(paths)
    frames = []
    for path, label in zip(paths, labels, strict=True):
        found = conversion.convert(path, label=label, config_type=config_type)
        frames.extend(found.frames)
        for line in found.dropped:
            _say(f"left out {line}")
        if not found.judged:
            _say(f"{path}: this format does not tell whether frames converged; look yourself")
    _write(out, frames)


@group.command("select")
def select(
    files: Files,
    out: Out,
    count: Annotated[int | None, typer.Option("--count", "-n", help="Number of frames.")] = None,
    fraction: Annotated[
        float | None,
        typer.Option(
            "--fraction",
            help="Of the frames, instead of a count; with --stratified, of the smallest kind.",
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="farthest_point|random", help="How to choose.")
    ] = "farthest_point",
    config_type: Annotated[
        list[str] | None,
        typer.Option("--config-type", help="Name or pattern to choose from; may be repeated."),
    ] = None,
    stratified: Annotated[
        bool, typer.Option("--stratified", help="Equally many frames of each config_type.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of the random method.")] = 0,
    force: Force = False,
) -> None:
    """Choose a representative part, in the order of choice; isolated atoms are kept, in front."""
    from mlffjax.config import validate
    from mlffjax.structures import selection

    _require_extended_xyz(out)
    _refuse_existing([out], force=force)
    if method == "uncertainty":
        raise InputError("expected farthest_point or random, got uncertainty, which needs a study")
    if (count is None) == (fraction is None):
        raise InputError("expected one of --count and --fraction; give the size of the selection")
    settings: dict[str, Any] = {
        "count": count,
        "fraction": fraction,
        "method": method,
        "config_types": config_type or None,
        "equal_by": "config_type" if stratified else None,
        "seed": seed,
    }
    config = validate(settings, selection.SelectionConfig, where="options")
    isolated, frames = _parted(_read(files))
    chosen = selection.select(frames, range(len(frames)), config)
    _write(out, [*isolated, *(frames[index] for index in chosen)])


@group.command("split")
def split(
    files: Files,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for train, validation and test.xyz.")
    ],
    validation: Annotated[float, typer.Option("--validation", help="Fraction of frames.")] = 0.1,
    test: Annotated[float, typer.Option("--test", help="Fraction of frames.")] = 0.2,
    kind: Annotated[
        str,
        typer.Option(
            "--kind", metavar="blocks|random", help="Cut trajectories in time, or draw frames."
        ),
    ] = "blocks",
    seed: Annotated[int, typer.Option("--seed", help="Of the random kind.")] = 0,
    force: Force = False,
) -> None:
    """Cut frames as a study does and write the parts; isolated atoms go to train.xyz."""
    from mlffjax.config import validate
    from mlffjax.structures import splits

    fractions = {"train": 1.0, "validation": validation, "test": test}
    settings = {"kind": kind, "validation": validation, "test": test, "seed": seed}
    config = validate(settings, splits.SplitConfig, where="options")
    targets = {name: out / f"{name}.xyz" for name, part in fractions.items() if part > 0}
    _refuse_existing(list(targets.values()), force=force)
    isolated, frames = _parted(_read(files))
    parts = splits.split(frames, config)._asdict()
    for name, path in targets.items():
        extra = isolated if name == "train" else []
        _write(path, [*extra, *(frames[index] for index in parts[name])])


@group.command("merge")
def merge(
    files: Files,
    out: Out,
    same_reference: Annotated[
        bool,
        typer.Option(
            "--same-reference",
            help="One method labelled all files: do not compare energies between them.",
        ),
    ] = False,
    force: Force = False,
) -> None:
    """Join files; duplicates, mixed units and mixed references are refused."""
    from mlffjax.structures import merging

    _require_extended_xyz(out)
    _refuse_existing([out], force=force)
    _write(out, merging.merge(_read(files), compare=not same_reference))


def _read(files: list[str]) -> "list[list[Frame]]":
    """Frames of each file, with trajectories named apart."""
    from mlffjax.structures.datasets import expand, file_labels
    from mlffjax.structures.files import read_frames

    paths = expand(files, Path.cwd())
    return [
        read_frames(path, label=label)
        for path, label in zip(paths, file_labels(paths), strict=True)
    ]


def _parted(sets: "list[list[Frame]]") -> "tuple[list[Frame], list[Frame]]":
    """Isolated atoms, and the other frames."""
    from mlffjax.structures.checks import is_isolated

    frames = [frame for members in sets for frame in members]
    return [f for f in frames if is_isolated(f)], [f for f in frames if not is_isolated(f)]


def _require_extended_xyz(path: Path) -> None:
    from mlffjax.structures.files import EXTENDED_XYZ

    if path.suffix not in EXTENDED_XYZ:
        raise InputError(f"expected a file to write that ends in .xyz or .extxyz, got {path}")


def _refuse_existing(paths: list[Path], *, force: bool) -> None:
    for path in paths:
        if path.is_dir() or (path.exists() and not force):
            raise InputError(f"{path} exists already; name another place, or give --force")


def _write(path: Path, frames: "Sequence[Frame]") -> None:
    from mlffjax.structures.files import write_frames

    if not frames:
        raise InputError(f"{path}: expected frames to write, got none; nothing was written")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_frames(path, frames)
    _say(f"wrote {path}: {len(frames)} frames")


def _say(text: str) -> None:
    open_console().print(text, markup=False, highlight=False, soft_wrap=True)


def _compare(first: "list[Frame]", second: "list[Frame]") -> None:
    from mlffjax.structures import comparison, datasets
    from mlffjax.structures.checks import is_isolated, require_one_unit

    datasets.isolated_energies([*first, *second])  # refuses contradictions
    found = comparison.compare(first, second)
    for line in _differences(found):
        _say(line)
    wrong = comparison.problems(found)
    if wrong:
        raise CompatibilityError(
            f"expected one reference method, but {'; '.join(wrong)}; do not mix these files"
        )
    require_one_unit(frame for frame in (*first, *second) if not is_isolated(frame))


def _differences(found: "Comparison") -> list[str]:
    from mlffjax.structures.elements import symbols

    pairs = zip(symbols(found.elements), found.shifts.tolist(), strict=True)
    shifts = [
        f"{symbol} " + ("not determined" if shift != shift else f"{shift:+.4f}")
        for symbol, shift in pairs
    ]
    largest = f", at most {max(abs(found.repeated)):.6f} eV/atom" if len(found.repeated) else ""
    return [
        f"structures in both: {len(found.repeated)}{largest}",
        f"equal compositions: {found.compared} frames"
        + (f", offset {found.offset:+.4f} eV/atom" if found.compared else "; not comparable"),
        f"energies of elements by least squares, difference in eV: {', '.join(shifts)}",
    ]


def _table(path: Path, frames: "list[Frame]") -> Table:
    table = Table(*COLUMNS, title=str(path), title_justify="left", box=None, pad_edge=False)
    kinds = sorted({frame.config_type for frame in frames})
    for kind in kinds:
        table.add_row(*_row(kind, [frame for frame in frames if frame.config_type == kind]))
    return table


def _row(kind: str, frames: "list[Frame]") -> tuple[str, ...]:
    from mlffjax.structures.system import to_ase

    sizes = [len(frame.system.numbers) for frame in frames]
    elements = sorted({symbol for frame in frames for symbol in to_ase(frame.system).symbols})
    energies = [f.energy / len(f.system.numbers) for f in frames if f.energy is not None]
    forces = [abs(f.forces).max() for f in frames if f.forces is not None]
    stresses = sum(frame.stress is not None for frame in frames)
    return (
        kind,
        str(len(frames)),
        _range(sizes, ""),
        " ".join(elements),
        _range(energies, ".3f") + _missing(len(energies), len(frames)),
        (f"{max(forces):.2f}" if forces else "none") + _missing(len(forces), len(frames)),
        "yes" + _missing(stresses, len(frames)) if stresses else "none",
    )


def _range(values: list[int] | list[float], style: str) -> str:
    if not values:
        return "none"
    low, high = format(min(values), style), format(max(values), style)
    return low if low == high else f"{low} to {high}"


def _missing(found: int, frames: int) -> str:
    return f" ({frames - found} without)" if 0 < found < frames else ""
