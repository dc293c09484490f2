"""Committees: potentials of one model whose differences say how sure they are.

A committee is a stack of potentials (``trees.stack``). Members that differ only by the seed of
their training, or that share a foundation, disagree less than they err: calibrate the spread
(``analysis.calibration``) before it is read as an error.

Reference: Lakshminarayanan, Pritzel, Blundell, NeurIPS 2017 (deep ensembles).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.arrays import Array, Float
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.graph import Graph, graph_sums
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.store import load

Source = str | Path | Potential
"""A potential, the directory of a saved one, or ``bundled:name``."""


class Consensus(NamedTuple):
    """What a committee says about the structures of a graph; spreads are of the population.

    Energies hold each member's own reference energies (E0) less the mean over members, so that
    members whose E0 were estimated anew differ as their total energies do.
    """

    energy: Float[Array, "graphs"]  # eV, mean
    energy_spread: Float[Array, "graphs"]  # eV
    forces: Float[Array, "atoms 3"]  # eV/Å, mean
    force_spread: Float[Array, "atoms"]  # eV/Å, sqrt(mean over members of |F_b - mean F|^2)
    energies: Float[Array, "members graphs"]  # eV; their differences between graphs are members'


def predict(committee: Potential, graph: Graph) -> Consensus:
    """Means and spreads over members, one after the other on CPUs and together on accelerators.

    Args:
        committee: a stack of potentials, as ``assemble`` makes it.
        graph: structures, without leading axes.
    """
    count = trees.length(committee.params)
    together = 1 if jax.default_backend() == "cpu" else count

    def single(params: object) -> tuple[Array, Array]:
        return energies_and_forces(Potential(params, committee.model), graph)

    energies, forces = jax.lax.map(single, committee.params, batch_size=together)
    references = jax.vmap(committee.model.reference_energies)(committee.params)
    # Only differences: E0 are some 1e4 eV with all electrons, and float32 has seven digits.
    own = (references - references.mean(axis=0))[:, graph.species]
    energies = energies + jax.vmap(lambda values: graph_sums(values, graph))(own)
    around = forces - forces.mean(axis=0)
    return Consensus(
        energy=energies.mean(axis=0),
        energy_spread=energies.std(axis=0),
        forces=forces.mean(axis=0),
        force_spread=jnp.sqrt((around**2).sum(axis=-1).mean(axis=0)),
        energies=energies,
    )


def assemble(sources: Source | Sequence[Source]) -> Potential:
    """A committee, stacked, from potentials, directories, or a stack.

    Raises:
        InputError: there are fewer than two members, or one cannot be read or holds NaN.
        CompatibilityError: members differ in model or reference method.
    """
    found = members(sources)
    if len(found) < 2:
        raise InputError(
            "expected a committee of at least two potentials, got one, which cannot disagree with "
            "itself; train with several seeds, or use last-layer rigidity (potential.rigidity)"
        )
    return trees.stack(found)


def members(source: Source | Sequence[Source]) -> list[Potential]:
    """Single potentials of one model, whatever form they came in; one is allowed.

    Raises:
        InputError: there is none, or one cannot be read or holds NaN.
        CompatibilityError: they differ in model or reference method.
    """
    sources = [source] if isinstance(source, str | Path | Potential) else list(source)
    found: list[Potential] = []
    methods: dict[tuple[str, str, str | None], str] = {}
    for each in sources:
        if not isinstance(each, Potential):
            each, card = load(each)
            methods.setdefault((card.reference, card.functional, card.dispersion), card.name)
        found.extend(_unstacked(each))
    if not found:
        raise InputError("expected at least one potential, got none")
    if any(member.model != found[0].model for member in found):
        raise CompatibilityError(
            "a committee needs potentials of one model (elements and hyper-parameters), got "
            f"{', '.join(sorted({str(member.model) for member in found}))}"
        )
    if len(methods) > 1:
        raise CompatibilityError(
            "a committee averages total energies, which needs one reference method, got "
            + "; ".join(f"{name!r}: {method}" for method, name in methods.items())
        )
    return found


def _unstacked(potential: Potential) -> list[Potential]:
    """The members of a stack, or the potential itself; told apart by the shapes of parameters."""
    expected = jax.eval_shape(lambda: potential.model.init(key=jax.random.key(0)))
    wanted = [leaf.shape for leaf in jax.tree.leaves(expected)]
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(potential.params)]
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(potential.params)):
        raise InputError("expected a potential with finite parameters, but some are NaN or inf")
    if shapes == wanted:
        return [potential]
    if [shape[1:] for shape in shapes] == wanted and len({shape[:1] for shape in shapes}) == 1:
        return trees.unstack(potential)
    raise CompatibilityError(
        "the parameters do not have the shapes of the potential's model, nor those of a stack "
        "along one leading axis (mlffjax.trees.stack)"
    )
