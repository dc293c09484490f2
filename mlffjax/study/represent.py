"""Comparing what models make of structures, outside a study: models of any origin, one report.

``run`` writes records as a study does (see ``records``), one run a model, so that the same report
shows them:

    study.json                     what was asked
    runs/MODEL/run.json            where the model came from
    runs/MODEL/records/NAME.json   one comparison of the configuration, with arrays
    representation.json            all models together (representation_evidence)

What is measured already is not measured again.
"""

import datetime
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from mlffjax import config as configuration
from mlffjax.errors import ConfigError, InputError
from mlffjax.probes import representation
from mlffjax.probes._probe import Probe
from mlffjax.study import representation_evidence
from mlffjax.study.compared import KIND, MARK
from mlffjax.study.evaluate import contents, surroundings
from mlffjax.study.lock import locked
from mlffjax.study.records import (
    SCHEMA,
    ProbeInfo,
    ProbeRecord,
    StudyInfo,
    StudyRecords,
    load_study,
    read_model,
    write_arrays,
    write_json,
)
from mlffjax.study.represent_inputs import Inputs, Model, RepresentConfig, context_of, read_inputs

Observe = Callable[[str, int, int], None]
"""Called with what was finished, the number of these and that of all."""


def run(
    config: RepresentConfig, base: Path, out: Path, *, observe: Observe | None = None
) -> StudyRecords:
    """Measure every model by every comparison, and compare them.

    Args:
        config: what to do.
        base: directory that its relative paths start from.
        out: output directory; what is in it and still holds is kept.
        observe: told about every pair of a model and a comparison.

    Returns:
        Records; ``failures()`` lists what gave nothing.

    Raises:
        ConfigError: as ``read_inputs``, JAX is not set to 64 bits, or a comparison has nothing to
            compare.
        InputError: as ``read_inputs``, or ``out`` holds a study or is in use.
    """
    if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ConfigError(
            "features are compared in double precision: expected JAX set to 64 bits; call "
            'jax.config.update("jax_enable_x64", True) first'
        )
    inputs = read_inputs(config, base)
    tell = observe or (lambda what, done, every: None)
    with locked(out):
        _write_study(config, inputs, out)
        for model in inputs.models:
            _prepare(config, model, out)
        every = len(inputs.models) * len(config.comparisons)
        done = 0
        for section in config.comparisons:
            for model, status in _measured(section, inputs, out):
                done += 1
                tell(f"{model.info.id}, {section.name}: {status}", done, every)
        representation_evidence.update(load_study(out), out)
    return load_study(out)


def _write_study(config: RepresentConfig, inputs: Inputs, out: Path) -> None:
    old = read_model(out / "study.json", StudyInfo, [])
    if old is not None and MARK not in old.config:
        raise InputError(
            f"{out}: expected a directory for a comparison, found the study {old.name!r}, which "
            "would be overwritten; choose another output directory"
        )
    asked, here = configuration.dump(config), surroundings()
    sections = [{"kind": KIND, **configuration.dump(one)} for one in config.comparisons]
    frames = () if inputs.dataset is None else inputs.dataset.frames
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    identifiers = tuple(model.info.id for model in inputs.models)
    info = StudyInfo(
        name=config.name,
        config=asked | {"probes": sections},
        fingerprint=configuration.fingerprint(asked, inputs.identity, identifiers),
        data={"digest": inputs.identity, "frames": len(frames), "paths": sorted(inputs.paths)},
        runs=identifiers,
        versions=here.versions,
        device=here.device,
        started=now if old is None else old.started,
    )
    write_json(out / "study.json", info)


def _prepare(config: RepresentConfig, model: Model, out: Path) -> None:
    """What is known of a model before it is measured; records of other settings go."""
    folder = out / "runs" / model.info.id
    kept = {section.name for section in config.comparisons}
    for file in (folder / "records").glob("*"):
        if file.stem not in kept:
            file.unlink()
    for record in model.errors:
        if record.probe.name not in kept:
            write_json(folder / "records" / f"{record.probe.name}.json", record)
    write_json(folder / "run.json", model.info)


def _measured(
    section: representation.Config, inputs: Inputs, out: Path
) -> Iterator[tuple[Model, str]]:
    """Measure what is not measured yet by one comparison; models and statuses."""
    probes: dict[Any, Probe] = {}  # models of the same elements and cutoff share their structures
    for model in inputs.models:
        fingerprint = configuration.fingerprint(
            SCHEMA, model.info.fingerprint, configuration.dump(section), inputs.identity
        )
        file = out / "runs" / model.info.id / "records" / f"{section.name}.json"
        old = read_model(file, ProbeRecord, [])
        if old is not None and old.fingerprint == fingerprint and old.status != "failed":
            yield model, old.status
            continue
        start = time.monotonic()
        try:
            work = out / "runs" / model.info.id / "work" / f"{section.name}-{fingerprint}"
            found = _found(section, model, inputs, work, probes)
        except ConfigError:
            raise  # what was asked cannot be had of any model
        except Exception as error:  # one model must not end the comparison
            found = {"status": "failed", "message": f"{type(error).__name__}: {error}"}
        found |= {"fingerprint": fingerprint, "seconds": time.monotonic() - start}
        yield model, _write(section, model, found, file)


def _found(
    section: representation.Config,
    model: Model,
    inputs: Inputs,
    work: Path,
    probes: dict[Any, Probe],
) -> dict[str, Any]:
    """Contents of a record."""
    if model.given is not None and section.mode == "paper":
        why = "features are given as arrays, and there is no potential to run dynamics with"
        return {"status": "skipped", "message": why}
    context = context_of(inputs, model.potential)
    if model.given is not None:
        probe = representation.build_given(section, context, model.given)
    else:
        key = (context.elements, context.cutoff)
        if key not in probes:
            probes[key] = representation.build(section, context)
        probe = probes[key]
    arguments = (model.potential, work) if probe.keeps_files else (model.potential,)
    return contents(probe, jax.device_get(probe.measure(*arguments)))


def _write(section: representation.Config, model: Model, found: dict[str, Any], file: Path) -> str:
    """Write a record, arrays first, and return its status."""
    arrays, here = found.get("arrays"), surroundings()
    if arrays:
        write_arrays(file.with_suffix(".npz"), arrays)
    plain = {
        "run": model.info.id,
        "probe": ProbeInfo(kind=KIND, name=section.name, config=configuration.dump(section)),
        "versions": here.versions,
        "device": here.device,
    }
    stored = {"arrays": file.with_suffix(".npz").name if arrays else None}
    record = ProbeRecord.model_validate(plain | found | stored)
    write_json(file, record)
    return record.status
