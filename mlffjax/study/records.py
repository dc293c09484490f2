"""What a study leaves on disk, and how to read it back.

::

    OUT/
      study.json                                  StudyInfo
      structures.json                             images of the paths (path_records)
      runs/<name>-s<seed>-<fingerprint>/
        run.json                                  RunInfo; written last, so it marks a finished run
        card.json, weights.safetensors            the potential (mlffjax.potential.store)
        history.json                              {column: [one number per epoch]}
        records/<probe>.json                      ProbeRecord
        records/<probe>.npz                       its arrays
        work/<probe>-<fingerprint>/               trajectories and checkpoints of probes that run MD
        unfinished/                               state of a training until it has an outcome
      summary.json                                tables (accuracy, paths, forgetting), verdict,
                                                  failures; written at the end
      sweep.json, search.json                     of sweeps: the ranking; the trials of a search
      prepared/                                   structures that training reads from disk, if they
                                                  would fill the memory; gone when all runs are done
      processes/                                  messages of processes that share a study; gone at
                                                  its end
      tasks/                                      messages and logs of workers; kept if one died
      .lock, runs/*/.lock                         held by the process that writes there

Contract
    * Everything derives from files: report, table and verdict are functions of
      ``load_study(OUT)``.
    * A number that could not be had is ``null`` in ``metrics`` and ``reasons[name]`` says why; NaN
      and infinities are never written to JSON.
    * Files appear whole or not at all (written aside, flushed, renamed); records carry a checksum
      (``seal``). A damaged file counts as missing, and ``StudyRecords.warnings`` names it.
    * Energies are eV, lengths Å, forces eV/Å; ``units`` repeats the unit of every metric.

Metrics and arrays by kind of probe (reference = labels of the data; model = the potential)

``accuracy``
    metrics ``<split>_<quantity>_<measure>`` with split train, validation or test, quantity energy
    (eV per atom) or force (eV/Å per component), measure mae or rmse; the same followed by
    ``/<config_type>`` over frames of one type.
    arrays ``energy_reference``, ``energy_model`` [frames], total eV per atom;
    ``forces_reference``, ``forces_model`` [atoms, 3]; ``frame_split`` [frames], index into
    ``SPLITS`` or -1 where the frame belongs to no split of this run; ``frame_config_type``
    [frames], index into ``config_types`` [types] (strings); ``atom_frame`` [atoms].
    ``parity(arrays, split)`` cuts out one split.
``fixed_path``
    metrics ``barrier`` (highest image above image 0), ``barrier_hermite`` (maximum of the curve),
    ``asymmetry`` (last image), ``extrema`` (of the curve, ends excluded), each also with
    ``_reference``; signed errors, model minus reference, ``barrier_error``,
    ``barrier_hermite_error``, ``asymmetry_error``, ``transition_image_error`` (at the highest
    reference image), ``transition_shift`` (of the curve's maximum, in units of the path length);
    ``path_rmse`` (images after the first), ``force_mae_parallel``, ``force_mae_perpendicular``,
    ``force_slope`` (model forces regressed on reference forces through the origin; below 1 is
    softening).
    arrays ``arclength`` [images]; ``energy_model``, ``energy_reference`` [images], relative to
    image 0; ``force_parallel_model``, ``force_parallel_reference`` [images], along the path;
    ``forces_model``, ``forces_reference`` [images, atoms, 3]; ``curve_arclength``,
    ``curve_energy_model``, ``curve_energy_reference`` [samples], the cubic Hermite curve.
``sliding``
    metrics ``barrier``, ``asymmetry``, each also with ``_reference`` and ``_error``; ``path_rmse``;
    ``closure_error`` (energy change on moving the slid atoms by one lattice vector; not zero means
    a defect of cell, neighbour list or precision, not physics).
    arrays ``reaction_coordinate`` [images] from 0 to 1; ``arclength``, ``energy_model``,
    ``energy_reference`` [images], relative to image 0.
    With a relaxation also ``barrier_relaxed``, ``asymmetry_relaxed``, ``residual``,
    ``unconverged``, ``interlayer_distance``.
``gamma_surface``, ``relaxed_neb``, ``saddle``, ``stability``, ``transport``, ``conductivity``
    metrics and their units as in ``units``; the modules of ``mlffjax.probes`` say what they mean.
    ``status`` counts in the list of statuses of the module, 0 being success; what failed has no
    number. Arrays: relaxed bands ``arclength_model``, ``energy_model``, ``trace_*`` by iteration;
    time series ``series_*`` [replicas, samples]; curves ``rdf``, ``msd_*``, ``vacf``, ``vdos``,
    ``hfacf_*``, ``running_*`` over ``rdf_radii``, ``*_fs``, ``*_thz``.
``forgetting``, ``strain``
    metrics as their modules say: ``index`` and its parts (positive: worse than the foundation),
    ``<part>_error`` and ``<part>_error_foundation``, elastic constants in GPa, ``dimer_*/<pair>``;
    ``energy_rmse``, ``stress_rmse``, ``bulk_modulus``, ``a0``, ``c0`` and others. Arrays
    ``dimer_pairs`` [pairs], ``dimer_distance``, ``dimer_energy_model``,
    ``dimer_energy_foundation`` [pairs, points]; ``frame_series``, ``frame_strain``,
    ``frame_energy_model``, ``frame_energy_reference`` [frames] and likewise ``pressure``.

Arrays and metrics with ``reference`` in their name are absent or null for paths without labels.
"""

