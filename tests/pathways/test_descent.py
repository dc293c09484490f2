import jax
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.graphs.skin import make
from mlffjax.pathways import descent, listing
from mlffjax.pathways.driver import _Engine
from mlffjax.pathways.relax import job
from mlffjax.pathways.settings import Relaxation, knobs_of_structures
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes._example import migration
from mlffjax.structures.system import System

ARGON = trees.cast(lennard_jones((18,), cutoff=5.5), np.float64)
KNOBS = knobs_of_structures(Relaxation(fmax=1e-6, cell="full"))
SLOTS = 96


@pytest.fixture(scope="module")
def case():
    """A distorted crystal whose cell relaxes too, as the driver would prepare it."""
    system = migration(images=3).paths["hop"].frames[1].system
    shifts = np.random.default_rng(2).normal(scale=0.1, size=(9, 3))
    system = system._replace(positions=system.positions + shifts)
    setup = descent.Setup("fire", SLOTS, 3, 0.5, elastic=False, strained=True)
    start = job(system, 0, strain="full")
    lane = _Engine(trees.stack([ARGON]), None, setup, KNOBS, [start])._begin(0)
    room = listing.Room()
    near = listing.listed([system], 5.5, 0.5, atoms=9)
    room.hold(near)
    return setup, lane, listing.stacked(near, 1, room)


def advanced(setup, lane, lists, state):
    def leading(tree):
        return jax.tree.map(lambda leaf: np.asarray(leaf)[None], tree)

    found = descent.advance(
        setup, KNOBS, trees.stack([ARGON]), None, leading(lane.problem), leading(lists),
        np.zeros(1, int), leading(state),
    )  # fmt: skip
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], found)


def test_force_on_atoms_and_cell_is_minus_the_derivative_of_the_energy(case):
    """The first step of FIRE is dt² times the force; energies are central differences."""
    setup, lane, lists = case
    after, traces, count = advanced(setup, lane, lists, lane.state)
    assert count == 3
    assert np.isfinite(traces.residual[:3]).all()
    assert after.steps == 3

    graph = make(lane_system(lane), 5.5, 0.5).graph

    @jax.jit
    def energy(place):
        positions, cells = descent.configuration(setup, lane.problem, place)
        moved = graph._replace(positions=positions[0], cell=cells)
        return derivatives.energies(ARGON, moved)[0]

    one = setup.__class__(**{**setup.__dict__, "chunk": 1})
    moved, _, _ = advanced(one, lane, lists, lane.state)
    force = (moved.trial - lane.state.trial) / 0.1**2
    rng = np.random.default_rng(5)
    step = 1e-4 * rng.normal(size=force.shape)
    step[:, 9:] = (step[:, 9:] + np.swapaxes(step[:, 9:], 1, 2)) / 2  # symmetric strains only
    start = lane.state.trial
    expected = (energy(start + step) - energy(start - step)) / 2
    assert -(force * step).sum() == pytest.approx(float(expected), rel=1e-5)


def lane_system(lane):
    return System(lane.job.places[0], np.asarray(lane.job.numbers, np.int32), lane.job.cell,
                  lane.job.pbc)  # fmt: skip


def test_without_room_nothing_is_believed(case):
    setup, lane, lists = case
    small = setup.__class__(**{**setup.__dict__, "slots": 4})
    after, traces, count = advanced(small, lane, lists, lane.state)
    assert count == 0
    assert after.steps == 0
    assert after.slots > 4  # says how much it needs
    np.testing.assert_array_equal(after.trial, lane.state.trial)
    assert np.isnan(traces.residual).all()
    resumed, _, _ = advanced(setup, lane, lists, after)
    direct, _, _ = advanced(setup, lane, lists, lane.state)
    np.testing.assert_array_equal(resumed.trial, direct.trial)


def test_a_stale_list_is_not_used(case):
    setup, lane, lists = case
    stale = lane.state._replace(slack=np.full(1, -1e-3))
    after, _, count = advanced(setup, lane, lists, stale)
    assert count == 0
    np.testing.assert_array_equal(after.trial, lane.state.trial)


def test_work_in_pieces_is_the_same_work(case):
    setup, lane, lists = case
    one = setup.__class__(**{**setup.__dict__, "chunk": 1})
    whole, traces, _ = advanced(setup, lane, lists, lane.state)
    state, rows = lane.state, []
    for _ in range(3):
        state, row, _ = advanced(one, lane, lists, state)
        rows.append(float(row.residual[0]))
    np.testing.assert_array_equal(state.trial, whole.trial)
    np.testing.assert_array_equal(rows, traces.residual)
