"""Choices of a relaxation, of structures and of bands."""

from typing import Any, Literal

import numpy as np
import pydantic

from mlffjax import config
from mlffjax.pathways import monitor, optimizers
from mlffjax.pathways.descent import Knobs

Strain = Literal["none", "full", "in_plane", "normal", "isotropic"]


class Bounds(config.Config):
    """Where a relaxation is stopped because it has left all reason."""

    closest: float = pydantic.Field(default=0.5, gt=0.0)
    """Smallest distance over the sum of covalent radii."""
    energy_span: float = pydantic.Field(default=50.0, gt=0.0)
    """Largest energy above or below that of the first image, eV."""
    spike: float = pydantic.Field(default=50.0, gt=0.0)
    """Forces below are never called a spike, eV/Å."""
    growth: float = pydantic.Field(default=20.0, gt=1.0)
    """Largest force over the median of the last 20 iterations that is not a spike."""
    detach: float = pydantic.Field(default=3.0, gt=0.0)
    """Change of a gap between layers at which they count as apart, Å."""


class Relaxation(config.Config):
    """How structures are relaxed."""

    fmax: float = pydantic.Field(default=0.01, gt=0.0)
    """Converged when no atom feels more, eV/Å (with a cell: no strain more than this, eV)."""
    max_steps: int = pydantic.Field(default=500, ge=1)
    """Iterations before it is given up."""
    max_step: float = pydantic.Field(default=0.2, gt=0.0)
    """Longest step, Å; see ``optimizers`` for what each limits."""
    optimizer: optimizers.Kind = "fire"
    """``fire`` is robust, ``lbfgs`` quicker near a minimum."""
    cell: Strain = "none"
    """Which strains of the cell relax; ``normal`` is along the normal of the first two vectors."""
    skin: float = pydantic.Field(default=0.8, gt=0.0)
    """Å beyond the cutoff that neighbour lists reach; changes no result."""
    bounds: Bounds = Bounds()
    """When to stop."""


class Elastic(config.Config):
    """How bands are relaxed."""

    spring: float = pydantic.Field(default=0.1, gt=0.0)
    """Stiffness of the springs, eV/Å²."""
    spring_top: float | None = pydantic.Field(default=None, gt=0.0)
    """Stiffness at the top of the band; makes springs energy-weighted: images crowd there."""
    climb: bool = True
    """Whether the highest image climbs to the saddle; without it the barrier is a lower bound."""
    climb_below: float = pydantic.Field(default=0.5, gt=0.0)
    """Largest force below which it begins to climb, eV/Å."""
    fmax: float = pydantic.Field(default=0.02, gt=0.0)
    """Converged when no atom of the band feels more, eV/Å. With 0.05 a flat band can stop far above
    its path: half an eV on the second part of the bundled deep one."""
    max_steps: int = pydantic.Field(default=500, ge=1)
    """Iterations before it is given up."""
    max_step: float = pydantic.Field(default=0.2, gt=0.0)
    """Longest step, Å; see ``optimizers`` for what each limits."""
    optimizer: optimizers.Kind = "ode12r"
    """``ode12r`` settles where the inertia of ``fire`` carries a climbing band around its saddle,
    and needs fewer steps; ``lbfgs`` is the quickest near the end of an easy path and the least
    robust. Ends of the band are relaxed with ``fire``."""
    endpoints: Literal["relax", "keep"] = "relax"
    """Whether the ends move to the potential's own minima first."""
    endpoint_fmax: float = pydantic.Field(default=0.02, gt=0.0)
    """Ends are minima when no atom feels more, eV/Å."""
    endpoint_steps: int = pydantic.Field(default=500, ge=1)
    """Iterations for the ends."""
    grow_to: int | None = pydantic.Field(default=None, ge=4)
    """Number of images after more were inserted where the path needs them; None leaves it."""
    retry: bool = True
    """Whether an explosion is answered by one ladder of gentler attempts, and a band that does not
    settle by another optimiser."""
    skin: float = pydantic.Field(default=0.8, gt=0.0)
    """Å beyond the cutoff that neighbour lists reach; changes no result."""
    bounds: Bounds = Bounds()
    """When to stop."""

    @pydantic.model_validator(mode="after")
    def _springs_in_order(self) -> "Elastic":
        if self.spring_top is not None and self.spring_top <= self.spring:
            raise ValueError(
                f"expected spring_top above spring ({self.spring:g} eV/Å²), got "
                f"{self.spring_top:g}; leave it out for plain springs"
            )
        return self


def knobs_of_structures(settings: Relaxation) -> Knobs:
    """The numbers of a relaxation, for the device."""
    return _knobs(settings, settings.fmax, settings.max_steps, settings.max_step)


def knobs_of_bands(settings: Elastic, *, max_step: float, climb: bool, fmax: float) -> Knobs:
    """The numbers of a relaxation of bands, for the device, with those that its stages change."""
    top = settings.spring if settings.spring_top is None else settings.spring_top
    return _knobs(settings, fmax, settings.max_steps, max_step)._replace(
        softest=np.float64(settings.spring),
        stiffest=np.float64(top),
        climb=np.bool_(climb),
        climb_below=np.float64(settings.climb_below),
    )


def _knobs(settings: Relaxation | Elastic, fmax: float, steps: int, reach: float) -> Knobs:
    bounds = settings.bounds
    limits: dict[str, Any] = {
        "closest": np.float64(bounds.closest),
        "span": np.float64(bounds.energy_span),
        "spike": np.float64(bounds.spike),
        "growth": np.float64(bounds.growth),
        "detach": np.float64(bounds.detach),
    }
    fields = {
        "fmax": np.float64(fmax),
        "max_steps": np.int32(steps),
        "reach": np.float64(reach),
        "softest": np.float64(0.0),
        "stiffest": np.float64(0.0),
        "climb": np.bool_(False),
        "climb_below": np.float64(0.0),
        "limits": monitor.Limits(**limits),
    }
    return Knobs(**fields)