import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pydantic

from mlffjax.config import Config
from mlffjax.durable import from_json, from_npz, sealed, unsealed, write_bytes
from mlffjax.errors import InputError
from mlffjax.study.record_fields import FileName, StoredConfig, StoredData, StoredProbe, columns

SCHEMA = 1
SPLITS = ("train", "validation", "test")


class StudyInfo(Config):
    """Contents of ``study.json``: what was asked for, of which data, where it ran."""

    schema_version: int = SCHEMA
    name: str
    config: StoredConfig
    """The resolved configuration."""
    fingerprint: str
    """Of configuration and data."""
    data: StoredData
    """digest, reference, functional, dispersion, frames, config_types {name: frames}."""
    runs: tuple[FileName, ...]
    """Identifiers (directory names) of all planned runs, in order of the configuration."""
    versions: dict[str, str]
    device: str
    started: str
    """ISO 8601, UTC."""
    warnings: tuple[str, ...] = ()


class RunInfo(Config):
    """Contents of ``run.json``: one trained (or taken) potential and how it came about."""

    schema_version: int = SCHEMA
    id: str
    """Directory name ``<name>-s<seed>-<fingerprint>``."""
    name: str
    strategy: str
    """Kind of the training strategy."""
    seed: int
    family: str = ""
    """Name of the learning curve it belongs to; its own name if it belongs to none."""
    fraction: float | None = None
    """Of the training frames, where the configuration gives one."""
    starts_from: str = ""
    """``model`` or ``foundation``, as the strategy says; empty in older records."""
    learned_paths: tuple[str, ...] = ()
    """Paths whose images it was trained on: barriers there are no predictions."""
    fingerprint: str
    status: Literal["ok", "diverged", "failed"]
    """``ok`` has weights; ``diverged`` (non-finite loss; final) and ``failed`` (an error;
    tried again when the study is resumed) have none."""
    message: str = ""
    frames: dict[str, int] = {}
    """Frames per split."""
    frame_indices: dict[str, tuple[int, ...]] = {}
    """Which frames of the data set, per split."""
    parameters: int = 0
    """Scalars in the potential's weights."""
    epochs: int = 0
    steps: int = 0
    seconds: float = 0.0
    """Wall time of the training, before an interruption too as far as its state was kept; of runs
    that were trained together, a share."""
    notes: tuple[str, ...] = ()
    """What the reader must know, e.g. how reference energies were obtained."""


