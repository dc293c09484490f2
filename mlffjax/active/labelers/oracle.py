"""Labels held back: a reference set that exists already plays the calculation.

It gives a label at once to every structure of the set, and refuses all others; so selections can be
compared without computing anything.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from mlffjax.active.labelers._labeler import Label, LabelError, Section
from mlffjax.errors import InputError
from mlffjax.structures import datasets
from mlffjax.structures.checks import is_isolated, require_labels, structure_digest
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import Frame


class Config(Section):
    """Where the labels are."""

    files: tuple[str, ...] = pydantic.Field(min_length=1)
    """Paths or glob patterns, relative to the configuration file or ``bundled:``. Paths of images
    may share end points: the same structure may occur again, with the same energy."""


@dataclass(frozen=True)
class Oracle:
    """Labels by structure."""

    settings: Any
    known: dict[str, Frame]

    def label(self, frame: Frame) -> Label:
        """The label of the equal structure of the set.

        Raises:
            LabelError: the set has no such structure.
        """
        found = self.known.get(structure_digest(frame.system))
        if found is None:
            raise LabelError(
                f"{frame.source or frame.identifier}: expected a structure of the reference set, "
                f"got one that is not among its {len(self.known)}; an oracle labels nothing new"
            )
        assert found.energy is not None  # required by build, as are the forces
        assert found.forces is not None
        return Label(found.energy, found.forces, found.stress, {"source": found.identifier})


def example() -> Config:
    """The bundled path of the in-gap hop."""
    return Config(reference="PBE", files=("bundled:cr_sb2te3_pbe/neb_in_gap.xyz",))


def build(config: Config, base: Path) -> Oracle:
    """Read the set.

    Raises:
        InputError: files cannot be used, a label is missing, or a structure has two energies.
    """
    known: dict[str, Frame] = {}
    frames = [f for path in datasets.expand(config.files, base) for f in read_frames(path)]
    frames = [frame for frame in frames if not is_isolated(frame)]
    require_labels(frames)
    for frame in frames:
        other = known.setdefault(structure_digest(frame.system), frame)
        assert other.energy is not None  # required above
        assert frame.energy is not None
        if abs(other.energy - frame.energy) > 1e-3:
            raise InputError(
                f"{frame.source}: expected one energy for one structure, got {frame.energy:.6f} "
                f"eV and, from {other.source}, {other.energy:.6f} eV; keep one"
            )
    content = datasets.digest(known.values(), {}, config.reference)
    return Oracle({"kind": "oracle", "reference": config.reference, "content": content}, known)
