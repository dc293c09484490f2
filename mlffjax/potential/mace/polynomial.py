"""Sparse polynomials of array columns as a JAX primitive, closed under differentiation.

``out[:, o, :] = sum_terms coefficient * product_f operand_f[:, column_f, :]``, elementwise over
rows and channels. XLA compiles the unrolled expression well; reverse-mode differentiation of it is
what costs (every slice becomes a padded add). Here the derivative of a polynomial is another sparse
polynomial, written down from the list of terms, so forward, reverse and mixed derivatives of any
order and ``vmap`` are all as fast as the value.
"""

import functools
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from mlffjax.arrays import Array, Float

Factor = tuple[int, int]  # operand, column


class Term(NamedTuple):
    """One product: which output it adds to, its coefficient, and its factors."""

    output: int
    coefficient: float
    factors: tuple[Factor, ...]


class SparsePolynomial:
    """A multivariate polynomial with literal coefficients; hashed by identity, so build it once.

    Args:
        terms: the products; factors of equal operand and column may repeat.
        outputs: number of output columns.
        columns: number of columns of each operand.
    """

    def __init__(self, terms: Iterable[Term], outputs: int, columns: tuple[int, ...]) -> None:
        self.terms = tuple(terms)
        self.outputs = outputs
        self.columns = columns
        self._directional: dict[int, SparsePolynomial] = {}

    def __call__(
        self, *operands: Float[Array, "rows _ channels"]
    ) -> Float[Array, "rows outputs channels"]:
        """Evaluate; one operand [rows, columns, channels] per entry of ``columns``."""
        return _polynomial.bind(*operands, polynomial=self)

    def directional(self, operand: int) -> "SparsePolynomial":
        """Derivative along a tangent of one operand; the tangent is the new, last operand."""
        if operand not in self._directional:
            tangent = len(self.columns)
            terms = [
                Term(
                    t.output,
                    t.coefficient,
                    t.factors[:k] + t.factors[k + 1 :] + ((tangent, column),),
                )
                for t in self.terms
                for k, (owner, column) in enumerate(t.factors)
                if owner == operand
            ]
            columns = (*self.columns, self.columns[operand])
            self._directional[operand] = SparsePolynomial(terms, self.outputs, columns)
        return self._directional[operand]

    @functools.cached_property
    def transposed(self) -> "SparsePolynomial":
        """The polynomial, linear in its last operand, with that operand and the output swapped."""
        last = len(self.columns) - 1
        terms = []
        for term in self.terms:
            (column,) = [c for owner, c in term.factors if owner == last]
            rest = tuple(f for f in term.factors if f[0] != last)
            terms.append(Term(column, term.coefficient, (*rest, (last, term.output))))
        return SparsePolynomial(terms, self.columns[-1], (*self.columns[:-1], self.outputs))

    def evaluate(self, *operands: Array) -> Array:
        """The unrolled expression: shared products are formed once, common factors drawn out."""
        columns = [[x[:, i] for i in range(x.shape[1])] for x in operands]

        @functools.cache
        def product(factors: tuple[Factor, ...]) -> Array:
            operand, column = factors[-1]
            value = columns[operand][column]
            return product(factors[:-1]) * value if len(factors) > 1 else value

        zero = jnp.zeros_like(columns[0][0])
        grouped = _grouped(self.terms)
        return jnp.stack(
            [
                _sum_of_groups(grouped[o], product) if o in grouped else zero
                for o in range(self.outputs)
            ],
            axis=1,
        )


def _grouped(terms: Iterable[Term]) -> dict[int, Any]:
    """Nested: output, factors of other operands, last own factor, the other own factors."""
    grouped: Any = defaultdict(lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(float))))
    for term in terms:
        own = tuple(sorted(f for f in term.factors if f[0] == 0))
        others = tuple(sorted(f for f in term.factors if f[0] != 0))
        *first, last = own if len(own) > 2 else (*own, None)
        grouped[term.output][others][last][tuple(first)] += term.coefficient
    return grouped


def _sum_of_groups(groups: Any, product: Callable[[tuple[Factor, ...]], Array]) -> Array:
    """The terms of one output with common factors drawn out."""

    def add(parts: Iterable[Any]) -> Any:
        return functools.reduce(operator.add, parts)

    def scaled(value: Any, factors: tuple[Factor, ...]) -> Any:
        return value * product(factors) if factors else value

    return add(
        scaled(
            add(
                scaled(
                    add(scaled(number, factors) for factors, number in numbers.items()),
                    () if last is None else (last,),
                )
                for last, numbers in by_last.items()
            ),
            others,
        )
        for others, by_last in groups.items()
    )


_polynomial = Primitive("sparse_polynomial")


def _evaluate(*operands, polynomial):
    return polynomial.evaluate(*operands)


def _abstract(*operands, polynomial):
    rows, _, channels = operands[0].shape
    return ShapedArray((rows, polynomial.outputs, channels), jnp.result_type(*operands))


def _jvp(primals, tangents, *, polynomial):
    out = _polynomial.bind(*primals, polynomial=polynomial)
    parts = [
        _polynomial.bind(*primals, tangent, polynomial=polynomial.directional(operand))
        for operand, tangent in enumerate(tangents)
        if type(tangent) is not ad.Zero
    ]
    if not parts:
        return out, ad.Zero(jax.typeof(out).to_tangent_aval())
    return out, sum(parts[1:], parts[0])


def _transpose(cotangent, *operands, polynomial):
    linear = operands[-1]
    if not ad.is_undefined_primal(linear) or any(map(ad.is_undefined_primal, operands[:-1])):
        raise NotImplementedError("a sparse polynomial is transposed in its last operand only")
    nothing = [None] * (len(operands) - 1)
    if type(cotangent) is ad.Zero:
        return [*nothing, ad.Zero(linear.aval)]
    return [*nothing, _polynomial.bind(*operands[:-1], cotangent, polynomial=polynomial.transposed)]


def _batch(operands, axes, *, polynomial):
    size = next(x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None)
    flat = []
    for operand, axis in zip(operands, axes, strict=True):
        if axis is None:
            operand = jnp.broadcast_to(operand, (size, *operand.shape))
        else:
            operand = jnp.moveaxis(operand, axis, 0)
        flat.append(operand.reshape((-1, *operand.shape[2:])))
    out = _polynomial.bind(*flat, polynomial=polynomial)
    return out.reshape((size, -1, *out.shape[1:])), 0


_polynomial.def_impl(jax.jit(_evaluate, static_argnames="polynomial"))
_polynomial.def_abstract_eval(_abstract)
mlir.register_lowering(_polynomial, mlir.lower_fun(_evaluate, multiple_results=False))
ad.primitive_jvps[_polynomial] = _jvp
ad.primitive_transposes[_polynomial] = _transpose
batching.primitive_batchers[_polynomial] = _batch