class ProbeInfo(Config):
    """Which probe was applied."""

    kind: str
    name: str
    config: StoredProbe


class ProbeRecord(Config):
    """Contents of ``records/<probe>.json``: one probe applied to one run."""

    schema_version: int = SCHEMA
    run: str
    probe: ProbeInfo
    fingerprint: str
    """Of run, probe configuration and the data it uses; a record with another one is outdated."""
    status: Literal["ok", "failed", "skipped"]
    message: str = ""
    metrics: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    """Why a metric is null."""
    foreseen: tuple[str, ...] = ()
    """Names in ``reasons`` that could not have a number: not asked for, or nothing to compare."""
    units: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    arrays: FileName | None = None
    """File name of the arrays, beside the record."""
    versions: dict[str, str] = {}
    device: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class RunRecords:
    """A run and everything measured on it."""

    directory: Path
    info: RunInfo
    history: dict[str, list[float | None]]
    probes: dict[str, ProbeRecord]
    """By name of the probe."""

    def metric(self, probe: str, name: str) -> float | None:
        """A metric, or None where probe or metric is missing."""
        record = self.probes.get(probe)
        return None if record is None else record.metrics.get(name)

    def arrays(self, probe: str) -> dict[str, np.ndarray]:
        """Arrays of a probe; empty if there are none or the file is damaged."""
        record = self.probes.get(probe)
        if record is None or record.arrays is None:
            return {}
        return read_arrays(self.directory / "records" / record.arrays) or {}


@dataclass(frozen=True)
class StudyRecords:
    """All of a study that is on disk."""

    directory: Path
    info: StudyInfo
    runs: tuple[RunRecords, ...]
    """Finished runs of the present plan (failed ones included), in planned order."""
    summary: dict[str, Any] | None
    warnings: tuple[str, ...]
    """Damaged files and the like."""

    def by_name(self) -> dict[str, tuple[RunRecords, ...]]:
        """Runs grouped by name (the seeds of one entry), in planned order."""
        groups: dict[str, tuple[RunRecords, ...]] = {}
        for run in self.runs:
            groups[run.info.name] = (*groups.get(run.info.name, ()), run)
        return groups

    def probes(self) -> dict[str, ProbeInfo]:
        """Every probe that left a record, by name, in the order of the configuration."""
        found = {name: r.probe for run in self.runs for name, r in run.probes.items()}
        order = [section.get("name") for section in self.info.config.get("probes", ())]
        return {name: found[name] for name in (*order, *found) if name in found}

    def missing(self) -> tuple[str, ...]:
        """Identifiers of planned runs that are not finished."""
        finished = {run.info.id for run in self.runs}
        return tuple(identifier for identifier in self.info.runs if identifier not in finished)

    def failures(self) -> tuple[str, ...]:
        """One line for every run without a potential and every probe that failed."""
        lines = []
        for run in self.runs:
            if run.info.status != "ok":
                lines.append(f"{run.info.id}: {run.info.status}: {run.info.message}")
            for name, record in run.probes.items():
                if record.status == "failed":
                    lines.append(f"{run.info.id}, probe {name}: {record.message}")
        return tuple(lines)


class Parity(NamedTuple):
    """Reference and prediction on one split."""

    energy_reference: np.ndarray  # [frames] eV per atom
    energy_model: np.ndarray  # [frames]
    forces_reference: np.ndarray  # [atoms, 3] eV/Å
    forces_model: np.ndarray  # [atoms, 3]
    frame_config_type: np.ndarray  # [frames] index into config_types
    atom_config_type: np.ndarray  # [atoms]
    config_types: tuple[str, ...]


