"""Labelled frames from the outputs of electronic-structure codes, through ASE.

Frames whose electronic iteration did not converge carry wrong labels that look right. What tells:

    vasprun.xml    fewer electronic steps than NELM, or a last step below EDIFF
    OUTCAR         the line "aborting loop because EDIFF is reached" before the energy of the step
    pw.x output    the energy marked with "!", which pw.x prints for converged steps only
    CP2K output    "SCF run NOT converged"; single points only, see ``cp2k_output``

Other formats that ASE reads do not say; their frames are taken as they are.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ase
import ase.io
from ase.io.formats import UnknownFileTypeError, filetype

from mlffjax.errors import InputError
from mlffjax.structures import cp2k_output
from mlffjax.structures.checks import check_frame
from mlffjax.structures.labels import read_labels
from mlffjax.structures.system import Frame, from_ase

HEAD = 20_000  # characters that name the program
CP2K = "cp2k-out"  # ASE has no name for it
JUDGED = ("espresso-out", CP2K)  # what is not converged has no frame
UNCONVERGED = "the electronic iteration did not converge"


class Conversion(NamedTuple):
    """Frames of one file.

    Attributes:
        frames: those that can be learned from, in the order of the file.
        dropped: one line for each of the others: file, frame and reason.
        judged: whether the format tells if a frame converged.
    """

    frames: tuple[Frame, ...]
    dropped: tuple[str, ...]
    judged: bool


def convert(path: Path, *, label: str, config_type: str = "Default") -> Conversion:
    """Read an output file and leave out what is not converged, incomplete or impossible.

    Args:
        path: output of VASP (``vasprun.xml``, ``OUTCAR``), of pw.x, of a single point of CP2K, or
            another file ASE reads.
        label: opens the names of the frames; also their trajectory, as a file is one run.
        config_type: kind of structure to note in every frame.

    Raises:
        InputError: the file is missing, of no known format, malformed, or holds no frame.
    """
    kind = _kind(path)
    try:
        images = _images(path, kind)
    except cp2k_output.NoResult as error:
        return Conversion((), (str(error),), judged=True)
    judge = JUDGES.get(kind)
    verdicts = judge(path) if judge else [True] * len(images)
    if len(verdicts) < len(images):
        raise InputError(
            f"{path}: expected the convergence of {len(images)} frames, found {len(verdicts)} "
            "electronic loops; the file may be joined from several runs, convert them one by one"
        )
    frames, dropped = [], []
    for index, atoms in enumerate(images):
        frame, reason = _frame(atoms, index, path, label, config_type)
        reason = reason if verdicts[index] else UNCONVERGED
        if reason:
            dropped.append(f"{path} frame {index}: {reason}")
        else:
            frames.append(frame)
    return Conversion(tuple(frames), tuple(dropped), judge is not None or kind in JUDGED)


def _kind(path: Path) -> str:
    """ASE's name of the format."""
    if not path.is_file():
        raise InputError(f"{path}: expected a file, found none; check the path")
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(HEAD)
    if cp2k_output.MARK in head:
        return CP2K
    try:
        return filetype(str(path))
    except UnknownFileTypeError as error:
        raise InputError(
            f"{path}: expected vasprun.xml, OUTCAR, output of pw.x or another format ASE reads, "
            "got none ASE knows; rename the file as the program does"
        ) from error


def _images(path: Path, kind: str) -> list[ase.Atoms]:
    if kind == CP2K:
        atoms = cp2k_output.read(path)
        if atoms is None:
            raise cp2k_output.NoResult(f"{path}: the output of CP2K has no end; running or killed")
        return [atoms]
    # pw.x prints no marked energy for a step that fails; such steps are to be listed too.
    keep = {"results_required": False} if kind == "espresso-out" else {}
    try:
        images = list(ase.io.iread(path, index=":", format=kind, **keep))
    except Exception as error:  # parsers of ASE raise anything
        raise InputError(
            f"{path}: read as {kind}, but it cannot be parsed ({type(error).__name__}: {error}); "
            "the file may be incomplete"
        ) from error
    if not images:
        raise InputError(f"{path}: expected at least one frame, got none; the run may have failed")
    return images


def _frame(
    atoms: ase.Atoms, index: int, path: Path, label: str, config_type: str
) -> tuple[Frame, str]:
    """The frame, and why it cannot be used or nothing."""
    source = f"{path} frame {index}"
    labels = read_labels(atoms, source)
    frame = Frame(
        system=from_ase(atoms),
        energy=labels.energy,
        forces=labels.forces,
        stress=labels.stress,
        config_type=config_type,
        trajectory=label,
        order=float(index),
        identifier=f"{label}:{index}",
        source=source,
        info={},
    )
    if frame.energy is None:
        return frame, "no energy; not converged, or coordinates printed once more"
    try:
        check_frame(frame)
    except InputError as error:
        return frame, str(error).removeprefix(f"{source}: ")
    return frame, ""


def _vasprun(path: Path) -> list[bool]:
    """Of each ionic step; the last of a file cut short may be incomplete and count as well."""
    steps: list[ElementTree.Element] = []
    limits: dict[str, float] = {}
    try:
        for event, element in ElementTree.iterparse(path, events=("start", "end")):
            if event == "start" and element.tag == "calculation":
                steps.append(element)
            elif event == "end" and element.tag == "parameters":
                limits = {
                    name: float(entry.text or "nan")
                    for entry in element.iter("i")
                    if (name := entry.get("name")) in {"NELM", "EDIFF"}
                }
    except ElementTree.ParseError:
        pass  # cut short: ASE reads what is complete
    if not {"NELM", "EDIFF"} <= limits.keys():
        raise InputError(f"{path}: expected NELM and EDIFF among the parameters, got no such entry")
    return [_settled(step, int(limits["NELM"]), limits["EDIFF"]) for step in steps]


def _settled(step: ElementTree.Element, most: int, tolerance: float) -> bool:
    found = [entry.text for entry in step.findall("scstep/energy/i[@name='e_fr_energy']")]
    if len(found) < most:
        return len(found) > 0
    if len(found) < 2:
        return False
    return abs(float(found[-1] or "nan") - float(found[-2] or "nan")) <= tolerance


def _outcar(path: Path) -> list[bool]:
    verdicts, reached = [], False
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if "aborting loop because EDIFF is reached" in line:
                reached = True
            elif "FREE ENERGIE OF THE ION-ELECTRON SYSTEM" in line:
                verdicts.append(reached)
                reached = False
    return verdicts


JUDGES: dict[str, Callable[[Path], list[bool]]] = {"vasp-xml": _vasprun, "vasp-out": _outcar}
