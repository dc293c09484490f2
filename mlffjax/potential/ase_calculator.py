"""Any potential, or a committee of them, as a calculator of ASE.

One compilation serves a whole trajectory: the neighbour list has a skin and is renewed on the
host when atoms or cell have moved too far, and arrays have a little room, so that shapes change
only if the density or the number of atoms does. Several lists are kept at a time, so images of a
band may share a calculator.

Example
    >>> import mlffjax
    >>> atoms.calc = mlffjax.calculator("bundled:generalist")       # doctest: +SKIP
    >>> atoms.get_potential_energy()                                # doctest: +SKIP
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ase
import jax
import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlffjax import trees
from mlffjax.errors import ConfigError, InputError
from mlffjax.graphs.batching import SLOT_STEP, species_of
from mlffjax.graphs.skin import Narrowing, SkinList, crowding, is_valid, make, prune
from mlffjax.potential import derivatives
from mlffjax.potential.base import Potential
from mlffjax.potential.committee import members
from mlffjax.potential.derivatives import Prediction
from mlffjax.structures.system import System, from_ase

LISTS = 32
"""Neighbour lists kept at a time: images of a band that share a calculator."""
LISTED_EDGES = 4_000_000
"""Edges kept in all lists together; bounds the memory at some 150 MB."""
ROOM = 1.25
"""Padding, as a factor, up to which a compiled shape is used rather than a smaller one compiled."""
FEWEST_ATOMS, FEWEST_SLOTS = 8, 16
"""Sizes below which a smaller shape would save no time."""
TOO_CLOSE = 1e-3
"""Å; models may give any number for atoms on top of each other."""

# Compiled once per model, shape and precision for all calculators of the process.
_predict = jax.jit(derivatives.predict)
_prune = jax.jit(prune, static_argnums=(1, 2))


def calculator(
    path_or_potential: str | Path | Potential | Sequence[str | Path | Potential],
    *,
    dtype: str = "float64",
    skin: float = 0.5,
) -> "PotentialCalculator":
    """Make an ASE calculator from a potential, a directory with one, or several of one model.

    Energies are total energies: reference energies (E0) are included. Of several potentials, or
    of a stack of them (``trees.stack``), the calculator reports means and, in its ``results``,
    the committee fields of ``PotentialCalculator``.

    Args:
        path_or_potential: a potential, the directory of a saved one, ``bundled:name``, or a
            sequence of these with equal models.
        dtype: ``"float64"``, which needs JAX's 64-bit numbers switched on, or ``"float32"``,
            which is faster and gives forces to some 1e-5 eV/Å.
        skin: Å beyond the cutoff that the neighbour list reaches. It changes no result: more
            means rarer but longer work on the list. 0 renews the list at every step.

    Raises:
        ConfigError: ``dtype`` or ``skin`` cannot be used, or JAX is not set to 64 bits.
        CompatibilityError: potentials of one committee differ in model or reference method.
        InputError: a potential cannot be read or holds NaN.
    """
    return PotentialCalculator(members(path_or_potential), dtype=dtype, skin=skin)


class _Kept(NamedTuple):
    """A neighbour list on the device, and the slots that the edges inside the cutoff are given."""

    near: SkinList
    slots: int


class _Outcome(NamedTuple):
    """What the members say about a structure, in float64; without reference energies."""

    energies: np.ndarray  # [members, atoms], eV
    forces: np.ndarray  # [members, atoms, 3], eV/Å
    stress: np.ndarray  # [members, 3, 3], eV/Å^3


class PotentialCalculator(Calculator):
    """Energies and derivatives of potentials of one model; use ``mlffjax.calculator`` to make one.

    Results are ASE's ``energy``, ``free_energy`` (equal to it), ``energies`` (per atom, eV),
    ``forces`` (eV/Å) and, if the cell is periodic in three directions, ``stress`` (eV/Å^3, Voigt
    order xx yy zz yz xz xy, negative when the cell wants to expand). Of a committee these are
    means over members, and each of energy, forces and stress has two more: ``*_comm``, the
    members' values along a leading axis, and ``*_var``, their variance (of the population).

    Raises:
        CompatibilityError: an element of the structure is not known to the potential.
        InputError: the structure is not usable, or its energy or forces are not finite.
        PropertyNotImplementedError: stress is asked of a structure with an open direction.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, members: Sequence[Potential], *, dtype: str, skin: float) -> None:
        super().__init__()
        if dtype not in ("float32", "float64"):
            raise ConfigError(f"expected dtype 'float64' or 'float32', got {dtype!r}")
        if not 0 <= skin < math.inf:
            raise ConfigError(f"expected a skin of at least 0 Å, got {skin}")
        self._dtype = np.dtype(dtype)
        self._skin = float(skin)
        self._require_precision()
        self._references = np.array(
            [np.asarray(m.model.reference_energies(m.params), np.float64) for m in members]
        )
        self._members = [jax.device_put(trees.cast(member, self._dtype)) for member in members]
        self._model = members[0].model
        self._lists: list[_Kept] = []  # the one used last comes first
        self._shapes: set[tuple[int, int]] = set()  # atoms and slots compiled for
        if len(members) > 1:
            self.implemented_properties = [
                *type(self).implemented_properties,
                *(
                    f"{name}_{kind}"
                    for name in ("energy", "forces", "stress")
                    for kind in ("comm", "var")
                ),
            ]

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill ``results`` with all that has a meaning for the structure; ASE calls this."""
        super().calculate(atoms, properties, system_changes)
        if self.atoms is None:
            raise InputError("expected a structure to calculate, got none; pass atoms")
        system = from_ase(self.atoms)
        if not system.pbc.all() and any(name.startswith("stress") for name in properties):
            raise PropertyNotImplementedError(
                "stress needs a cell that is periodic in three directions, got pbc = "
                f"{system.pbc.tolist()}: an open direction has no volume to divide by"
            )
        species = species_of(system, self._model.elements)
        outcome = self._outcome(system, species) if len(species) else self._nothing()
        self.results = self._collected(outcome, species, periodic=bool(system.pbc.all()))

    def _outcome(self, system: System, species: np.ndarray) -> _Outcome:
        """Evaluate all members and believe only what is complete and finite."""
        self._require_precision()
        kept = self._list_for(system)
        found, narrowing = jax.device_get(self._evaluate(kept, system, species))
        if narrowing.slots > kept.slots:  # edges were lost: forget the result, make room, repeat
            slots = self._more_slots(kept, int(narrowing.slots))
            kept = self._lists[0] = kept._replace(slots=slots)
            found, narrowing = jax.device_get(self._evaluate(kept, system, species))
        closest = float(narrowing.closest)
        if closest < TOO_CLOSE:
            raise InputError(
                f"expected distinct atoms, but two (or one and its periodic image) are "
                f"{closest:.1g} Å apart; check positions and cell"
            )
        count = len(species)
        outcome = _Outcome(
            np.array([each.atomic_energies[:count] for each in found], np.float64),
            np.array([each.forces[:count] for each in found], np.float64),
            np.array([each.stress[0] for each in found], np.float64),
        )
        if not all(np.isfinite(values).all() for values in outcome):
            raise InputError(
                "the potential gives NaN or infinity for this structure, whose shortest distance "
                f"is {closest:.3g} Å; expected a structure like those it was made for; look at "
                "the geometry, the cell and the time step"
            )
        return outcome

    def _evaluate(
        self, kept: _Kept, system: System, species: np.ndarray
    ) -> tuple[list[Prediction], Narrowing]:
        """Dispatch the computation for all members; nothing is waited for."""
        graph, count = kept.near.graph, len(species)
        positions = np.zeros(graph.positions.shape, self._dtype)
        # Relative to one of the atoms, so that single precision is spent on distances.
        positions[:count] = system.positions - kept.near.system.positions[0]
        padded = np.zeros(len(positions), np.int32)
        padded[:count] = species
        graph = graph._replace(
            positions=positions, species=padded, cell=system.cell[None].astype(self._dtype)
        )
        pruned, narrowing = _prune(graph, self._model.cutoff, kept.slots)
        return [_predict(member, pruned) for member in self._members], narrowing

    def _list_for(self, system: System) -> _Kept:
        """A list that is valid for the structure: one of those kept, or a new one."""
        for index, kept in enumerate(self._lists):
            if is_valid(kept.near, system):
                self._lists.insert(0, self._lists.pop(index))
                return kept
        atoms = _atom_capacity(len(system.numbers), {atoms for atoms, _ in self._shapes})
        near = make(system, self._model.cutoff, self._skin, atoms=atoms, dtype=self._dtype.type)
        slots = self._slots(near)
        kept = _Kept(near._replace(graph=jax.device_put(near.graph)), slots)
        self._lists.insert(0, kept)
        edges = np.cumsum([each.near.graph.neighbors.size for each in self._lists])
        del self._lists[max(1, min(LISTS, int((edges <= LISTED_EDGES).sum()))) :]
        return kept

    def _slots(self, near: SkinList) -> int:
        """Slots for the edges inside the cutoff and, if new, for those within half the skin."""
        needed, roomy = (
            crowding(near, self._model.cutoff + part * self._skin) for part in (0, 0.5)
        )
        atoms = len(near.graph.species)
        known = {slots for compiled_atoms, slots in self._shapes if compiled_atoms == atoms}
        most = ROOM * max(roomy, FEWEST_SLOTS)
        for wanted in (roomy, needed):
            if fitting := [slots for slots in known if wanted <= slots <= most]:
                return min(fitting)
        return self._compiled(atoms, roomy)

    def _more_slots(self, kept: _Kept, needed: int) -> int:
        """Slots after an overflow: the next larger shape, or a new one with a tenth to spare."""
        atoms = len(kept.near.graph.species)
        fitting = [s for a, s in self._shapes if a == atoms and needed <= s <= ROOM * needed]
        return min(fitting) if fitting else self._compiled(atoms, math.ceil(1.1 * needed))

    def _compiled(self, atoms: int, slots: int) -> int:
        slots = max(-(-slots // SLOT_STEP) * SLOT_STEP, FEWEST_SLOTS)
        self._shapes.add((atoms, slots))
        return slots

    def _nothing(self) -> _Outcome:
        """The outcome for a structure without atoms."""
        members = len(self._members)
        return _Outcome(*(np.zeros((members, *shape)) for shape in ((0,), (0, 3), (3, 3))))

    def _collected(
        self, outcome: _Outcome, species: np.ndarray, *, periodic: bool
    ) -> dict[str, float | np.ndarray]:
        """Results under ASE's names; reference energies are added here, in float64."""
        references = self._references[:, species]
        values = {
            "energy": outcome.energies.sum(axis=1) + references.sum(axis=1),
            "forces": outcome.forces,
        }
        if periodic:
            values["stress"] = full_3x3_to_voigt_6_stress(outcome.stress)
        results = {name: members.mean(axis=0) for name, members in values.items()}
        results["energy"] = results["free_energy"] = float(results["energy"])
        results["energies"] = (outcome.energies + references).mean(axis=0)
        if len(self._members) > 1:
            for name, members in values.items():
                results[f"{name}_comm"] = members
                results[f"{name}_var"] = members.var(axis=0)
            results["energy_var"] = float(results["energy_var"])
        return results

    def _require_precision(self) -> None:
        if jax.dtypes.canonicalize_dtype(self._dtype) != self._dtype:
            raise ConfigError(
                "a calculator in float64 needs JAX's 64-bit numbers, which are off; call "
                "jax.config.update('jax_enable_x64', True) before anything else or set "
                "JAX_ENABLE_X64=1, or choose dtype='float32'"
            )

    def _get_name(self) -> str:
        return "mlffjax"


def _atom_capacity(count: int, known: set[int]) -> int:
    """Atoms to pad to: a compiled number that fits, or exactly as many if the count is new.

    A count a little above a compiled one means that atoms come and go; then there is room for more.
    """
    floor = max(count, FEWEST_ATOMS)
    if fitting := [atoms for atoms in known if floor <= atoms <= ROOM * floor]:
        return min(fitting)
    return math.ceil(ROOM * floor) if any(a < floor <= ROOM * a for a in known) else floor
