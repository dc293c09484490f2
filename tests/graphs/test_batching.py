import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from mlffjax.errors import CapacityError, CompatibilityError
from mlffjax.graphs.batching import Shape, build, common_shape, shape_of, species_of
from mlffjax.graphs.graph import edge_vectors
from mlffjax.structures.system import from_ase


def systems():
    crystal = bulk("Cr", "bcc", a=2.9)
    pair = Atoms("TeSb", positions=[[0, 0, 0], [0, 0, 2.5]])
    return [from_ase(crystal), from_ase(pair)]


def test_structures_keep_their_edges_when_flattened():
    graph = build(systems(), (24, 51, 52), 4.0, dtype=np.float64)
    vectors = np.asarray(edge_vectors(graph, outside=99.0))
    lengths = np.linalg.norm(vectors, axis=-1)
    assert list(graph.atom_graph) == [0, 1, 1]
    assert list(graph.species) == [0, 2, 1]
    # bcc: 8 neighbours at sqrt(3)/2 a and 6 at a within 4 Å.
    np.testing.assert_allclose(
        np.sort(lengths[0])[:14], [2.9 * 0.75**0.5] * 8 + [2.9] * 6, rtol=1e-12
    )
    np.testing.assert_allclose(vectors[1][graph.edge_mask[1]], [[0, 0, 2.5]])
    np.testing.assert_allclose(vectors[2][graph.edge_mask[2]], [[0, 0, -2.5]])
    assert (lengths[~graph.edge_mask] == 99.0).all()


def test_padding_is_marked_and_points_to_itself():
    graph = build(systems(), (24, 51, 52), 4.0, shape=Shape(6, 20, 4))
    assert shape_of(graph) == Shape(6, 20, 4)
    assert graph.atom_mask.sum() == 3
    assert graph.graph_mask.sum() == 2
    padded = ~graph.edge_mask
    own = np.broadcast_to(np.arange(6)[:, None], padded.shape)
    assert (graph.neighbors[padded] == own[padded]).all()
    assert common_shape([Shape(1, 8, 2), Shape(5, 4, 1)]) == Shape(5, 8, 2)


@pytest.mark.parametrize("small", [Shape(2, 16, 2), Shape(3, 12, 2), Shape(3, 16, 1)])
def test_what_does_not_fit_is_refused(small):
    with pytest.raises(CapacityError, match="do not fit"):
        build(systems(), (24, 51, 52), 4.0, shape=small)


def test_unknown_elements_are_named():
    with pytest.raises(
        CompatibilityError, match="contains Sb, Te, but the potential knows only Cr"
    ):
        build(systems(), (24,), 4.0)
    np.testing.assert_array_equal(species_of(systems()[1], (51, 52)), [1, 0])
