import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from mlffjax import trees
from mlffjax.graphs.batching import Shape, build
from mlffjax.graphs.exchange import collect_senders, gather_senders, gather_senders_tilted
from mlffjax.structures.system import from_ase


@pytest.fixture(scope="module")
def graph():
    atoms = bulk("Cr", "bcc", a=2.9) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    return build([from_ase(atoms)], (24,), 4.0, shape=Shape(4, 32, 1), dtype=np.float64)


def lists(graph):
    return graph.neighbors, graph.reverse, graph.edge_mask


def test_gather_and_collect_are_each_others_transpose(graph):
    rng = np.random.default_rng(0)
    nodes, edges = rng.normal(size=(4, 5)), rng.normal(size=(4, 32, 5))
    # <gather(x), y> = <x, collect(y)>; both are sums of a few hundred products of order one.
    left = (gather_senders(nodes, *lists(graph)) * edges).sum()
    right = (nodes * collect_senders(edges, *lists(graph))).sum()
    np.testing.assert_allclose(left, right, rtol=1e-13)


def test_derivatives_equal_those_of_plain_indexing(graph):
    weights = np.random.default_rng(1).normal(size=(4, 32, 3))
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 3)))

    def ours(x):
        return (jnp.sin(gather_senders(x, *lists(graph))) * weights).sum()

    def plain(x):
        rows = jnp.where(graph.edge_mask[..., None], x[graph.neighbors], 0)
        return (jnp.sin(rows) * weights).sum()

    np.testing.assert_allclose(jax.grad(ours)(x), jax.grad(plain)(x), atol=1e-13)
    np.testing.assert_allclose(jax.hessian(ours)(x), jax.hessian(plain)(x), atol=1e-13)


def test_no_scatter_in_the_compiled_gradient(graph):
    def total(x):
        return (gather_senders(x, *lists(graph)) ** 2).sum()

    text = jax.jit(jax.grad(total)).lower(jnp.ones((4, 3))).compile().as_text()
    assert " scatter(" not in text


@pytest.mark.parametrize("collect", [False, True])
def test_vmap_over_values_and_over_graphs(graph, collect):
    move = collect_senders if collect else gather_senders
    shape = (3, 4, 32, 2) if collect else (3, 4, 2)
    values = jnp.asarray(np.random.default_rng(3).normal(size=shape))
    one_by_one = jnp.stack([move(v, *lists(graph)) for v in values])
    shared = jax.vmap(lambda v: move(v, *lists(graph)))(values)
    many = trees.stack([graph] * 3)
    mapped = jax.vmap(lambda v, g: move(v, *lists(g)))(values, many)
    np.testing.assert_array_equal(shared, one_by_one)
    np.testing.assert_array_equal(mapped, one_by_one)


def test_a_tilt_weighs_derivatives_and_leaves_values(graph):
    rng = np.random.default_rng(4)
    x, v = jnp.asarray(rng.normal(size=(2, 4, 3)))
    direction = jnp.asarray(rng.normal(size=(4, 32)))
    weights = rng.normal(size=(4, 32, 3))

    def total(x, k):
        return (jnp.sin(gather_senders_tilted(x, *lists(graph), k * direction)) * weights).sum()

    def slope(k):
        return jax.jvp(lambda x: total(x, k), (x,), (v,))[1]

    rows = jnp.where(graph.edge_mask[..., None], x[graph.neighbors], 0)
    along = jnp.cos(rows) * weights * jnp.where(graph.edge_mask[..., None], v[graph.neighbors], 0)
    np.testing.assert_array_equal(
        gather_senders_tilted(x, *lists(graph), direction), gather_senders(x, *lists(graph))
    )
    np.testing.assert_allclose(slope(0.3), (along.sum(-1) * np.exp(0.3 * direction)).sum())
    np.testing.assert_allclose(jax.grad(slope)(0.0), (along.sum(-1) * direction).sum(), atol=1e-12)
