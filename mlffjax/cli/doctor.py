"""``mlffjax doctor``: is this installation fit to compute with?"""

import importlib.util
import os
import platform
import tempfile
from collections.abc import Callable
from importlib import metadata

import typer
from rich.table import Table

import mlffjax
from mlffjax import startup
from mlffjax.cli._console import open_console

app = typer.Typer()
PACKAGES = ("jax", "jaxlib", "flax", "e3nn-jax", "optax", "ase", "matscipy", "numpy")

# A module that each extra brings.
EXTRAS = {
    "torch": "mace",
    "mace-jax": "mace_jax",
    "sevenn": "sevenn",
    "dispersion": "dftd3",
    "representation": "dscribe",
    "optuna": "optuna",
    "ray": "ray",
    "submitit": "submitit",
}


@app.command("doctor")
def doctor() -> None:
    """Check versions, extras, devices, the soundness of jax, the cache, and the bundled data."""
    table = Table("check", "finding", "", box=None, pad_edge=False)
    fine = True
    for name, check in CHECKS.items():
        try:
            finding, passed = check(), True
        except Exception as error:  # whatever it is, it is a finding
            finding, passed = f"{type(error).__name__}: {error}", False
        fine &= passed
        table.add_row(name, finding, "[green]ok[/]" if passed else "[bold red]WRONG[/]")
    open_console().print(table)
    if not fine:
        raise typer.Exit(1)


def _versions() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)


def _devices() -> str:
    from mlffjax import health

    return health.devices()


def _soundness() -> str:
    from mlffjax import health

    health.require_sound_jax()
    return "compiled jax agrees with NumPy"


def _extras() -> str:
    found = {name: importlib.util.find_spec(module) is not None for name, module in EXTRAS.items()}
    there = ", ".join(name for name, present in found.items() if present)
    absent = ", ".join(name for name, present in found.items() if not present)
    return f"found: {there or 'none'}; not installed, and not required: {absent or 'none'}"


def _cache() -> str:
    from mlffjax.potential import releases

    folder = releases.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return f"{folder} can be written; {startup.told()}"


def _data() -> str:
    from mlffjax.structures import bundled
    from mlffjax.structures.files import read_frames

    counts = []
    for name in bundled.names():
        count = sum(len(read_frames(path)) for path in bundled.files(name))
        counts.append(f"{name} {count}")
    return f"frames: {', '.join(counts)}"


def _generalist() -> str:
    potential, card = mlffjax.load("bundled:generalist")
    del potential
    return f"{card.name}: {' '.join(card.elements)}, {card.reference}"


CHECKS: dict[str, Callable[[], str]] = {
    "mlffjax": lambda: f"{mlffjax.__version__}, Python {platform.python_version()}",
    "packages": _versions,
    "extras": _extras,
    "cache": _cache,
    "devices": lambda: f"{_devices()}; {os.cpu_count()} CPU cores",
    "soundness": _soundness,
    "bundled data": _data,
    "bundled model": _generalist,
}
