"""Sums over a batch whose rows may be spread over devices.

The step and the losses are written once. Outside of a spread step, or on one device, these
functions return what they are given; inside, counts are summed over all devices before anything is
divided by them, and each device adds its part to the loss and to the gradient.
"""

import jax

from mlffjax.arrays import Array, Float, Int, PyTree

AXIS = "rows"
"""Name of the axis of devices that share a batch."""


def total(tree: PyTree) -> PyTree:
    """Sums over all devices that share the batch."""
    return tree if _devices() is None else jax.lax.psum(tree, AXIS)


def share(value: Float[Array, ""]) -> Float[Array, ""]:
    """The part of a term that does not depend on the rows, so that the parts add up to it."""
    count = _devices()
    return value if count is None else value / count


def number() -> Int[Array, ""] | int:
    """Number of the device at work among those that share the batch."""
    return 0 if _devices() is None else jax.lax.axis_index(AXIS)


def _devices() -> int | None:
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # this is how jax says that there is no such axis
        return None
