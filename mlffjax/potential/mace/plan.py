"""What a layer of a MACE consists of, derived from the hyper-parameters; no arrays."""

import functools
from dataclasses import dataclass

from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.irreps import Irrep, Layout, Path, coupling_paths

SCALAR = Irrep(0, 1)
FEW_ELEMENTS = 8
"""Up to this many elements a per-element map is a one-hot matmul, above it a gather of matrices."""


@dataclass(frozen=True)
class LayerPlan:
    """Static description of one interaction, its product basis and its readout."""

    config: MaceConfig
    elements: int
    index: int

    @property
    def channels(self) -> int:
        """Multiplicity of every irrep."""
        return self.config.channels

    @property
    def is_last(self) -> bool:
        """The last layer keeps scalars only: energies need nothing else."""
        return self.index == self.config.num_interactions - 1

    @functools.cached_property
    def sender(self) -> Layout:
        """Features the layer receives; the first one receives the element embedding."""
        return Layout.parse(self.config.hidden_irreps) if self.index else Layout((SCALAR,))

    @functools.cached_property
    def edge(self) -> Layout:
        """Spherical harmonics of the edge directions."""
        return Layout.harmonics(self.config.max_ell)

    @functools.cached_property
    def target(self) -> Layout:
        """Irreps of the messages; both parities only if the features contain pseudoscalars."""
        mirrored = self.index > 0 and Irrep(0, -1) in self.sender
        return Layout.harmonics(self.config.max_ell, both_parities=mirrored)

    @functools.cached_property
    def hidden(self) -> Layout:
        """Features the layer gives."""
        return Layout((SCALAR,)) if self.is_last else Layout.parse(self.config.hidden_irreps)

    @functools.cached_property
    def kept(self) -> tuple[Irrep, ...]:
        """Irreps that the residual connection passes on."""
        return tuple(ir for ir in self.sender if ir in self.hidden)

    @functools.cached_property
    def paths(self) -> tuple[Path, ...]:
        """Couplings of sender and edge into the target, in the order of the radial weights."""
        return coupling_paths(self.sender, self.edge, self.target)

    def path_count(self, target: int) -> int:
        """Number of paths into one target irrep."""
        return sum(path.target == target for path in self.paths)

    @property
    def is_collapsed(self) -> bool:
        """Sender features are a table over few elements, so channels can wait for the sum."""
        return self.index == 0 and self.elements <= FEW_ELEMENTS

    @property
    def readout_widths(self) -> tuple[int, ...]:
        """Sizes along the readout: non-linear in the last of several layers, linear elsewhere."""
        nonlinear = self.is_last and self.index > 0
        return (self.channels, self.config.readout_width, 1) if nonlinear else (self.channels, 1)
