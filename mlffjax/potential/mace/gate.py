"""Gated interaction: mace-torch's RealAgnosticResidualNonLinearInteractionBlock (MACE-MH).

Radial networks see both elements, messages are divided by a learned line in the density, and a
gate acts on message plus own features. arXiv:2510.25380 describes models built of it.
"""

import flax.linen as nn
import jax.numpy as jnp

from mlffjax.arrays import Array
from mlffjax.potential.mace.interaction import (
    FoldedDensity,
    FoldedGate,
    FoldedInteraction,
    align_columns,
    align_rows,
    align_up,
    up_irreps,
)
from mlffjax.potential.mace.plan import DENSITY_WIDTH, LayerPlan
from mlffjax.potential.mace.radial_mlp import NormalisedMlp, centred, deviation

EMBEDDING_DEVIATION = 1e-3 / 3**0.5  # mace-torch draws uniformly up to 1e-3
OFFSET = 20.0


class GatedInteraction(nn.Module):
    """Weights of one gated interaction; it folds as ``interaction.Interaction`` does."""

    plan: LayerPlan

    def setup(self) -> None:
        """Declare the weights."""
        plan, one, c = self.plan, nn.initializers.ones, self.plan.channels
        config, small = plan.config, deviation(EMBEDDING_DEVIATION)
        self.senders = self.param("source_embedding", small, (plan.elements, c))
        self.receivers = self.param("target_embedding", small, (plan.elements, c))
        self.radial = NormalisedMlp(
            config.num_bessel, c, config.radial_mlp, sum(plan.stored_widths)
        )
        self.density = NormalisedMlp(config.num_bessel, c, (DENSITY_WIDTH,), 1)
        self.slope = centred(self, "beta", 0.0, ())
        self.offset = centred(self, "alpha", OFFSET, ())
        self.up = [self.param(f"linear_up_{ir}", one, (c, plan.sent[ir])) for ir in up_irreps(plan)]
        self.own = {
            str(ir): self.param(f"own_{ir}", one, (width, plan.message_width(ir)))
            for ir, width in plan.sent.items()
            if ir in plan.target
        }
        self.down = [
            self.param(f"linear_{ir}", one, (plan.stored_rows(target), plan.message_width(ir)))
            for target, ir in enumerate(plan.target)
        ]
        self.mix = [self.param(f"mix_{ir}", one, (c, c)) for ir in plan.target]
        self.skip = [self.param(f"skip_{ir}", one, (c, c)) for ir in plan.kept]

    def fold(self, average_neighbors: Array) -> FoldedInteraction:
        """Multiply the normalisations in; the average number of neighbours has no say."""
        del average_neighbors
        plan, c = self.plan, self.plan.channels
        tables = [w / plan.elements**0.5 for w in (self.senders, self.receivers)]
        own = []
        for ir in plan.alive:
            weight = self.own.get(str(ir), jnp.zeros((plan.width, 0), self.senders.dtype))
            missing = ((0, plan.width - weight.shape[0]), (0, 0))
            own.append(jnp.pad(weight / weight.shape[0] ** 0.5, missing))
        density = FoldedDensity(self.density.fold(*tables), self.slope, self.offset)
        return FoldedInteraction(
            radial=align_columns(plan, self.radial.fold(*tables)),
            up=align_up(plan, [w / c**0.5 for w in self.up]),
            down=align_rows(plan, [w / max(w.shape[0], 1) ** 0.5 for w in self.down]),
            skip=[w / c**0.5 for w in self.skip],
            density=density,
            gate=FoldedGate(own, [w / c**0.5 for w in self.mix]),
        )
