"""How far a foundation is off on labelled frames, to select those it has most to learn from."""

from collections.abc import Sequence

import numpy as np

from mlffjax import trees
from mlffjax.potential.base import Potential
from mlffjax.structures.system import Frame
from mlffjax.training.batches import Sample, collect, plan
from mlffjax.training.metrics import predict


def force_disagreement(
    potential: Potential, frames: Sequence[Frame], *, batch: int = 4, buckets: int = 3
) -> tuple[float, ...]:
    """Length of the largest force error on an atom of each frame, eV/Å, in single precision.

    Energies play no part, so reference methods with other energy zeros compare all the same.

    Args:
        potential: what is to be trained further.
        frames: with forces.
        batch: structures per evaluation.
        buckets: most array shapes.
    """
    systems = [frame.system for frame in frames]
    members = [Sample(system, None, np.zeros_like(system.positions), None) for system in systems]
    shapes = plan(systems, potential.cutoff, most=buckets)
    data = collect(members, potential.elements, potential.cutoff, shapes)
    predictions = predict(trees.cast(potential, np.float32), data, batch=batch)
    pairs = zip(predictions.forces, frames, strict=True)
    return tuple(float(np.linalg.norm(own - f.forces, axis=1).max()) for own, f in pairs)
