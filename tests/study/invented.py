"""Studies in memory, with probes of any kind, for the parts of the verdict."""

from pathlib import Path
from typing import Any

from mlffjax.study.records import (
    ProbeInfo,
    ProbeRecord,
    RunInfo,
    RunRecords,
    StudyInfo,
    StudyRecords,
    write_arrays,
)


def run(root: Path, name: str, seed: int, probes: dict[str, Any], **info: Any) -> RunRecords:
    """A run; ``probes`` is {name: (kind, config, metrics)} or with arrays as a fourth entry."""
    identifier = f"{name}-s{seed}"
    records = {}
    for probe, (kind, config, metrics, *arrays) in probes.items():
        if arrays:
            write_arrays(root / identifier / "records" / f"{probe}.npz", arrays[0])
        records[probe] = ProbeRecord(
            run=identifier,
            probe=ProbeInfo(kind=kind, name=probe, config=config),
            fingerprint="0",
            status="ok",
            metrics=metrics,
            reasons={key: "it exploded" for key, value in metrics.items() if value is None},
            arrays=f"{probe}.npz" if arrays else None,
            seconds=2.0,
        )
    settings: dict[str, Any] = {"strategy": "finetune", "status": "ok", "fingerprint": "0"} | info
    run_info = RunInfo(id=identifier, name=name, seed=seed, **settings)
    return RunRecords(root / identifier, run_info, {}, records)


def study(root: Path, *runs: RunRecords) -> StudyRecords:
    """The runs as a finished study."""
    info = StudyInfo(
        name="invented", config={}, fingerprint="0", data={}, runs=(), versions={}, device="none",
        started="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return StudyRecords(root, info, runs, None, ())
