"""The shape of a verdict: thresholds, criteria, candidates."""

from typing import Any, Literal

import pydantic

from mlffjax.config import Config

Outcome = Literal["pass", "fail", "unknown"]
Decision = Literal["recommended", "tie", "least_bad", "none"]
Confidence = Literal["high", "moderate", "low", "none"]


class Expected(Config):
    """A number known from elsewhere (experiment, another calculation) that a probe must find."""

    probe: str = pydantic.Field(min_length=1)
    """Name of the probe."""
    metric: str = pydantic.Field(min_length=1)
    """Name of its metric, e.g. ``conductivity_in_plane``."""
    value: float
    """In the unit of the metric."""
    tolerance: float = pydantic.Field(gt=0)
    """Largest magnitude of the error, in the same unit."""
    uncertainty: float = pydantic.Field(default=0.0, ge=0)
    """Of the value, in the same unit."""


class VerdictConfig(Config):
    """Thresholds of the verdict; errors are magnitudes. What has none is told, not counted."""

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
    relaxed_barrier_error_ev: float | None = pydantic.Field(
        default=None,
        gt=0,
        description="of relaxed bands; count them only if the reference relaxed its path, too",
    )
    sliding_error_fraction: float = pydantic.Field(
        default=0.2, gt=0, description="of sliding barriers, relative to the reference barrier"
    )
    reference_uncertainty_ev: float = pydantic.Field(
        default=0.0,
        ge=0,
        description="of reference barriers, e.g. their change with the k-point mesh",
    )
    survival: float | None = pydantic.Field(
        default=1.0,
        gt=0,
        le=1,
        description="fraction of trajectories that must get to the end; fewer disqualify",
    )
    rdf_difference: float | None = pydantic.Field(
        default=0.1,
        gt=0,
        description="mean magnitude of the difference of g(r) from a reference trajectory",
    )
    vacf_difference: float | None = pydantic.Field(
        default=0.1, gt=0, description="the same of the normalised velocity autocorrelation"
    )
    expected: tuple[Expected, ...] = pydantic.Field(
        default=(), description="numbers known from elsewhere, e.g. a measured conductivity"
    )
    forgetting_index: float | None = pydantic.Field(
        default=None,
        description="largest index; of a candidate that never saw the foundation it says how "
        "much less that knows",
    )
    training_seconds: float | None = pydantic.Field(
        default=None, gt=0, description="longest training of one run"
    )
    md_ms_per_step: float | None = pydantic.Field(
        default=None, gt=0, description="slowest molecular dynamics of the probes"
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
    """Sample standard deviation of the magnitude over seeds; None where it is not known, 0 for a
    candidate that is not trained."""
    seeds: int
    threshold: float | None
    uncertainty: float
    """Of the reference, in the same unit."""
    outcome: Outcome
    reason: str = ""
    """Why the outcome is unknown, or why it fails without a number."""
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the mean over seeds (Student's t); None where the spread is not
    known."""
    sure: bool = False
    """The interval, widened by the uncertainty of the reference, lies on one side of the
    threshold."""

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
    exploded: bool = False
    """Too few of its trajectories got to the end: it ranks behind all that survive."""
    frames: int | None = None
    """It was trained on."""
    training_seconds: float | None = None
    """Mean over seeds."""
    md_ms_per_step: float | None = None
    """Mean over the probes that simulate, compilation included."""


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
    """Probes that favour another candidate than the first, or contradict each other."""
    undecided: tuple[str, ...]
    """What these data cannot tell."""
    candidates: tuple[Candidate, ...]
    """By rank, those without a rank last."""
    rule: str
    thresholds: dict[str, Any]
    relaxed: tuple[str, ...] = ()
    """What relaxed bands say, beside the criteria."""
    forgotten: tuple[str, ...] = ()
    """What candidates forgot of the foundation, beside the criteria."""
    confidence: Confidence = "none"
    confidence_why: str = ""
    """The reasons of the confidence, in words."""
    data: tuple[str, ...] = ()
    """How much data every strategy needs, from learning curves."""
    beside: tuple[str, ...] = ()
    """Dynamics and costs that no threshold asks for."""
    next_labels: tuple[str, ...] = ()
    """What to compute next, most decisive first."""
