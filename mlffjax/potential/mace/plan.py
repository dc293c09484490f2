"""What a layer of a MACE consists of, derived from the hyper-parameters; no arrays."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import e3nn_jax as e3nn

from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.irreps import Irrep, Layout, Path, coupling_paths

SCALAR = Irrep(0, 1)
FEW_ELEMENTS = 8
"""Up to this many elements a per-element map is a one-hot matmul, above it a gather of matrices."""
DENSITY_WIDTH = 64
"""Hidden layer of the network that a gated interaction measures its density with."""


class Kind(NamedTuple):
    """What tells one kind of interaction from another."""

    is_residual: bool  # an atom's own features are added to its products
    has_density: bool  # messages are divided by a density, not by the average number of neighbours
    is_gated: bool  # species enter the radial network, and a gate acts on the messages


KINDS = {
    "RealAgnostic": Kind(is_residual=False, has_density=False, is_gated=False),
    "RealAgnosticResidual": Kind(is_residual=True, has_density=False, is_gated=False),
    "RealAgnosticDensity": Kind(is_residual=False, has_density=True, is_gated=False),
    "RealAgnosticDensityResidual": Kind(is_residual=True, has_density=True, is_gated=False),
    "RealAgnosticResidualNonLinear": Kind(is_residual=True, has_density=True, is_gated=True),
}


@dataclass(frozen=True)
class LayerPlan:
    """Static description of one interaction, its product basis and its readout."""

    config: MaceConfig
    elements: int
    index: int

    @property
    def kind(self) -> Kind:
        """What kind of interaction it is."""
        return KINDS[self.config.interactions[self.index]]

    @property
    def channels(self) -> int:
        """Multiplicity of every irrep of the node features."""
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
    def sent(self) -> dict[Irrep, int]:
        """Irreps that go along edges with their multiplicities, in order.

        It may list irreps that the features do not have; those are zero, but count in
        normalisations and have weights.
        """
        given = self.config.edge_irreps if self.index else self.config.edge_irreps_first
        if given is None:
            return dict.fromkeys(self.sender, self.channels)
        return {Irrep(ir.l, ir.p): mul for mul, ir in e3nn.Irreps(given)}

    @functools.cached_property
    def alive(self) -> Layout:
        """Irreps that go along edges and are not zero."""
        return Layout(tuple(ir for ir in self.sent if ir in self.sender))

    @property
    def width(self) -> int:
        """Channels of what goes along edges, where narrower irreps are padded to."""
        return max(self.sent[ir] for ir in self.alive)

    @functools.cached_property
    def edge(self) -> Layout:
        """Spherical harmonics of the edge directions."""
        return Layout.harmonics(self.config.max_ell, even=self.config.use_so3)

    @functools.cached_property
    def target(self) -> Layout:
        """Irreps of the messages; both parities only if the features contain pseudoscalars."""
        mirrored = self.index > 0 and Irrep(0, -1) in self.sender
        return Layout.harmonics(
            self.config.max_ell, both_parities=mirrored, even=self.config.use_so3
        )

    @functools.cached_property
    def hidden(self) -> Layout:
        """Features the layer gives."""
        return Layout((SCALAR,)) if self.is_last else Layout.parse(self.config.hidden_irreps)

    @functools.cached_property
    def kept(self) -> tuple[Irrep, ...]:
        """Irreps that the residual connection passes on."""
        return tuple(ir for ir in self.sender if ir in self.hidden)

    @functools.cached_property
    def stored_paths(self) -> tuple[Path, ...]:
        """Couplings of what is sent and edge into the target, in the order of radial weights.

        ``Path.sender`` counts the irreps of ``sent``.
        """
        return coupling_paths(Layout(tuple(self.sent)), self.edge, self.target)

    @functools.cached_property
    def stored_widths(self) -> tuple[int, ...]:
        """Channels of each stored path."""
        widths = tuple(self.sent.values())
        return tuple(widths[path.sender] for path in self.stored_paths)

    @functools.cached_property
    def paths(self) -> tuple[Path, ...]:
        """Couplings that are not zero; ``Path.sender`` counts the irreps of ``alive``."""
        return coupling_paths(self.alive, self.edge, self.target)

    @functools.cached_property
    def is_alive(self) -> tuple[bool, ...]:
        """Which of the stored paths are not zero; those are ``paths``, in the same order."""
        sent = tuple(self.sent)
        return tuple(sent[path.sender] in self.alive for path in self.stored_paths)

    @property
    def is_uniform(self) -> bool:
        """All stored paths are alive and equally wide: stored weights serve as they are."""
        return all(self.is_alive) and set(self.stored_widths) == {self.width}

    def path_count(self, target: int) -> int:
        """Number of paths into one target irrep."""
        return sum(path.target == target for path in self.paths)

    def stored_rows(self, target: int) -> int:
        """Channels of all stored paths into one target irrep."""
        pairs = zip(self.stored_paths, self.stored_widths, strict=True)
        return sum(width for path, width in pairs if path.target == target)

    def message_width(self, ir: Irrep) -> int:
        """Channels per component of a message before the gate, which needs one per irrep."""
        gates = len(self.target) - 1 if self.kind.is_gated and ir == SCALAR else 0
        return self.channels * (1 + gates)

    @property
    def is_collapsed(self) -> bool:
        """Sender features are a table over few elements, so channels can wait for the sum."""
        return self.index == 0 and self.elements <= FEW_ELEMENTS

    @property
    def product_elements(self) -> int:
        """Sets of weights of the product basis."""
        return 1 if self.config.use_agnostic_product else self.elements

    @property
    def readout_widths(self) -> tuple[int, ...]:
        """Sizes along the readout: non-linear in the last of several layers, linear elsewhere.

        Empty if the layer has no readout.
        """
        if not self.is_last or self.index == 0:
            skipped = self.config.use_last_readout_only
            return () if skipped else (self.channels, 1)
        hidden = 2 if self.has_biases else 1
        return (self.channels, *[self.config.readout_width] * hidden, 1)

    @property
    def has_biases(self) -> bool:
        """The readout has biases, in all maps but its first."""
        return self.is_last and self.index > 0 and self.config.readout == "NonLinearBias"

    @property
    def readout_index(self) -> int:
        """Place of the readout among those that exist."""
        return 0 if self.config.use_last_readout_only else self.index
