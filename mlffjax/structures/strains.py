"""Homogeneously strained cells, and labelled frames that were made by straining a crystal."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from mlffjax.structures import bundled
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import Frame, System

FILE = "strain.xyz"
KIND, AMOUNT = "strain_kind", "strain"
"""Entries of a frame's ``info``: how a structure was strained, and by how much."""
VOLUMETRIC = "isotropic"

Direction = Literal["volumetric", "uniaxial"]


def strained(system: System, strain: Float64[np.ndarray, "3 3"]) -> System:
    """Cell and atoms moved together by 1 + strain; fractional positions stay (clamped ions).

    Args:
        system: the crystal.
        strain: symmetric; off-diagonal elements are half the engineering shear.
    """
    deformation = np.eye(3) + np.asarray(strain, float)
    return system._replace(positions=system.positions @ deformation, cell=system.cell @ deformation)


def scan(system: System, strains: Sequence[float], direction: Direction) -> list[System]:
    """The crystal at each strain: of all lengths (volumetric), or along z only (uniaxial)."""
    axes = np.eye(3) if direction == "volumetric" else np.diag([0.0, 0.0, 1.0])
    return [strained(system, strain * axes) for strain in strains]


def labelled(frames: Sequence[Frame], elements: Sequence[int]) -> tuple[Frame, ...]:
    """Strained frames with energies: those of the data if it has any, else the bundled ones.

    A frame counts as strained if its ``info`` has ``strain_kind`` and ``strain``.

    Args:
        frames: the data.
        elements: atomic numbers; frames with others are left out.
    """
    own = [frame for frame in frames if _is_strained(frame)]
    chosen = own or [f for f in read_frames(bundled.root() / FILE) if _is_strained(f)]
    known = set(elements)
    return tuple(f for f in chosen if set(np.unique(f.system.numbers).tolist()) <= known)


def unstrained(frames: Sequence[Frame]) -> System | None:
    """The structure of the first frame with no strain, if there is one."""
    return next((f.system for f in frames if float(f.info[AMOUNT]) == 0.0), None)


def centring(frames: Sequence[Frame]) -> Float64[np.ndarray, "frames frames"]:
    """Matrix that takes the mean of its composition from every frame's energy per atom.

    What is left are differences between strains, which reference energies cannot change.
    """
    formulas = [tuple(np.sort(frame.system.numbers).tolist()) for frame in frames]
    same = np.array([[one == other for other in formulas] for one in formulas], float)
    return np.eye(len(frames)) - same / same.sum(axis=1, keepdims=True)


def _is_strained(frame: Frame) -> bool:
    return KIND in frame.info and AMOUNT in frame.info and frame.energy is not None
