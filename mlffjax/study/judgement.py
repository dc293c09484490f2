"""The shape of a verdict: thresholds, criteria, candidates."""

from typing import Literal

import pydantic

from mlffjax.config import Config

Outcome = Literal["pass", "fail", "unknown"]
Decision = Literal["recommended", "tie", "least_bad", "none"]


class VerdictConfig(Config):
    """Thresholds of the verdict; errors are magnitudes."""

    force_rmse_ev_a: float = pydantic.Field(
        default=0.1,
        gt=0,
        description="test force RMSE below which structures and dynamics are usable",
    )
    energy_rmse_ev: float = pydantic.Field(
        default=0.005, gt=0, description="test energy RMSE per atom"
    )
    barrier_error_ev: float = pydantic.Field(
        default=0.1,
        gt=0,
        description="of migration barriers; 0.1 eV is a factor 7 in a rate at 600 K",
    )
    sliding_error_fraction: float = pydantic.Field(
        default=0.2, gt=0, description="of sliding barriers, relative to the reference barrier"
    )
    reference_uncertainty_ev: float = pydantic.Field(
        default=0.0,
        ge=0,
        description="of reference barriers, e.g. their change with the k-point mesh",
    )


class Criterion(Config):
    """One candidate measured by one yardstick."""

    probe: str
    metric: str
    label: str
    """What it is, in words."""
    unit: str
    """Of value, spread and threshold."""
    value: float | None
    """Mean magnitude over seeds."""
    signed: float | None
    """Mean over seeds, model minus reference for errors."""
    spread: float | None
    """Sample standard deviation of the magnitude over seeds; None with fewer than two."""
    seeds: int
    threshold: float | None
    uncertainty: float
    """Of the reference, in the same unit."""
    outcome: Outcome
    reason: str = ""
    """Why the outcome is unknown."""

    @property
    def ratio(self) -> float | None:
        """Error over threshold."""
        if self.value is None or not self.threshold or self.outcome == "unknown":
            return None
        return self.value / self.threshold


class Candidate(Config):
    """One entry of the study, judged."""

    name: str
    strategy: str
    rank: int | None
    """From 1; None without a successful seed."""
    seeds: int
    """Successful seeds."""
    lost: int
    """Seeds that diverged, failed or are missing."""
    passed: int
    failed: int
    unknown: int
    score: float | None
    """Geometric mean of error / threshold; below 1 is good."""
    criteria: tuple[Criterion, ...]


class Verdict(Config):
    """The answer in structure and in words."""

    recommended: str | None
    """Name of the first candidate, also if it fails criteria or is tied; None without any."""
    decision: Decision
    """``least_bad``: first, but it misses criteria; ``tie``: not separable from the second."""
    headline: str
    evidence_for: tuple[str, ...]
    evidence_against: tuple[str, ...]
    disagreements: tuple[str, ...]
    """Probes that favour another candidate than the first."""
    undecided: tuple[str, ...]
    """What these data cannot tell."""
    candidates: tuple[Candidate, ...]
    """By rank, those without a rank last."""
    rule: str
    thresholds: dict[str, float]
    relaxed: tuple[str, ...] = ()
    """What relaxed bands say, beside the criteria."""
    forgotten: tuple[str, ...] = ()
    """What candidates forgot of the foundation, beside the criteria."""
