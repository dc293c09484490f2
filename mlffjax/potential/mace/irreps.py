"""Bookkeeping of irreducible representations: layouts, coupling paths, coupling coefficients."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import e3nn_jax as e3nn
import jax
import numpy as np


class Irrep(NamedTuple):
    """Degree and parity; sorts by degree, then odd before even, as mace-torch orders its blocks."""

    l: int  # noqa: E741  (the letter of the field)
    p: int

    @property
    def dim(self) -> int:
        """Number of components, 2 l + 1."""
        return 2 * self.l + 1

    def __str__(self) -> str:
        return f"{self.l}{'e' if self.p == 1 else 'o'}"


@dataclass(frozen=True)
class Layout:
    """Order of the irreps along the component axis of features [..., components, channels]."""

    irreps: tuple[Irrep, ...]

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Layout of an e3nn string; multiplicities are ignored."""
        return cls(tuple(Irrep(ir.l, ir.p) for _, ir in e3nn.Irreps(text)))

    @classmethod
    def harmonics(
        cls, max_ell: int, *, both_parities: bool = False, even: bool = False
    ) -> "Layout":
        """Spherical harmonics up to ``max_ell``, or every irrep up to it with both parities.

        ``even`` counts all of them as even, which gives up mirror symmetry.
        """
        natural = [Irrep(degree, 1 if even else (-1) ** degree) for degree in range(max_ell + 1)]
        mirrored = [Irrep(ir.l, -ir.p) for ir in natural] if both_parities else []
        return cls(tuple(sorted(natural + mirrored)))

    def __iter__(self) -> Iterator[Irrep]:
        return iter(self.irreps)

    def __len__(self) -> int:
        return len(self.irreps)

    @property
    def dim(self) -> int:
        """Number of components of all irreps together."""
        return sum(ir.dim for ir in self.irreps)

    @functools.cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each irrep's components lie."""
        ends = np.cumsum([ir.dim for ir in self.irreps]).tolist()
        return tuple(slice(end - ir.dim, end) for end, ir in zip(ends, self.irreps, strict=True))


class Path(NamedTuple):
    """One way to couple a sender feature with a spherical harmonic; indices into the layouts."""

    sender: int
    edge: int
    target: int


@functools.cache
def coupling_paths(sender: Layout, edge: Layout, target: Layout) -> tuple[Path, ...]:
    """All paths into ``target``, sorted by target and then by sender and edge.

    This is the order in which mace-torch slices the radial weights and stacks the messages.
    """
    paths = [
        Path(i, j, target.irreps.index(out))
        for i, a in enumerate(sender)
        for j, b in enumerate(edge)
        for out in products(a, b)
        if out in target
    ]
    return tuple(sorted(paths, key=lambda path: path.target))


def products(a: Irrep, b: Irrep) -> list[Irrep]:
    """Irreps in the tensor product of two."""
    return [Irrep(degree, a.p * b.p) for degree in range(abs(a.l - b.l), a.l + b.l + 1)]


@functools.cache
def coupling_coefficients(a: int, b: int, c: int) -> np.ndarray:
    """Real Clebsch-Gordan coefficients [2a+1, 2b+1, 2c+1] of unit Frobenius norm, float64.

    e3nn and e3nn-jax fix the free sign of each triple independently and differ for permutations
    of (1, l, l) with l > 1. Weights trained with mace-torch mean e3nn's sign, so that is used.
    """
    with jax.ensure_compile_time_eval():
        coefficients = np.asarray(e3nn.clebsch_gordan(a, b, c), np.float64)
    coefficients = coefficients / np.linalg.norm(coefficients)
    low, middle, high = sorted((a, b, c))
    return -coefficients if low == 1 and middle == high > 1 else coefficients
