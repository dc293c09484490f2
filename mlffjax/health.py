"""Start-up self-test: refuse a jax that computes wrong numbers.

jax 0.10.2 and 0.11.1 miscompile a mapped matrix-vector product followed by a reduction on the
CPU, and say nothing (https://github.com/jax-ml/jax/issues/39103). Distances in a triclinic cell
are exactly that operation. Version numbers alone do not protect: the test runs the operation and
compares it with NumPy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.errors import HealthError

# The fault appears above 16384 rows in float64 and 32768 in float32.
_ROWS = 40_000


@functools.cache
def require_sound_jax() -> None:
    """Compile the known reproducer once per process and compare the result with NumPy.

    Raises:
        HealthError: the compiled result is wrong; the message names versions and the remedy.
    """
    for dtype in (np.float32, np.float64):  # without x64 the second repeats the first
        if wrong := count_wrong(dtype):
            raise HealthError(
                f"jax {jax.__version__} computes wrong numbers on {jax.default_backend()}: {wrong} "
                f"of {_ROWS} squared lengths differ from NumPy in {np.dtype(dtype).name} "
                "(jax-ml/jax#39103). Install a sound version: "
                "pip install 'jax>=0.10.0,!=0.10.2,!=0.11.1'"
            )


def count_wrong(dtype: type[np.floating]) -> int:
    """Number of rows for which compiled jax disagrees with NumPy on squared lengths."""
    # Small integers and powers of two: exact in both precisions, and in the bfloat16 that matrix
    # units of accelerators default to, so any difference is a fault.
    index = np.arange(_ROWS, dtype=dtype)
    rows = np.stack([index % 128, index % 7, index % 3], axis=1)
    matrix = np.array([[1.0, -0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 2.0]], dtype)
    expected = ((rows @ matrix.T) ** 2).sum(axis=1)
    return int(np.sum(np.asarray(squared_lengths(matrix, rows)) != expected))


@jax.jit
def squared_lengths(matrix: jax.Array, rows: jax.Array) -> jax.Array:
    """Squared length of ``matrix @ row`` for each row; the operation that was miscompiled."""
    return jax.vmap(lambda row: jnp.sum((matrix @ row) ** 2))(rows)


def devices() -> str:
    """The devices jax computes on, and its precision, for people to read."""
    found = ", ".join(
        f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices()
    )
    return f"{found} ({jnp.zeros(()).dtype.name} by default)"
