"""Energies on images as they are: many bands with many potentials, in one compiled call a shape.

Bands of one number of images and about one number of atoms share a shape; smaller ones are padded.
Lists are made once for each band, whatever the number of potentials. On a CPU pairs are evaluated
in turn, on an accelerator as many at once as fill it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64

from mlffjax import trees
from mlffjax.arrays import Array, Float, Int
from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import Shape, build, common_shape, shape_of
from mlffjax.graphs.graph import Graph
from mlffjax.pathways import bands
from mlffjax.pathways.bands import Band
from mlffjax.pathways.mapping import alike, lanes
from mlffjax.pathways.profiles import profile
from mlffjax.potential.base import Potential


def heights(
    potentials: Sequence[Potential], pairs: Sequence[tuple[Band, int]]
) -> list[Float64[np.ndarray, " images"]]:
    """Energies of the images above the first, eV; nothing is relaxed.

    Args:
        potentials: of one model; evaluated in float64.
        pairs: a band and the index of the potential that it is evaluated with.

    Returns:
        Of every pair.

    Raises:
        ConfigError: JAX is not set to 64 bits; barriers are small differences of large numbers.
        CompatibilityError: potentials of different models, or an element that is not known.
    """
    if not pairs:
        return []
    if jax.dtypes.canonicalize_dtype(np.float64) != np.float64:
        raise ConfigError(
            "barriers need JAX's 64-bit numbers, which are off; call "
            "jax.config.update('jax_enable_x64', True) before anything else or set JAX_ENABLE_X64=1"
        )
    stack = jax.device_put(trees.cast(trees.stack(list(potentials)), np.float64))
    found: dict[int, np.ndarray] = {}
    for count in sorted({len(band.positions) for band, _ in pairs}):
        members = [n for n, (band, _) in enumerate(pairs) if len(band.positions) == count]
        for group in alike([len(pairs[n][0].numbers) for n in members]):
            chosen = [members[n] for n in group]
            energies = _evaluated(stack, [pairs[n] for n in chosen])
            found |= dict(zip(chosen, energies - energies[:, :1], strict=True))
    return [found[n] for n in range(len(pairs))]


def _evaluated(stack: Potential, pairs: Sequence[tuple[Band, int]]) -> np.ndarray:
    """Energies of pairs of one shape, eV [pairs, images]."""
    different = {id(band): band for band, _ in pairs}
    place = {key: index for index, key in enumerate(different)}
    graphs = _graphs(list(different.values()), stack)
    which = np.array([which for _, which in pairs])
    where = np.array([place[id(band)] for band, _ in pairs])
    return np.asarray(_energies(stack, graphs, which, where))


def _graphs(different: Sequence[Band], potential: Potential) -> Graph:
    """One graph per image with leading axes [bands, images]."""
    elements, cutoff = potential.elements, potential.cutoff
    images = [system for band in different for system in bands.systems(band)]
    own = [build([system], elements, cutoff, dtype=np.float64) for system in images]
    shape: Shape = common_shape([shape_of(graph) for graph in own])
    full = [
        graph
        if shape_of(graph) == shape
        else build([system], elements, cutoff, shape=shape, dtype=np.float64)
        for graph, system in zip(own, images, strict=True)
    ]
    count = len(images) // len(different)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, count, *leaf.shape[1:]), trees.stack(full))


@jax.jit
def _energies(
    stack: Potential,
    graphs: Graph,
    which: Int[Array, "pairs"],
    where: Int[Array, "pairs"],
) -> Float[Array, "pairs images"]:
    def one(pair: tuple[Array, Array]) -> Array:
        potential = jax.tree.map(lambda leaf: leaf[pair[0]], stack)
        return profile(potential, jax.tree.map(lambda leaf: leaf[pair[1]], graphs)).energy

    images = graphs.positions.shape[1]
    width = max(lanes(len(which) * images) // images, 1)
    return jax.lax.map(one, (jnp.asarray(which), jnp.asarray(where)), batch_size=width)
