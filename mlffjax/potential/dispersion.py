"""The D3 dispersion correction for potentials and for labels, through the library simple-dftd3.

Semilocal functionals such as PBE do not bind layers across a van der Waals gap; D3 adds pairwise
attraction that depends on the coordination of the atoms: Grimme, Antony, Ehrlich and Krieg,
J. Chem. Phys. 132, 154104 (2010), doi:10.1063/1.3382344; damping of Becke and Johnson: Grimme,
Ehrlich and Goerigk, J. Comput. Chem. 32, 1456 (2011), doi:10.1002/jcc.21759. Two-body terms with
the library's real-space cutoffs; the parameters belong to a functional.

It must be counted once: what was trained on labels with a correction has learned it. The card of a
potential says so, and a second correction is refused.

Example
    >>> potential, card = mlffjax.load("bundled:generalist")                    # doctest: +SKIP
    >>> potential, card = dispersion.corrected(potential, card)                # doctest: +SKIP
    >>> card.dispersion                                                        # doctest: +SKIP
    'D3(BJ), parameters of PBE'
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase.units import Bohr, Hartree

from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.errors import CompatibilityError, ConfigError, InputError, MissingExtra
from mlffjax.graphs.graph import Graph
from mlffjax.potential.base import EnergyModel, Potential
from mlffjax.potential.card import Card
from mlffjax.potential.host_energy import HostResult, energies, one_by_one, shares
from mlffjax.structures.system import Frame, System

Damping = Literal["d3bj", "d3zero"]
NAMES = {"d3bj": "D3(BJ)", "d3zero": "D3(zero)"}
_CLASSES = {"d3bj": "RationalDampingParam", "d3zero": "ZeroDampingParam"}
REACH = (60 + 2 * 40) * Bohr
"""Å; pairs to 60 Bohr, and the coordination of both, to 40 Bohr."""


@dataclass(frozen=True)
class DispersionCorrected:
    """A model plus D3; the parameters are those of the model."""

    base: EnergyModel
    method: str
    damping: Damping
    pbc: tuple[bool, bool, bool]

    @property
    def elements(self) -> tuple[int, ...]:
        """Those of the model."""
        return self.base.elements

    @property
    def cutoff(self) -> float:
        """That of the model; the library makes its own lists."""
        return self.base.cutoff

    @property
    def reach(self) -> float:
        """Of the correction, which is longer."""
        return max(self.base.reach, REACH)

    @property
    def supports(self) -> frozenset[str]:
        """Features of the model; the correction comes without atomic energies and Hessian."""
        return self.base.supports & {"features"}

    @property
    def settings(self) -> dict[str, Any]:
        """Those of the model, and the correction; potentials are stored without it."""
        added = {"method": self.method, "damping": self.damping, "pbc": self.pbc}
        return self.base.settings | {"dispersion": added}

    def init(self, *, key: PRNGKey) -> PyTree:
        """Parameters of the model."""
        return self.base.init(key=key)

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Energies of the model, and equal shares of the correction, eV."""
        return self.base.atomic_energies(params, graph) + shares(energies(self, graph), graph)

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """E0 of each element, eV; free atoms have no correction."""
        return self.base.reference_energies(params)

    def features(self, params: PyTree, graph: Graph) -> Any:
        """Features of the model."""
        return self.base.features(params, graph)  # type: ignore[attr-defined]

    def evaluate(
        self, systems: Sequence[System], *, derivatives: bool, stress: bool
    ) -> list[HostResult]:
        """The correction for structures; on the host."""
        del derivatives, stress  # the library gives all of them in one go
        return one_by_one(
            lambda system: correction(system, self.method, damping=self.damping), systems
        )


