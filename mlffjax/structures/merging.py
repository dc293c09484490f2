"""Several sets of frames as one, if they can be one."""

from collections.abc import Sequence

from mlffjax.errors import CompatibilityError
from mlffjax.structures import comparison
from mlffjax.structures.checks import is_isolated, require_distinct, require_one_unit
from mlffjax.structures.datasets import isolated_energies
from mlffjax.structures.system import Frame


def merge(sets: Sequence[Sequence[Frame]], *, compare: bool = True) -> tuple[Frame, ...]:
    """All frames, set by set; of each isolated atom the first.

    Args:
        sets: frames, file by file.
        compare: whether energies of every set are compared with those of the sets before it; needed
            unless it is known that one method made all. Sets of very different structures, such as
            dimers and crystals, differ in energy without any fault.

    Raises:
        InputError: a structure occurs twice, or units differ at equal composition.
        CompatibilityError: isolated atoms or energies tell that the reference methods differ.
    """
    frames = [frame for members in sets for frame in members]
    isolated_energies(frames)  # refuses contradictions
    require_one_unit(frame for frame in frames if not is_isolated(frame))
    if compare:
        for index in range(1, len(sets)):
            _require_one_reference([f for members in sets[:index] for f in members], sets[index])
    require_distinct(frame for frame in frames if not is_isolated(frame))
    return tuple(_once(frames))


def _require_one_reference(before: Sequence[Frame], frames: Sequence[Frame]) -> None:
    if not (_has_energies(before) and _has_energies(frames)):
        return
    found = comparison.problems(comparison.compare(before, frames))
    if found:
        raise CompatibilityError(
            f"{frames[0].source}: expected the reference method of the sets before, from "
            f"{before[0].source} on, but {'; '.join(found)}; merge only what one method labelled"
        )


def _has_energies(frames: Sequence[Frame]) -> bool:
    return any(frame.energy is not None and not is_isolated(frame) for frame in frames)


def _once(frames: Sequence[Frame]) -> list[Frame]:
    """The frames without the second and later energies of an isolated atom."""
    seen: set[int] = set()
    kept = []
    for frame in frames:
        if is_isolated(frame):
            number = int(frame.system.numbers[0])
            if number in seen:
                continue
            seen.add(number)
        kept.append(frame)
    return kept
