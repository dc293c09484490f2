import jax
import numpy as np
import pytest
from probes.tiny_generalist import ELEMENTS, tiny

from mlffjax.graphs.batching import build, common_shape, shape_of
from mlffjax.potential import derivatives
from mlffjax.probes import _packed
from mlffjax.structures import dimers
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import System


@pytest.fixture(scope="module")
def systems():
    from mlffjax.structures import bundled

    crystal = read_frames(bundled.root() / "strain.xyz")[0].system
    big = crystal._replace(
        positions=np.concatenate([crystal.positions + k * crystal.cell[2] for k in range(3)]),
        numbers=np.tile(crystal.numbers, 3),
        cell=crystal.cell * np.array([[1.0], [1.0], [3.0]]),
    )
    return [dimers.curve((24, 52))[9], crystal, big, dimers.curve((51, 52))[3], crystal]


def test_packed_structures_equal_single_ones(systems):
    """Small, large, periodic and not, in one shape."""
    potential, cutoff = tiny(), tiny().cutoff
    packed = _packed.pack(systems, ELEMENTS, cutoff)
    found = jax.jit(_packed.evaluated)(potential, packed)
    single = jax.jit(derivatives.predict)
    sizes = [shape_of(build([system], ELEMENTS, cutoff)) for system in systems]
    first = 0
    for index, system in enumerate(systems):
        shape = common_shape(sizes)
        one = single(potential, build([system], ELEMENTS, cutoff, shape=shape, dtype=np.float64))
        last = first + len(system.numbers)
        # Sums over other numbers of padded slots; float64.
        np.testing.assert_allclose(found.energy[index], one.energy[0], rtol=1e-11, atol=1e-11)
        forces = one.forces[: last - first]
        np.testing.assert_allclose(found.forces[first:last], forces, atol=1e-11)
        np.testing.assert_allclose(found.stress[index], one.stress[0], atol=1e-12)
        first = last
    assert len(found.forces) == first


def test_graphs_hold_several_small_structures():
    small: list[System] = dimers.curve((51, 52))
    packed = _packed.pack(small, ELEMENTS, 4.0)
    assert packed.graphs.species.shape == (-(-2 * len(small) // _packed.ATOMS), _packed.ATOMS)
    assert sorted(packed.atom_rows.tolist()) == sorted(set(packed.atom_rows.tolist()))
