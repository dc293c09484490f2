"""The ``training:`` section of a study: everything about a run but its data, strategy and seed."""

from typing import Literal

from pydantic import Field, model_validator

from mlffjax.config import Config


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


class TrainingConfig(Config):
    """How a recipe is trained; the defaults are the protocol of the paper with MACE's customs."""

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
    optimizer: Literal["adam", "amsgrad"] = "adam"
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
        "last, so that validation frames decide nothing (a diverged run keeps its best)",
    )
    schedule: ScheduleConfig = ScheduleConfig()
    loss: LossConfig = LossConfig()
    precision: Literal["float32", "float64"] = "float32"
    buckets: int = Field(default=3, ge=1, description="most array shapes; one compilation each")
