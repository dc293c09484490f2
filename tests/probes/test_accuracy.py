import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import accuracy

E0 = -3.5  # eV


@pytest.fixture(scope="module")
def potential():
    made = trees.cast(lennard_jones((18,), cutoff=5.5), jnp.float64)
    return made.replace(params=made.params | {"constants": {"atomic_energies": jnp.array([E0])}})


@pytest.fixture(scope="module")
def context():
    return accuracy.example()[1]


@jax.jit
def measured(measure, potential):
    return measure(potential)


def found(context, potential):
    probe = accuracy.build(accuracy.Config(), context)
    return probe, {k: np.asarray(v) for k, v in measured(probe.measure, potential).items()}


@pytest.fixture(scope="module")
def errors(context, potential):
    """Per frame: error of energy per atom, errors of force components; one structure at a time."""
    listed = []
    for frame in context.frames:
        graph = build_graph([frame.system], (18,), 5.5, dtype=np.float64)
        energy, forces = derivatives.energies_and_forces(potential, graph)
        total = float(energy[0]) + E0 * len(frame.system.numbers)
        listed.append(((total - frame.energy) / len(frame.system.numbers), forces - frame.forces))
    return listed


@pytest.mark.parametrize(
    ("suffix", "members"),
    [
        ("train_{}", (0, 1, 2)),
        ("test_{}", (4, 5)),
        ("train_{}/kind0", (0, 2)),
        ("test_{}/kind1", (5,)),
    ],
)
def test_equals_the_definition_frame_by_frame(context, potential, errors, suffix, members):
    _, metrics = found(context, potential)
    energy = np.array([errors[i][0] for i in members])
    force = np.concatenate([np.ravel(errors[i][1]) for i in members])
    expected = {
        "energy_mae": np.abs(energy).mean(),
        "energy_rmse": np.sqrt((energy**2).mean()),
        "force_mae": np.abs(force).mean(),
        "force_rmse": np.sqrt((force**2).mean()),
    }
    for name, value in expected.items():
        # Same sums in another order.
        assert metrics[suffix.format(name)] == pytest.approx(value, rel=1e-12), name


def test_groups_without_frames_have_a_reason(context, potential):
    probe, metrics = found(context, potential)
    assert probe.reasons["validation_force_rmse/kind0"] == "no frames in validation of type kind0"
    assert np.isnan(metrics["validation_force_rmse/kind0"])
    assert "validation_force_rmse" not in probe.reasons


def test_arrays_are_in_the_order_of_the_frames(context, potential):
    probe, metrics = found(context, potential)
    for index, frame in enumerate(context.frames):
        own = probe.constants["atom_frame"] == index
        np.testing.assert_array_equal(probe.constants["forces_reference"][own], frame.forces)
        graph = build_graph([frame.system], (18,), 5.5, dtype=np.float64)
        expected = derivatives.energies_and_forces(potential, graph)[1]
        np.testing.assert_allclose(metrics["forces_model"][own], expected, atol=1e-12)
    assert probe.constants["frame_split"].tolist() == [0, 0, 0, 1, 2, 2]
    assert probe.constants["config_types"].tolist() == ["kind0", "kind1"]
    assert probe.constants["frame_config_type"].tolist() == [0, 1, 0, 1, 0, 1]


def test_broken_frame_spoils_only_what_it_belongs_to(context, potential):
    """An infinite energy in training does not reach the test errors."""
    frame = context.frames[0]
    positions = frame.system.positions.copy()
    positions[1] = positions[0] + 1e-60
    broken = frame._replace(system=frame.system._replace(positions=positions))
    _, metrics = found(context._replace(frames=(broken, *context.frames[1:])), potential)
    assert not np.isfinite(metrics["train_energy_rmse"])
    assert np.isfinite(metrics["test_energy_rmse"])


def test_frames_that_do_not_fit_into_memory_are_measured_a_few_at_a_time(
    context, potential, monkeypatch
):
    """The same numbers, frame by frame, as all at once."""
    whole, expected = found(context, potential)
    monkeypatch.setattr(accuracy, "room", lambda: 1000.0)
    probe = accuracy.build(accuracy.Config(), context)
    assert whole.compiled
    assert not probe.compiled
    metrics = probe.measure(potential)
    assert metrics.keys() == expected.keys()
    for name, value in metrics.items():
        # Same sums in another order; errors of some eV.
        np.testing.assert_allclose(value, expected[name], rtol=1e-11, atol=1e-12, err_msg=name)
    for name, value in probe.constants.items():
        np.testing.assert_array_equal(value, whole.constants[name])


def test_memory_of_the_frames_is_estimated(context):
    labels = accuracy._labels(context.frames, context, {})
    graphs = accuracy._prepare(context.frames, context, labels).buckets
    edges = sum(
        leaf.nbytes
        for graph in graphs
        for leaf in (graph.neighbors, graph.shifts, graph.reverse, graph.edge_mask)
    )
    systems = [frame.system for frame in context.frames]
    estimate = accuracy.lists_bytes(systems, context.cutoff, each=accuracy.GRAPH_NEIGHBOR)
    assert estimate == pytest.approx(edges, rel=0.6)  # padding of shapes and slots is left out


def test_runs_with_other_splits_share_the_compilation(context, potential):
    traces = []

    @jax.jit
    def counted(measure, potential):
        traces.append(1)
        return measure(potential)

    others = context._replace(splits={"train": (5,), "validation": (0,), "test": (3, 4)})
    for each in (context, others):
        counted(accuracy.build(accuracy.Config(), each).measure, potential)
    assert len(traces) == 1


def test_no_frames_are_refused(context):
    with pytest.raises(InputError, match="expected frames"):
        accuracy.build(accuracy.Config(), context._replace(frames=()))
