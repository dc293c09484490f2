"""Commands of seconds on argon, and what may be said of two outputs of one of them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
import yaml
from study import small

from mlffjax.dynamics.trajectory import read
from mlffjax.probes import _dynamics
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.system import Frame

VOLATILE = {"seconds", "training_seconds", "started", "steps_per_second", "seal"}
"""Entries of records that tell of the clock."""
TRAINING = {
    "epochs": 120, "patience": 120, "buckets": 1, "learning_rate": 1e-4, "precision": "float64",
    "checkpoint_seconds": 0,
}  # fmt: skip
TUNED = {"name": "tuned", "strategy": {"kind": "finetune"}, "seeds": [0, 1],
         "data": {"config_types": ["hot"], "count": 4}}  # fmt: skip
ZERO = {"name": "zero", "strategy": {"kind": "zero_shot"}}
MD = {
    "structure": "argon.extxyz",
    "potential": "foundation",
    "md": {
        "temperature_k": 40, "timestep_fs": 4, "ensemble": {"kind": "nvt_langevin"},
        "equilibration": [{"ensemble": {"kind": "nvt_csvr"}, "steps": 100}],
        "steps": 300, "skin": 0.3, "checkpoint_every": 20,
        "intervals": {"thermo": 2, "positions": 5, "velocities": 10},
    },
}  # fmt: skip
NEB = {
    "paths": {"hop": {"file": "hop.xyz"}, "again": {"file": "hop.xyz"}},
    "models": {"one": {"potential": "foundation"}, "other": {"potential": "foundation"}},
    "relaxation": {"fmax": 0.02},
    "barriers": ["fixed", "relaxed"],
}
SWEEP = {
    "name": "sweep", "study": "argon.yaml", "run": "tuned", "seeds": [0],
    "change": {"training.epochs": 30},
    "search": {
        "trials": 4, "batch": 2,
        "space": {"training.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True}},
    },
}  # fmt: skip


class Command(NamedTuple):
    """What to start; the output directory is to be appended."""

    name: str
    arguments: tuple[str, ...]
    rtol: float = 0.0
    """Of numbers in results: 0 where equal bits are promised. Runs that are trained or measured in
    other company after a kill are equal to rounding (``study.runs``)."""


COMMANDS = {
    command.name: command
    for command in (
        Command("train", ("train", "train.yaml", "--quiet", "--out")),
        Command("study", ("study", "argon.yaml", "--quiet", "--out"), 1e-8),
        Command("sweep", ("sweep", "sweep.yaml", "--quiet", "--out"), 1e-8),
        Command("md", ("md", "md.yaml", "--quiet", "--out")),
        Command("neb", ("neb", "neb.yaml", "--quiet", "--out")),
        Command("report", ("report",)),
    )
}


def write_inputs(folder: Path) -> None:
    """Configurations and data of all commands below ``folder``."""
    small.write_inputs(folder)
    system = _dynamics.starting_system(*_dynamics.example_start())
    frame = Frame(system, None, None, None, "", "", 0.0, "a", "a", {})
    write_frames(folder / "argon.extxyz", [frame])
    study = small.settings(
        training=TRAINING,
        runs=[TUNED, ZERO],
        probes=[{"kind": "accuracy", "name": "accuracy"},
                {"kind": "fixed_path", "name": "hop", "path": "hop"}],
    )  # fmt: skip
    alone = {key: study[key] for key in ("name", "data", "splits", "foundation", "training")}
    texts = {
        "argon": study,
        "train": alone | {"strategy": {"kind": "finetune"}},
        "md": MD,
        "neb": NEB,
        "sweep": SWEEP,
    }
    for name, content in texts.items():
        plain = json.loads(json.dumps(content))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))


def contents(out: Path) -> dict[str, Any]:
    """What an output directory says, file by file, without what tells of the clock.

    Every file is read as its readers do, so a half-written one fails here. Files whose names begin
    with a dot are locks, journals and files that are being written: nobody reads them by name.
    """
    return {
        str(file.relative_to(out)): READERS.get(file.suffix, Path.read_bytes)(file)
        for file in sorted(out.rglob("*"))
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(out).parts)
    }


def _json(file: Path) -> Any:
    found = json.loads(file.read_bytes())
    if file.name == "history.json":
        return {name: column for name, column in found.items() if name not in VOLATILE}
    return _timeless(found)


def _timeless(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _timeless(value) for key, value in data.items() if key not in VOLATILE}
    if isinstance(data, str):
        return re.sub(r"a training took .*", "a training took some time", data)
    return [_timeless(value) for value in data] if isinstance(data, list) else data


def _npz(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if name != "header"}


def _h5(file: Path) -> dict[str, Any]:
    found = read(file)
    return {
        name: [series.steps, series.times_fs, series[:]] for name, series in found.series.items()
    }


def _html(file: Path) -> bool:
    text = file.read_text()
    assert text.lower().startswith("<!doctype html>"), file
    assert text.rstrip().endswith("</html>"), file
    return True  # it is made of the other files, and of times


def _frames(file: Path) -> list[np.ndarray]:
    return [frame.system.positions for frame in read_frames(file)]


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _json,
    ".npz": _npz,
    ".safetensors": lambda file: dict(sorted(safetensors.numpy.load_file(file).items())),
    ".h5md": _h5,
    ".html": _html,
    ".extxyz": _frames,
}


def assert_equal(found: Any, expected: Any, rtol: float, where: str = "") -> None:
    """Compare plain data and arrays; numbers equal to the bit if ``rtol`` is 0."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), f"{where}: {found.keys() ^ expected.keys()}"
        for key, value in expected.items():
            assert_equal(found[key], value, rtol, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            assert_equal(found[index], value, rtol, f"{where}[{index}]")
    elif isinstance(expected, np.ndarray | float) and np.asarray(expected).dtype.kind == "f":
        if rtol:
            np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-10, err_msg=where)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=where)
    else:
        assert np.array_equal(found, expected), (
            f"{where}: {repr(found)[:80]} instead of {repr(expected)[:80]}"
        )


def finished(out: Path) -> dict[str, tuple[int, bytes]]:
    """Time of writing and content of the files of all that is finished, which must stay."""
    groups = [
        *(([f, *f.parent.glob("weights.*"), *f.parent.glob("card.*")], "run") for f in
          out.glob("runs/*/run.json")),
        *((f.parent.glob(f"{f.stem}.*"), "record") for f in out.glob("runs/*/records/*.json")),
        *((f.parent.glob(f"{f.stem}.*"), "pair") for f in out.glob("pairs/*/*.json")),
    ]  # fmt: skip
    files = {file for group, _ in groups for file in group}
    return {str(f.relative_to(out)): (f.stat().st_mtime_ns, f.read_bytes()) for f in files}
