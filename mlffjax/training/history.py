"""What a training run leaves behind and what it says while it runs."""

import math
from enum import StrEnum
from typing import Any, NamedTuple

from mlffjax.potential.base import Potential
from mlffjax.training.config import TrainingConfig
from mlffjax.training.metrics import Scores


class Status(StrEnum):
    """Why a run ended. Whatever the reason, the best potential met is returned."""

    MAX_EPOCHS = "max_epochs"
    EARLY_STOPPED = "early_stopped"
    OUT_OF_TIME = "out_of_time"
    DIVERGED = "diverged"
    NOT_TRAINED = "not_trained"


class Epoch(NamedTuple):
    """One line of the history; number 0 is the potential before training."""

    number: int
    train_loss: float | None  # mean over the steps of the epoch; None for number 0
    validation: Scores  # of the averaged weights after the epoch
    learning_rate: float | None
    seconds: float  # since the start


class Progress(NamedTuple):
    """Where a run is; given to ``observe`` now and then, and at the end of every epoch."""

    epoch: int  # the one that runs or has just ended
    epochs: int
    step: int  # equal to ``steps`` when the epoch has ended
    steps: int
    latest: Epoch  # that has ended
    best: Epoch
    seconds: float


class Fitted(NamedTuple):
    """The outcome of a run."""

    potential: Potential  # with the lowest validation force MAE met
    history: tuple[Epoch, ...]
    status: Status
    best: Epoch
    explanation: str  # the status as a sentence
    notes: tuple[str, ...]  # of the recipe


def record(fitted: Fitted) -> dict[str, Any]:
    """Everything but the potential as plain JSON data; numbers that are not finite become None."""
    return {
        "status": str(fitted.status),
        "explanation": fitted.explanation,
        "notes": list(fitted.notes),
        "best": _plain(fitted.best),
        "history": [_plain(epoch) for epoch in fitted.history],
    }


def explain(status: Status, last: Epoch, best: Epoch, config: TrainingConfig) -> str:
    """The end of a run in a sentence: why, what is kept and, if it diverged, what to do."""
    kept = (
        f"the potential of epoch {best.number} is kept, "
        f"validation force MAE {best.validation.forces_mae:.4g} eV/Å"
    )
    if status is Status.DIVERGED:
        loss = "none yet" if last.train_loss is None else f"{last.train_loss:.3g}"
        return (
            f"diverged in epoch {last.number} (training loss {loss}, validation force MAE "
            f"{last.validation.forces_mae:.3g} eV/Å); {kept}; lower the learning rate or the clip"
        )
    reasons = {
        Status.MAX_EPOCHS: f"all {config.epochs} epochs done",
        Status.EARLY_STOPPED: f"no improvement in {config.patience} epochs",
        Status.OUT_OF_TIME: f"limit of {config.max_seconds} s reached in epoch {last.number}",
        Status.NOT_TRAINED: "nothing to train",
    }
    return f"{reasons[status]}; {kept}"


def _plain(value: Any) -> Any:
    if isinstance(value, Epoch | Scores):
        return {name: _plain(entry) for name, entry in value._asdict().items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
