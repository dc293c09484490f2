"""The ``training:`` section of a study: everything about a run but its data, strategy and seed."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mlffjax.config import Config, dump


class LossConfig(Config):
    """What is minimised; see ``losses`` for the formulas.

    ``weighted`` takes mean squares, ``huber`` grows linearly beyond ``delta`` and so listens less
    to outliers. The weights multiply terms in eV/atom, eV/Å and eV/Å³ (squared if ``weighted``);
    the defaults have the proportions of MACE-MP-0 (arXiv:2401.00096).
    """

    kind: Literal["weighted", "huber"] = "weighted"
    energy: float = Field(default=1.0, ge=0)
    forces: float = Field(default=10.0, ge=0)
    stress: float = Field(default=100.0, ge=0)
    delta: float = Field(default=0.01, gt=0, description="where huber turns linear; same units")

    @model_validator(mode="after")
    def _something_to_minimise(self) -> "LossConfig":
        if self.energy == self.forces == self.stress == 0:
            raise ValueError("expected a positive weight for energy, forces or stress, got none")
        return self


class ScheduleConfig(Config):
    """How the learning rate falls from its initial value; it changes between epochs only."""

    kind: Literal["constant", "cosine", "plateau"] = "constant"
    floor: float = Field(default=0.01, ge=0, le=1, description="least fraction of the rate")
    factor: float = Field(default=0.5, gt=0, lt=1, description="plateau: multiplier")
    patience: int = Field(default=10, ge=1, description="plateau: epochs to wait")
    warmup: int = Field(
        default=0,
        ge=0,
        description="epochs of a linear rise before; of w, epoch k has the fraction k / (w + 1)",
    )


class TrainingConfig(Config):
    """How a recipe is trained; the defaults are the protocol of the paper with MACE's customs."""

    incidental: ClassVar[frozenset[str]] = frozenset(
        {"storage", "storage_directory", "checkpoint_seconds", "devices"}
    )
    """Choices of how a run is executed, which do not change its result (devices: beyond the order
    of sums)."""

    epochs: int = Field(default=1000, ge=1, description="at most this many")
    patience: int = Field(
        default=50,
        ge=1,
        description="stop after so many epochs without progress",
    )
    max_seconds: float | None = Field(
        default=None, gt=0, description="stop after this time, compilation included; None: no limit"
    )
    batch: int = Field(default=4, ge=1, description="structures per optimizer step")
    learning_rate: float = Field(default=1e-3, gt=0, description="initial rate")
    optimizer: Literal["adam", "amsgrad", "adamw", "schedule_free_adamw"] = Field(
        default="adam",
        description="schedule_free_adamw averages weights itself: it needs ema null and a constant "
        "schedule",
    )
    weight_decay: float = Field(
        default=0.0,
        ge=0,
        description="of the two kinds of adamw: every step takes this fraction of the learning "
        "rate off matrices, not off biases and other weights with less than two axes",
    )
    layer_decay: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="readouts of a MACE learn at the full rate, each layer below the next higher "
        "one at this fraction of its rate, the element embedding slowest; None: all alike",
    )
    clip: float | None = Field(
        default=10.0, gt=0, description="largest global norm of a gradient; None: no clipping"
    )
    ema: float | None = Field(
        default=0.99,
        gt=0,
        lt=1,
        description="decay of the weight average; None: no average",
    )
    keep: Literal["best", "last"] = Field(
        default="best",
        description="epoch whose weights are returned: with the lowest validation error, or the "
        "last (a diverged run keeps its best); validation frames still decide about patience and "
        "plateau",
    )
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    precision: Literal["float32", "float64"] = "float32"
    buckets: int = Field(default=3, ge=1, description="most array shapes; one compilation each")
    devices: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default=1,
        description="how many share the structures of a batch; auto: as many as divide it",
    )
    checkpoint_seconds: float = Field(
        default=60.0,
        ge=0,
        description="keep the state of a study's training so often, so that a killed run goes on",
    )
    storage: Literal["auto", "memory", "disk"] = Field(
        default="auto",
        description="where structures with their neighbour lists are kept; results are the same. "
        "auto: in memory unless they would fill a good part of it",
    )
    storage_directory: str | None = Field(
        default=None,
        min_length=1,
        description="for disk: a directory, relative to the configuration file, that is kept and "
        "can serve other studies; None: below the output, removed when the study is complete",
    )

    @model_validator(mode="after")
    def _optimizer_has_what_it_needs(self) -> "TrainingConfig":
        if self.optimizer == "adamw" and not self.weight_decay:
            raise ValueError("optimizer adamw needs a weight_decay above 0; without it, it is adam")
        if self.optimizer in ("adam", "amsgrad") and self.weight_decay:
            raise ValueError(
                f"optimizer {self.optimizer} has no weight_decay, got {self.weight_decay}; choose "
                "adamw or schedule_free_adamw"
            )
        if self.optimizer == "schedule_free_adamw" and self.ema is not None:
            raise ValueError(
                f"schedule_free_adamw averages weights itself, got ema {self.ema}; set ema to null"
            )
        if self.optimizer == "schedule_free_adamw" and self.schedule.kind != "constant":
            raise ValueError(
                f"schedule_free_adamw replaces schedules, got {self.schedule.kind}; set "
                "schedule.kind to constant (schedule.warmup is welcome)"
            )
        if self.schedule.warmup >= self.epochs:
            raise ValueError(
                f"expected fewer epochs of schedule.warmup than epochs, got {self.schedule.warmup} "
                f"of {self.epochs}"
            )
        return self

    def essence(self) -> dict[str, Any]:
        """Plain data of all choices that decide the result."""
        return {name: v for name, v in dump(self).items() if name not in self.incidental}