def parity(arrays: Mapping[str, np.ndarray], split: str) -> Parity:
    """The part of an ``accuracy`` probe's arrays that belongs to ``split``."""
    frames = arrays["frame_split"] == SPLITS.index(split)
    atoms = frames[arrays["atom_frame"]]
    kinds = arrays["frame_config_type"]
    return Parity(
        energy_reference=arrays["energy_reference"][frames],
        energy_model=arrays["energy_model"][frames],
        forces_reference=arrays["forces_reference"][atoms],
        forces_model=arrays["forces_model"][atoms],
        frame_config_type=kinds[frames],
        atom_config_type=kinds[arrays["atom_frame"]][atoms],
        config_types=tuple(str(name) for name in arrays["config_types"]),
    )


def load_study(directory: str | Path) -> StudyRecords:
    """Read all records below a study's output directory.

    Raises:
        InputError: there is no readable ``study.json``.
    """
    directory = Path(directory)
    warnings: list[str] = []
    info = read_model(directory / "study.json", StudyInfo, warnings)
    if info is None:
        reason = f" ({warnings[0]})" if warnings else ""
        raise InputError(
            f"{directory}: expected the output of a study, found no usable study.json{reason}; "
            "run 'mlffjax study CONFIG --out DIR' first"
        )
    runs = (load_run(directory / "runs" / identifier, warnings) for identifier in info.runs)
    summary = read_json(directory / "summary.json", warnings)
    finished = tuple(run for run in runs if run is not None)
    return StudyRecords(directory, info, finished, summary, tuple(warnings))


def load_run(directory: Path, warnings: list[str]) -> RunRecords | None:
    """Read one run; None if it is not finished. Damaged files are added to ``warnings``."""
    info = read_model(directory / "run.json", RunInfo, warnings)
    if info is None:
        return None
    records = {}
    for path in sorted((directory / "records").glob("*.json")):
        if (record := read_model(path, ProbeRecord, warnings)) is not None:
            records[record.probe.name] = record
    history = columns(read_json(directory / "history.json", warnings) or {})
    return RunRecords(directory, info, history, records)


Model = TypeVar("Model", bound=Config)


def read_model(path: Path, model: type[Model], warnings: list[str]) -> Model | None:
    """A record, or None with a warning if it is damaged, without one if it does not exist."""
    data = read_json(path, warnings)
    if data is None:
        return None
    if data.get("schema_version") != SCHEMA:
        found = data.get("schema_version")
        warnings.append(f"{path}: schema {found} instead of {SCHEMA}; treated as missing")
        return None
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as error:
        entry = error.errors()[0]
        where = ".".join(str(part) for part in entry["loc"])
        warnings.append(f"{path}: {where}: {entry['msg']}; treated as missing")
        return None


def read_json(path: Path, warnings: list[str]) -> dict[str, Any] | None:
    """A JSON object, or None with a warning if it is damaged."""
    try:
        data = unsealed(from_json(path.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        warnings.append(f"{path}: damaged ({error}); treated as missing")
        return None
    if not isinstance(data, dict):
        warnings.append(f"{path}: not a JSON object; treated as missing")
        return None
    return data


def read_arrays(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays of an ``.npz`` file, or None if it is missing or damaged."""
    try:
        return from_npz(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_json(path: Path, data: Config | Mapping[str, Any]) -> None:
    """Write plain data, or a record, which is sealed; whole or not at all.

    Raises:
        ValueError: the data contain NaN or an infinity (a programming error).
    """
    plain = sealed(data.model_dump(mode="json")) if isinstance(data, Config) else data
    write_bytes(path, (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as ``.npz``, whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def number_or_none(value: float) -> float | None:
    """A float that JSON can hold: None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def mean_and_std(values: Iterable[float | None]) -> tuple[float | None, float | None, int]:
    """Mean, sample standard deviation and count of the numbers among ``values``.

    The mean is None without numbers, the deviation with fewer than two.
    """
    numbers = [value for value in values if value is not None]
    if not numbers:
        return None, None, 0
    with np.errstate(over="ignore", invalid="ignore"):  # of numbers beyond 1e154
        mean = number_or_none(float(np.mean(numbers)))
        spread = number_or_none(float(np.std(numbers, ddof=1))) if len(numbers) > 1 else None
    return mean, spread, len(numbers)
