"""Hyper-parameters of a MACE, under the names mace-torch uses."""

import re
from typing import Any, Literal, Self, get_args

import e3nn_jax as e3nn
import pydantic

from mlffjax.config import Config

InteractionName = Literal[
    "RealAgnostic",
    "RealAgnosticResidual",
    "RealAgnosticDensity",
    "RealAgnosticDensityResidual",
    "RealAgnosticResidualNonLinear",
]
"""Classes of mace-torch without their ending ``InteractionBlock``."""
INTERACTIONS: tuple[str, ...] = get_args(InteractionName)
LARGEST_DEGREE = 6


_TERM = r"\s*(\d{1,5}x)?\d{1,3}[eo]\s*"
IRREPS = re.compile(rf"{_TERM}(\+{_TERM}){{,99}}")


class MaceConfig(Config):
    """Architecture of a MACE; the elements come from the data, not from here.

    The defaults describe the "medium" architecture of MACE-MP-0 (arXiv:2401.00096). The fields from
    ``interaction`` on tell other generations from it and are left out of cards where they have
    their default.
    """

    r_max: float = pydantic.Field(default=6.0, gt=0, description="cutoff radius, Å")
    num_bessel: int = pydantic.Field(
        default=10, ge=1, le=1000, description="number of radial functions"
    )
    num_polynomial_cutoff: int = pydantic.Field(
        default=5, ge=2, description="power p of the envelope"
    )
    max_ell: int = pydantic.Field(
        default=3, ge=0, le=LARGEST_DEGREE, description="degree of the spherical harmonics"
    )
    correlation: int = pydantic.Field(
        default=3, ge=1, le=3, description="correlation order, body order - 1"
    )
    num_interactions: int = pydantic.Field(
        default=2, ge=1, le=50, description="message-passing layers"
    )
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
    interaction: InteractionName = pydantic.Field(
        default="RealAgnosticResidual", description="kind of every interaction but the first"
    )
    interaction_first: InteractionName | None = pydantic.Field(
        default=None, description="kind of the first interaction; that of the others if absent"
    )
    edge_irreps: str | None = pydantic.Field(
        default=None, description="features sent along edges; those of the nodes if absent"
    )
    edge_irreps_first: str | None = pydantic.Field(
        default=None, description="the same for the first interaction"
    )
    radial_type: Literal["bessel", "gaussian", "chebyshev"] = pydantic.Field(
        default="bessel", description="radial functions"
    )
    distance_transform: Literal["Agnesi", "Soft"] | None = pydantic.Field(
        default=None, description="what is done to a distance before the radial functions"
    )
    apply_cutoff: bool = pydantic.Field(
        default=True,
        description="the envelope multiplies the radial functions; otherwise the radial weights",
    )
    pair_repulsion: bool = pydantic.Field(
        default=False, description="add the ZBL repulsion of nuclei"
    )
    use_so3: bool = pydantic.Field(
        default=False, description="harmonics of even parity only: no mirror symmetry"
    )
    use_agnostic_product: bool = pydantic.Field(
        default=False, description="the product basis has the same weights for all elements"
    )
    use_last_readout_only: bool = pydantic.Field(
        default=False, description="energies come from the last layer alone"
    )
    readout: Literal["NonLinear", "NonLinearBias"] = pydantic.Field(
        default="NonLinear", description="last readout: one hidden layer, or two with biases"
    )
    sigmoid_scale: float = pydantic.Field(
        default=1.8467055342154763,
        description="second-moment normalisation of the sigmoid that gates vectors; the value of "
        "e3nn's sampling",
    )

    @pydantic.model_serializer(mode="wrap")
    def _without_defaults(self, handler: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what tells generations apart where it has its default.

        Cards and fingerprints of studies made before a variation existed so stay what they were.
        """
        fields = type(self).model_fields
        names = list(fields)
        variations = names[names.index("interaction") : names.index("sigmoid_scale") + 1]
        return {
            name: value
            for name, value in handler(self).items()
            if name not in variations or getattr(self, name) != fields[name].default
        }

    @pydantic.field_validator("hidden_irreps", "mlp_irreps", "edge_irreps", "edge_irreps_first")
    @classmethod
    def _are_irreps(cls, text: str | None) -> str | None:
        # e3nn counts channels one by one, up to any number a card may ask for.
        if text is not None and not IRREPS.fullmatch(text):
            raise ValueError("expected irreps such as '64x0e + 64x1o', of at most 99999 channels")
        return text

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
        for name in ("edge_irreps", "edge_irreps_first"):
            text = getattr(self, name)
            edge = e3nn.Irreps(text or "1x0e")
            if "0e" not in edge or len({ir for _, ir in edge}) != len(edge):
                raise ValueError(f"{name} must contain 0e and list every irrep once, got {text!r}")
            if edge.lmax > LARGEST_DEGREE:
                raise ValueError(f"{name} must have l of at most {LARGEST_DEGREE}, got {text!r}")
        return self

    @pydantic.model_validator(mode="after")
    def _check_variations(self) -> Self:
        if self.radial_type == "gaussian" and self.num_bessel < 2:
            raise ValueError("radial_type gaussian needs num_bessel of at least 2")
        if self.use_last_readout_only and self.num_interactions == 1:
            raise ValueError("use_last_readout_only needs num_interactions of at least 2")
        gated = "RealAgnosticResidualNonLinear" in self.interactions
        if gated and "0o" in e3nn.Irreps(self.hidden_irreps):
            raise ValueError(
                "RealAgnosticResidualNonLinear cannot have pseudoscalars 0o in hidden_irreps"
            )
        return self

    @property
    def interactions(self) -> tuple[str, ...]:
        """Kind of every interaction, in order."""
        first = self.interaction_first or self.interaction
        return (first, *[self.interaction] * (self.num_interactions - 1))

    @property
    def channels(self) -> int:
        """Multiplicity of every irrep of the node features."""
        return next(iter(e3nn.Irreps(self.hidden_irreps))).mul

    @property
    def readout_width(self) -> int:
        """Hidden scalars of the last readout."""
        return e3nn.Irreps(self.mlp_irreps).dim