def corrected(
    potential: Potential,
    card: Card,
    *,
    method: str | None = None,
    damping: Damping = "d3bj",
    pbc: tuple[bool, bool, bool] = (True, True, True),
) -> tuple[Potential, Card]:
    """A potential with D3 added to it, and the card that says so.

    Args:
        potential: trained without any dispersion correction.
        card: of the potential.
        method: functional whose parameters are used; by default that of the card.
        damping: Becke-Johnson or zero damping.
        pbc: directions that are periodic in the structures to come; zero cell vectors never are.

    Raises:
        CompatibilityError: the potential has a correction already, or its functional is another.
        ConfigError: the library has no parameters for the functional.
        MissingExtra: the library is not installed.
    """
    if card.dispersion is not None:
        raise CompatibilityError(
            f"{card.name!r} was made for labels with {card.dispersion}, so its energies contain a "
            "dispersion correction; another would count it twice. Use it as it is"
        )
    chosen = _method(method, card.functional, card.name)
    _parameters(chosen, damping)
    note = f"{NAMES[damping]}, parameters of {chosen.upper()}"
    model = DispersionCorrected(potential.model, chosen, damping, pbc)
    changes = {
        "name": f"{card.name}+{NAMES[damping]}",
        "model": model.settings,
        "dispersion": note,
        "checksum": "",
    }
    return Potential(potential.params, model), card.model_copy(update=changes)


def correction(system: System, method: str, *, damping: Damping = "d3bj") -> HostResult:
    """Energy (eV), forces (eV/Å) and stress (eV/Å³, ASE sign; None unless periodic) of D3.

    Raises:
        ConfigError: the library has no parameters for the functional.
        InputError: the library cannot treat the structure.
        MissingExtra: the library is not installed.
    """
    parameters, library = _parameters(method, damping), _library()
    try:
        model = library.DispersionModel(
            np.asarray(system.numbers),
            np.asarray(system.positions, np.float64) / Bohr,
            np.asarray(system.cell, np.float64) / Bohr,
            np.asarray(system.pbc),
        )
        found = model.get_dispersion(parameters, grad=True)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"no D3 correction for {len(system.numbers)} atoms: {error}") from error
    stress = None
    if system.pbc.all():
        stress = found["virial"] * Hartree / abs(np.linalg.det(system.cell))
    forces = found["gradient"] * (-Hartree / Bohr)
    return HostResult(float(found["energy"]) * Hartree, forces, stress)


def corrected_frames(
    frames: Sequence[Frame],
    *,
    method: str,
    dispersion: str | None,
    damping: Damping = "d3bj",
) -> tuple[Frame, ...]:
    """Frames with D3 added to the labels they have.

    Args:
        frames: labelled structures.
        method: functional of the labels.
        dispersion: correction that the labels have already, as the data set says; must be None.
        damping: Becke-Johnson or zero damping.

    Raises:
        CompatibilityError: the labels have a correction.
        ConfigError, InputError, MissingExtra: see ``correction``.
    """
    if dispersion is not None:
        raise CompatibilityError(
            f"the labels contain {dispersion}; another dispersion correction would count it twice"
        )
    return tuple(
        _added(frame, correction(frame.system, method, damping=damping)) for frame in frames
    )


def _added(frame: Frame, found: HostResult) -> Frame:
    stress = frame.stress
    if stress is not None and found.stress is not None:
        stress = stress + found.stress
    return frame._replace(
        energy=None if frame.energy is None else frame.energy + found.energy,
        forces=None if frame.forces is None else frame.forces + found.forces,
        stress=stress,
    )


def _method(method: str | None, functional: str, name: str) -> str:
    """The functional in the library's spelling."""
    own, wanted = (_plain(text) for text in (functional, method or functional))
    if wanted != own:
        raise CompatibilityError(
            f"{name!r} was made with the functional {functional!r}; D3 parameters of {method!r} "
            "belong to another one; leave 'method' out"
        )
    return wanted


def _plain(functional: str) -> str:
    return "".join(letter for letter in functional.lower() if letter.isalnum())


def _parameters(method: str, damping: Damping) -> Any:
    try:
        return getattr(_library(), _CLASSES[damping])(method=method)
    except RuntimeError as error:
        raise ConfigError(
            f"no {NAMES[damping]} parameters for the functional {method!r}: {error}"
        ) from error


def _library() -> Any:
    try:
        return importlib.import_module("dftd3.interface")
    except ImportError as error:
        raise MissingExtra(
            "D3 needs the library simple-dftd3: pip install 'mlffjax[dispersion]'"
        ) from error
