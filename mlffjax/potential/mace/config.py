"""Hyper-parameters of a MACE, under the names mace-torch uses."""

from typing import Self

import e3nn_jax as e3nn
import pydantic

from mlffjax.config import Config


class MaceConfig(Config):
    """Architecture of a MACE; the elements come from the data, not from here.

    The defaults describe the "medium" architecture of MACE-MP-0 (arXiv:2401.00096).
    """

    r_max: float = pydantic.Field(default=6.0, gt=0, description="cutoff radius, Å")
    num_bessel: int = pydantic.Field(
        default=10, ge=1, description="number of Bessel radial functions"
    )
    num_polynomial_cutoff: int = pydantic.Field(
        default=5, ge=2, description="power p of the envelope"
    )
    max_ell: int = pydantic.Field(
        default=3, ge=0, le=6, description="degree of the spherical harmonics"
    )
    correlation: int = pydantic.Field(
        default=3, ge=1, le=3, description="correlation order, body order - 1"
    )
    num_interactions: int = pydantic.Field(default=2, ge=1, description="message-passing layers")
    hidden_irreps: str = pydantic.Field(default="128x0e + 128x1o", description="node features")
    mlp_irreps: str = pydantic.Field(
        default="16x0e", description="hidden layer of the last readout"
    )
    radial_mlp: tuple[int, ...] = pydantic.Field(
        (64, 64, 64), description="widths of the radial MLP"
    )
    activation_scale: float = pydantic.Field(
        default=1.6791767923989418,
        description="second-moment normalisation of silu; the value that e3nn's sampling gives "
        "and mace-torch checkpoints carry, not the integral 1.67653",
    )

    @pydantic.model_validator(mode="after")
    def _check_irreps(self) -> Self:
        hidden = e3nn.Irreps(self.hidden_irreps)
        if "0e" not in hidden or len({mul for mul, _ in hidden}) != 1:
            raise ValueError(
                f"hidden_irreps must have one multiplicity throughout and contain 0e, for example "
                f"'64x0e + 64x1o', got {self.hidden_irreps!r}"
            )
        if len({ir for _, ir in hidden}) != len(hidden) or hidden.lmax > self.max_ell:
            raise ValueError(
                f"hidden_irreps must list every irrep once, up to l = max_ell = {self.max_ell}, "
                f"got {self.hidden_irreps!r}"
            )
        if any(ir.l or ir.p != 1 for _, ir in e3nn.Irreps(self.mlp_irreps)):
            raise ValueError(f"mlp_irreps must be scalars such as '16x0e', got {self.mlp_irreps!r}")
        if not self.radial_mlp or min(self.radial_mlp) < 1:
            raise ValueError(f"radial_mlp needs at least one positive width, got {self.radial_mlp}")
        return self

    @property
    def channels(self) -> int:
        """Multiplicity of every irrep of the node features."""
        return next(iter(e3nn.Irreps(self.hidden_irreps))).mul

    @property
    def readout_width(self) -> int:
        """Hidden scalars of the last readout."""
        return e3nn.Irreps(self.mlp_irreps).dim
