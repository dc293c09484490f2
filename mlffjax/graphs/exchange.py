"""Moving node data along edges without scatter.

In a complete edge list the edges that leave atom ``j`` are the mirror images of those that enter
it. Gathering sender rows and its transpose, summing edge rows into their senders, are therefore
both gathers::

    gather_senders(x)[i, s]  = mask[i, s] * x[neighbors[i, s]]
    collect_senders(y)[j]    = sum_s mask[j, s] * y.flat[reverse[j, s]]

XLA cannot know this: it would transpose the first into a scatter-add, which is serial on CPUs and
not deterministic on GPUs. The pair is one JAX primitive whose derivative rules name the other
half, so any order of differentiation and ``vmap`` stay scatter-free.
"""

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from mlffjax.arrays import Array, Bool, Float, Int

_exchange = Primitive("neighbor_exchange")


def gather_senders(
    nodes: Float[Array, "atoms *rest"],
    neighbors: Int[Array, "atoms slots"],
    reverse: Int[Array, "atoms slots"],
    mask: Bool[Array, "atoms slots"],
) -> Float[Array, "atoms slots *rest"]:
    """Rows of the senders, one per edge slot; zero for masked slots. Linear in ``nodes``."""
    return _exchange.bind(nodes, neighbors, reverse, mask, collect=False)


@jax.custom_jvp
def gather_senders_tilted(
    nodes: Float[Array, "atoms *rest"],
    neighbors: Int[Array, "atoms slots"],
    reverse: Int[Array, "atoms slots"],
    mask: Bool[Array, "atoms slots"],
    tilt: Float[Array, "atoms slots"],
) -> Float[Array, "atoms slots *rest"]:
    """``gather_senders`` whose derivative along each edge is multiplied by ``exp(tilt)``.

    Derivatives by ``tilt`` itself are those of the derivative only. With ``tilt = k . r_ij`` the
    factors multiply along every path of messages to ``exp(k . (r_j - r_i))``, true distances.
    """
    return gather_senders(nodes, neighbors, reverse, mask)


@gather_senders_tilted.defjvp
def _tilted_jvp(primals, tangents):
    nodes, *lists, tilt = primals
    factor = jnp.exp(tilt).reshape(tilt.shape + (1,) * (nodes.ndim - 1))
    return gather_senders(nodes, *lists), factor * gather_senders(tangents[0], *lists)


def collect_senders(
    edges: Float[Array, "atoms slots *rest"],
    neighbors: Int[Array, "atoms slots"],
    reverse: Int[Array, "atoms slots"],
    mask: Bool[Array, "atoms slots"],
) -> Float[Array, "atoms *rest"]:
    """Sum of edge rows over the edges that leave each atom. Linear in ``edges``."""
    return _exchange.bind(edges, neighbors, reverse, mask, collect=True)


def _evaluate(values, neighbors, reverse, mask, *, collect):
    if collect:
        rows = values.reshape((-1, *values.shape[2:]))[reverse]
    else:
        rows = values[neighbors]
    rows = jnp.where(mask.reshape(mask.shape + (1,) * (rows.ndim - 2)), rows, 0)
    return rows.sum(axis=1) if collect else rows


def _abstract(values, neighbors, reverse, mask, *, collect):
    rest = values.shape[2:] if collect else values.shape[1:]
    return ShapedArray((neighbors.shape[:1] if collect else neighbors.shape) + rest, values.dtype)


def _jvp(primals, tangents, *, collect):
    out = _exchange.bind(*primals, collect=collect)
    tangent = tangents[0]
    if type(tangent) is ad.Zero:
        return out, ad.Zero(jax.typeof(out).to_tangent_aval())
    return out, _exchange.bind(tangent, *primals[1:], collect=collect)


def _transpose(cotangent, values, neighbors, reverse, mask, *, collect):
    if type(cotangent) is ad.Zero:
        return [ad.Zero(values.aval), None, None, None]
    return [_exchange.bind(cotangent, neighbors, reverse, mask, collect=not collect)] + [None] * 3


def _batch(arguments, axes, *, collect):
    values, *lists = arguments
    if all(axis is None for axis in axes[1:]):
        # One graph, many sets of values: the mapped axis travels as trailing data.
        values = jnp.moveaxis(values, axes[0], -1)
        out = _exchange.bind(values, *lists, collect=collect)
        return out, out.ndim - 1
    size = next(a.shape[x] for a, x in zip(arguments, axes, strict=True) if x is not None)

    def leading(array, axis):
        if axis is None:
            return jnp.broadcast_to(array, (size, *array.shape))
        return jnp.moveaxis(array, axis, 0)

    values, neighbors, reverse, mask = (leading(a, x) for a, x in zip(arguments, axes, strict=True))
    atoms, slots = mask.shape[1:]
    # Many graphs become one flattened graph: indices are offset by the atoms that come before.
    before = jnp.arange(size, dtype=neighbors.dtype)[:, None, None] * atoms
    flat = [
        x.reshape((size * atoms, *x.shape[2:]))
        for x in (values, neighbors + before, reverse + before * slots, mask)
    ]
    out = _exchange.bind(*flat, collect=collect)
    return out.reshape((size, atoms, *out.shape[1:])), 0


_exchange.def_impl(jax.jit(_evaluate, static_argnames="collect"))
_exchange.def_abstract_eval(_abstract)
mlir.register_lowering(_exchange, mlir.lower_fun(_evaluate, multiple_results=False))
ad.primitive_jvps[_exchange] = _jvp
ad.primitive_transposes[_exchange] = _transpose
batching.primitive_batchers[_exchange] = _batch
