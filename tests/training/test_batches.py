import jax
import numpy as np
import pytest

from mlffjax.errors import CapacityError, TrainingError
from mlffjax.graphs.batching import Shape, build, shape_of
from mlffjax.training import batches
from mlffjax.training.batches import EMPTY, collect, gather, in_order, plan, samples, shuffled


@pytest.fixture(scope="module")
def systems(frames):
    return [frame.system for frame in frames]


@pytest.fixture(scope="module")
def members(frames, truth):
    return samples(frames, truth)


@pytest.fixture(scope="module")
def buckets(members, systems, truth):
    shapes = plan(systems, truth.cutoff, most=3)
    return collect(members, truth.elements, truth.cutoff, shapes, dtype=np.float64)


def test_targets_are_interaction_energies_in_double_precision(frames, truth):
    far = truth.replace(params={**truth.params, "constants": {"atomic_energies": np.array([-1e5])}})
    for frame, sample in zip(frames, samples(frames, far), strict=True):
        assert sample.energy == frame.energy + 1e5 * len(frame.system.numbers)


def test_missing_forces_are_refused_by_name(frames, truth):
    with pytest.raises(TrainingError, match=r"made\.xyz frame 2: expected forces"):
        samples([*frames[:2], frames[2]._replace(forces=None)], truth)


def test_two_sizes_get_two_shapes(systems, truth):
    small, large = plan(systems, truth.cutoff, most=3)
    assert (small.atoms, large.atoms) == (4, 8)
    assert plan(systems, truth.cutoff, most=1) == (Shape(8, max(small.slots, large.slots), 1),)


def test_plan_is_the_cheapest_partition():
    """Dynamic programming against all ways to cut seven sizes into three ranges."""
    counts, sizes = np.array([3, 1, 4, 1, 5, 9, 2]), np.array([2, 3, 9, 10, 40, 60, 300])

    def bucket(first, last):
        work = float(counts[first : last + 1].sum() * sizes[last])
        return work, (Shape(first, last, 1),)

    every = [
        bucket(0, a - 1)[0] + bucket(a, b - 1)[0] + bucket(b, 6)[0]
        for a in range(1, 6)
        for b in range(a + 1, 7)
    ]
    chosen = batches._partition(bucket, 7, 3)
    assert sum(bucket(shape.atoms, shape.slots)[0] for shape in chosen) == min(every)


def test_a_bucket_that_saves_little_is_not_worth_a_compilation():
    def buckets_if_one_costs(work):
        def bucket(first, last):
            return 1.0 if first == last else work, (Shape(first, last, 1),)

        return len(batches._partition(bucket, 2, 2))

    assert buckets_if_one_costs(2.1) == 1  # two of work 1 would save 5 %
    assert buckets_if_one_costs(2.5) == 2  # 20 %


def test_a_structure_that_fits_nowhere_is_refused(members, truth):
    with pytest.raises(CapacityError, match="structure 6 needs 8 atoms"):
        collect(members, truth.elements, truth.cutoff, [Shape(4, 64, 1)])


def test_gathered_batches_equal_graphs_built_together(buckets, members, systems, truth, predicted):
    rows = np.array([3, 0, 4], np.int32)
    batch = gather(buckets[0].rows, rows)
    chosen = [buckets[0].index[row] for row in rows]
    together = build(
        [systems[i] for i in chosen],
        truth.elements,
        truth.cutoff,
        shape=shape_of(batch.graph),
        dtype=np.float64,
    )
    ours, theirs = predicted(truth, batch.graph), predicted(truth, together)
    # Same numbers summed in another order of slots: rounding of float64.
    np.testing.assert_allclose(ours.energy, theirs.energy, rtol=1e-12)
    np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-13)
    np.testing.assert_allclose(ours.stress, theirs.stress, atol=1e-14)
    np.testing.assert_allclose(batch.energy, [members[i].energy for i in chosen], rtol=1e-15)
    np.testing.assert_array_equal(batch.forces, np.concatenate([members[i].forces for i in chosen]))


def test_mirrored_edges_stay_mirrored(buckets):
    graph = gather(buckets[1].rows, np.array([1, EMPTY, 2, 0], np.int32)).graph
    atoms, slots = graph.neighbors.shape
    mask, reverse = np.asarray(graph.edge_mask).ravel(), np.asarray(graph.reverse).ravel()
    receivers = np.repeat(np.arange(atoms), slots)
    senders = np.asarray(graph.neighbors).ravel()
    np.testing.assert_array_equal(reverse[reverse], np.arange(atoms * slots))
    np.testing.assert_array_equal(senders[mask], receivers[reverse[mask]])
    np.testing.assert_array_equal(graph.atom_graph, np.repeat(np.arange(4), 8))


def test_empty_places_are_silent(buckets, truth, predicted):
    full = gather(buckets[0].rows, np.array([2, 5, 1], np.int32))
    padded = gather(buckets[0].rows, np.array([2, 5, EMPTY], np.int32))
    assert padded.graph.graph_mask.tolist() == [True, True, False]
    assert not padded.has_energy[2:].any()
    assert not padded.has_stress[2:].any()
    assert not padded.weight[2:].any()
    assert not padded.graph.edge_mask[8:].any()
    ours, theirs = predicted(truth, padded.graph), predicted(truth, full.graph)
    np.testing.assert_allclose(ours.energy, [*theirs.energy[:2], 0], rtol=1e-12)
    np.testing.assert_allclose(ours.forces[:8], theirs.forces[:8], atol=1e-13)
    assert not ours.forces[8:].any()
    assert not ours.stress[2:].any()


@pytest.mark.parametrize("batch", [1, 2, 4, 16])
def test_an_epoch_visits_every_sample_once(buckets, batch):
    for draws in (shuffled(buckets, batch, seed=3, epoch=7), in_order(buckets, batch)):
        visited = [
            int(buckets[draw.bucket].index[row])
            for draw in draws
            for row in draw.rows
            if row != EMPTY
        ]
        assert sorted(visited) == list(range(11))
        assert all(draw.rows.shape == (batch,) for draw in draws)


def test_company_changes_with_seed_and_epoch_and_nothing_else(buckets):
    def company(seed, epoch):
        draws = shuffled(buckets, 2, seed=seed, epoch=epoch)
        return [(draw.bucket, *draw.rows.tolist()) for draw in draws]

    assert company(0, 1) == company(0, 1)
    assert len({tuple(company(s, e)) for s in range(3) for e in range(3)}) == 9


def test_rows_lie_on_the_device(buckets):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves([b.rows for b in buckets]))
