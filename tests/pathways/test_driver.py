import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.pathways import descent, driver, listing, mapping, monitor
from mlffjax.pathways.relax import job
from mlffjax.pathways.settings import Relaxation, knobs_of_structures
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

ARGON = lennard_jones((18,), cutoff=5.5)
SETUP = descent.Setup("fire", 0, 25, 0.5, elastic=False)
KNOBS = knobs_of_structures(Relaxation(fmax=1e-3))


def cluster(atoms, spacing):
    """Atoms on a cubic lattice in empty space."""
    corners = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    places = spacing * corners[:atoms].astype(float)
    return System(places, np.full(atoms, 18, np.int32), np.zeros((3, 3)), np.zeros(3, bool))


def run(systems, **choices):
    return driver.run([ARGON], [job(s, 0) for s in systems], SETUP, KNOBS, **choices)


def test_lists_grow_with_a_structure_that_contracts_and_nothing_is_lost(monkeypatch):
    """From far apart every atom gains neighbours on the way; more room from the start is equal."""
    asked = []
    advance = descent.advance
    monkeypatch.setattr(
        descent, "advance", lambda setup, *a: asked.append(setup.slots) or advance(setup, *a)
    )
    tight = run([cluster(18, 4.6)])[0]
    assert len(set(asked)) > 1  # it had to grow
    monkeypatch.setattr(listing, "HEADROOM", 4.0)
    roomy = run([cluster(18, 4.6)])[0]
    assert tight.state.status == roomy.state.status == descent.CONVERGED
    assert tight.state.steps == roomy.state.steps
    # Sums over padded slots in another order, through some hundred steps.
    assert tight.state.good.energies[0] == pytest.approx(
        float(roomy.state.good.energies[0]), abs=1e-9
    )
    np.testing.assert_allclose(tight.positions, roomy.positions, atol=1e-6)


def test_more_jobs_than_lanes_come_back_in_their_order():
    systems = [cluster(8, 4.0), cluster(9, 3.9), cluster(8, 3.7)]
    few, many = (run(systems, batch_size=size) for size in (1, 2))
    for system, one, other in zip(systems, few, many, strict=True):
        assert one.positions.shape == (1, len(system.numbers), 3)
        assert one.state.steps == other.state.steps
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-6)
        assert len(one.traces.residual) == one.state.steps


def test_jobs_share_a_shape_only_if_padding_is_cheap():
    jobs = [job(cluster(n, 4.0), 0) for n in (12, 8, 27, 10, 9)]
    assert mapping.alike([len(job.numbers) for job in jobs]) == [[1, 4, 3], [0], [2]]


def test_no_jobs_no_work_and_one_model_only():
    assert driver.run([ARGON], [], SETUP, KNOBS) == []
    other = lennard_jones((18,), cutoff=6.0)
    with pytest.raises(CompatibilityError):
        driver.run([ARGON, other], [job(cluster(8, 4.0), 0)], SETUP, KNOBS)
    assert trees.stack([ARGON, ARGON]).model == ARGON.model


def test_layers_cut_by_the_cell_are_put_together():
    """Three atoms below, two above; the cell boundary runs through the lower layer."""
    heights = np.array([9.0, 0.5, 10.5, 4.0, 5.0, 2.5])
    layers = np.array([0, 0, 0, 1, 1, -1])
    places = heights[:, None] * np.array([0.0, 0.0, 1.0])
    cell = np.diag([4.0, 4.0, 11.0])
    system = System(places, np.full(6, 18, np.int32), cell, np.ones(3, bool))
    start = job(system, 0, layers=layers.tolist())
    normal = driver._normal(cell)
    lift = driver._lift(start, normal)
    np.testing.assert_allclose(lift, [0, 11, 0, 11, 11, 0])  # 9, 11.5, 10.5 and 15, 16
    members = layers == np.arange(2)[:, None]
    gap = monitor.gaps(places[None], members, normal, lift)
    np.testing.assert_allclose(gap, [[3.5]])
    slab = start._replace(pbc=np.array([True, True, False]))
    np.testing.assert_array_equal(driver._lift(slab, normal), 0)
