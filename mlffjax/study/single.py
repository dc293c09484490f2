"""One potential from one configuration: data, a start, a way to train.

``train`` is a study of one run and one probe (the accuracy on the run's own parts of the data), so
that it resumes, spreads over devices and records as studies do. What it is for lies on top of the
output directory:

    weights.safetensors, card.json   the potential, ready for ``foundation:`` or ``mlffjax.load``
    history.json                     columns by epoch; entry 0 is before training

and the records of the study (``runs``, ``study.json``) beside it. A changed configuration makes
another run; the potential on top is always that of the last command, or absent if it has none.
"""

from pathlib import Path
from typing import Annotated, Any

import pydantic

from mlffjax import config as configuration
from mlffjax.config import Config, by_kind
from mlffjax.durable import write_bytes
from mlffjax.potential import store
from mlffjax.structures.datasets import DataConfig
from mlffjax.structures.selection import SelectionConfig
from mlffjax.structures.splits import SplitConfig
from mlffjax.study.config import NAME, PathConfig, StudyConfig
from mlffjax.study.execute import execute
from mlffjax.study.progress import Observe
from mlffjax.study.records import RunRecords, StudyRecords
from mlffjax.training.config import TrainingConfig
from mlffjax.training.strategies._section import Section

HISTORY = "history.json"
PROBE = "accuracy"


class TrainConfig(Config):
    """What one potential is made of; sections mean what they mean in a study."""

    name: str = pydantic.Field(pattern=NAME)
    data: DataConfig
    splits: SplitConfig = SplitConfig()
    select: SelectionConfig = SelectionConfig()
    """Which of the training frames to use."""
    strategy: Annotated[Section, by_kind("training.strategies")]
    model: Annotated[Config, by_kind("potential.sources")] | None = None
    """Architecture, for a strategy that starts from random weights."""
    foundation: str | None = None
    """Directory of a stored potential, relative to the configuration file, or ``bundled:``."""
    generic: DataConfig | None = None
    """Structures of other materials, for strategies that learn from them too."""
    paths: dict[str, PathConfig] = {}
    """For strategies that learn from them."""
    training: TrainingConfig = TrainingConfig()
    seed: int = pydantic.Field(default=0, ge=0)


def as_study(config: TrainConfig) -> StudyConfig:
    """The study of one run that makes the potential.

    Raises:
        ConfigError: sections do not belong together.
    """
    run: dict[str, Any] = {
        "name": config.name,
        "strategy": config.strategy,
        "data": config.select,
        "seeds": (config.seed,),
    }
    shared = ("name", "data", "splits", "model", "foundation", "generic", "paths", "training")
    entries = {name: getattr(config, name) for name in shared}
    probe = {"kind": "accuracy", "name": PROBE}
    return configuration.validate(
        {**entries, "runs": (run,), "probes": (probe,)}, StudyConfig, where=config.name
    )


def train(
    config: TrainConfig,
    base: Path,
    out: Path,
    *,
    observe: Observe | None = None,
    restart: bool = False,
) -> StudyRecords:
    """Train what is not yet trained, and put the potential on top of ``out``.

    Args:
        config: what to do.
        base: directory that its relative paths start from.
        out: output directory.
        observe: told about progress, as by ``execute``.
        restart: begin a training that was interrupted again instead of continuing it.

    Returns:
        Records of one run; without a potential if it diverged or failed.

    Raises:
        ConfigError, InputError, CompatibilityError: as ``execute``.
    """
    records = execute(as_study(config), base, out, observe=observe, restart=restart)
    (run,) = records.runs
    publish(run, out)
    return records


def publish(run: RunRecords, out: Path) -> None:
    """Copy the potential of a run to ``out``, the card last; without one, leave none there."""
    (out / store.CARD).unlink(missing_ok=True)  # never a card beside weights of another run
    names = (HISTORY, store.WEIGHTS, store.CARD)
    for name in names:
        source = run.directory / name
        if run.info.status != "ok" or not source.is_file():
            (out / name).unlink(missing_ok=True)
            continue
        write_bytes(out / name, source.read_bytes())
