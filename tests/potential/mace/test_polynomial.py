import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.potential.mace.polynomial import SparsePolynomial, Term

# out_0 = 2 x0 x1 x2 w0 - x0^2 w1 ; out_1 = 3 x2 w1 + x1^3 w0 ; out_2 = 0
TERMS = [
    Term(0, 2.0, ((0, 0), (0, 1), (0, 2), (1, 0))),
    Term(0, -1.0, ((0, 0), (0, 0), (1, 1))),
    Term(1, 3.0, ((0, 2), (1, 1))),
    Term(1, 1.0, ((0, 1), (0, 1), (0, 1), (1, 0))),
]


@pytest.fixture
def polynomial():
    return SparsePolynomial(TERMS, 3, (3, 2))


@pytest.fixture
def operands(rng):
    return rng.normal(size=(5, 3, 4)), rng.normal(size=(5, 2, 4))


def plain(x, w):
    return jnp.stack(
        [
            2 * x[:, 0] * x[:, 1] * x[:, 2] * w[:, 0] - x[:, 0] ** 2 * w[:, 1],
            3 * x[:, 2] * w[:, 1] + x[:, 1] ** 3 * w[:, 0],
            jnp.zeros_like(x[:, 0]),
        ],
        axis=1,
    )


def test_the_value_is_the_written_polynomial(polynomial, operands):
    np.testing.assert_allclose(polynomial(*operands), plain(*operands), rtol=1e-13)


@pytest.mark.parametrize(
    "transform",
    [
        lambda f: jax.grad(lambda x, w: jnp.sin(f(x, w)).sum(), argnums=(0, 1)),
        lambda f: jax.jacfwd(f, argnums=0),
        # reverse over reverse and forward over reverse, as force training and Hessians need them
        lambda f: jax.grad(
            lambda x, w: (jax.grad(lambda y: jnp.sin(f(y, w)).sum())(x) ** 2).sum(), argnums=(0, 1)
        ),
        lambda f: lambda x, w: jax.jvp(jax.grad(lambda y: jnp.sin(f(y, w)).sum()), (x,), (x + 1,)),
        lambda f: jax.vmap(jax.grad(lambda x, w: f(x[None], w[None]).sum()), (0, 0)),
        lambda f: lambda x, w: jax.vmap(f, (0, None))(jnp.stack([x, 2 * x]), w),
    ],
    ids=["reverse", "forward", "reverse-reverse", "forward-reverse", "vmap-grad", "vmap"],
)
def test_derivatives_and_batches_equal_those_of_plain_code(polynomial, operands, transform):
    ours, expected = transform(polynomial)(*operands), transform(plain)(*operands)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
