"""What the runs of a study start from: the study's foundation, or what a run names itself.

A run may name another stored potential (``foundation``), or a calculator of ASE (``calculator``),
which has no weights we could train, and takes part as it is. Its energies belong to a reference
method of its own, so a calculator needs reference energies (E0) for the labels of the study.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from mlffjax import config as configuration
from mlffjax.errors import CompatibilityError
from mlffjax.potential import store
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.structures.checks import require_elements
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import Frame
from mlffjax.study.config import RunConfig, StudyConfig
from mlffjax.study.inputs import model_of
from mlffjax.study.needs import by_uncertainty

Foundation = tuple[Potential, Card]


def shared(
    config: StudyConfig, base: FilePath, groups: Sequence[Sequence[Frame]]
) -> Foundation | None:
    """The study's foundation, if a run or a probe needs it.

    Args:
        config: the study.
        base: directory that its relative paths start from.
        groups: structures that its runs will meet.

    Raises:
        CompatibilityError: it does not know an element.
    """
    needed = any(
        by_uncertainty(run) or (run.strategy.starts_from == "foundation" and not run.has_own_start)
        for run in config.runs
    )
    compared = any("foundation" in probe.uses for probe in config.probes)  # type: ignore[attr-defined]
    if config.foundation is None or not (needed or compared):
        return None
    potential, card = store.load(configuration.resolve_path(config.foundation, base))
    if needed:  # otherwise a probe leaves out what the foundation does not know
        _require(card, potential, groups, "foundation")
    return potential, card


def own(
    config: StudyConfig, base: FilePath, groups: Sequence[Sequence[Frame]]
) -> dict[str, Foundation]:
    """What runs name themselves, by name of the run; no calculator is started.

    Raises:
        CompatibilityError: a stored potential does not know an element.
    """
    numbers = {int(z) for frames in groups for f in frames for z in np.unique(f.system.numbers)}
    found: dict[str, Foundation] = {}
    for run in config.runs:
        if run.calculator is not None:
            found[run.name] = _calculator(run, base, numbers)
        elif run.foundation is not None:
            found[run.name] = store.load(configuration.resolve_path(run.foundation, base))
            _require(
                found[run.name][1], found[run.name][0], groups, f"run {run.name!r}, foundation"
            )
    return found


def starts(
    architecture: Any, foundation: Foundation | None, own: Mapping[str, Foundation], run: RunConfig
) -> Any:
    """What a run starts from, as plain data for its fingerprint.

    Args:
        architecture: plain data of the section ``model``.
        foundation: of the study.
        own: what runs name themselves.
        run: the run.
    """
    if run.strategy.starts_from == "model":
        return architecture
    chosen = own.get(run.name, foundation)
    return None if chosen is None else chosen[1].checksum


def origin(foundation: Foundation | None) -> dict[str, str] | None:
    """What the card of a run says about where it started."""
    if foundation is None:
        return None
    card = foundation[1]
    return {"name": card.name, "reference": card.reference, "checksum": card.checksum}


def program_note(potential: Potential) -> tuple[str, ...]:
    """Versions of a program of others that computes, which its settings do not tell."""
    program = getattr(potential.model, "program", None)
    if program is None:
        return ()
    return (f"computed by {', '.join(f'{name} {version}' for name, version in program.items())}",)


def _calculator(run: RunConfig, base: FilePath, elements: set[int]) -> Foundation:
    model = model_of("", run.calculator, base, elements)
    settings = model.potential.model.settings
    card = Card(
        name=settings["factory"],
        elements=symbols(model.potential.elements),
        model=settings,
        reference=f"of {settings['factory']}",
        functional="of the calculator",
        checksum=configuration.fingerprint(settings),
    )
    return model.potential, card


def _require(
    card: Card, potential: Potential, groups: Sequence[Sequence[Frame]], section: str
) -> None:
    for frames in groups:
        try:
            require_elements(frames, potential.elements)
        except CompatibilityError as error:
            raise CompatibilityError(f"{section} {card.name!r}: {error}") from error
