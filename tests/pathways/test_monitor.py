import jax
import numpy as np
import pytest

from mlffjax.graphs.batching import build
from mlffjax.pathways import monitor
from mlffjax.probes._example import migration

LIMITS = monitor.Limits(closest=0.5, span=50.0, spike=50.0, growth=20.0, detach=3.0)

check = jax.jit(monitor.check)


def finding(**changes):
    """A healthy band of four images of three atoms, but for the changes."""
    healthy = {
        "energies": np.array([0.0, 0.1, 0.3, 0.0]),
        "forces": np.full((4, 3, 3), 0.1),
        "residual": np.full(4, 0.2),
        "contacts": monitor.Contact(np.full(4, 2.5), np.full(4, 0.9), np.arange(4) % 3),
        "gap_change": np.zeros(4),
        "active": np.ones(4, bool),
        "recent": np.full(monitor.RECENT, 0.2),
        "reference": np.float64(0.0),
    }
    found = check(LIMITS, **healthy | changes)
    return int(found.code), int(found.image), int(found.atom)


def at(index, value, array):
    changed = np.array(array, float)
    changed[index] = value
    return changed


STRONG = at((2, 1, 0), 900.0, np.full((4, 3, 3), 0.1))


def test_a_healthy_band_is_fine():
    assert finding() == (monitor.FINE, 0, -1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"energies": np.array([0.0, np.nan, 0.3, 0.0])}, (monitor.NONFINITE, 1)),
        ({"forces": at((3, 0, 0), np.inf, np.zeros((4, 3, 3)))}, (monitor.NONFINITE, 3)),
        ({"energies": np.array([0.0, 0.1, 51.0, 0.0])}, (monitor.HIGH, 2)),
        ({"energies": np.array([0.0, -51.0, 0.1, 0.0])}, (monitor.HOLE, 1)),
        ({"residual": np.array([0.2, 0.2, 60.0, 0.2])}, (monitor.SPIKE, 2)),
        ({"gap_change": np.array([0.0, 0.0, 0.0, 3.1])}, (monitor.DETACHED, 3)),
    ],
)
def test_what_is_wrong_is_found_with_its_image(changes, expected):
    assert finding(**changes)[:2] == expected


def test_atoms_to_blame_are_named():
    close = monitor.Contact(np.full(4, 2.5), np.array([0.9, 0.9, 0.4, 0.9]), np.array([0, 0, 1, 0]))
    assert finding(contacts=close) == (monitor.CLOSE, 2, 1)
    residual = np.array([0.2, 0.2, 900.0, 0.2])
    assert finding(forces=STRONG, residual=residual) == (monitor.SPIKE, 2, 1)


def test_large_forces_are_no_spike_where_they_are_usual():
    residual = np.array([0.2, 0.2, 90.0, 0.2])
    assert finding(residual=residual, recent=np.full(monitor.RECENT, 5.0))[0] == monitor.FINE
    assert finding(residual=residual, recent=np.full(monitor.RECENT, 4.0))[0] == monitor.SPIKE


def test_images_that_were_not_evaluated_are_not_judged():
    sleeping = np.array([False, True, True, False])
    assert finding(energies=np.array([np.nan, 0.1, 0.3, 99.0]), active=sleeping)[0] == monitor.FINE


def test_the_worst_is_named_first():
    energies, residual = np.array([0.0, np.nan, 99.0, 0.0]), np.array([0.2, 900.0, 0.2, 0.2])
    assert finding(energies=energies, residual=residual)[:2] == (monitor.NONFINITE, 1)


def test_contact_is_the_smallest_distance_over_the_sum_of_radii():
    system = migration(images=3).paths["hop"].frames[0].system
    graph = build([system], (18,), 5.5, dtype=np.float64)
    found = monitor.contact(graph, np.where(np.arange(9) == 8, 1.5, 1.0), 11.0)
    steps = system.positions[8] - system.positions[:8]
    center = np.linalg.norm(steps, axis=1).min()  # 3.38 Å, all others 3.9 Å
    assert found.distance == pytest.approx(center, rel=1e-12)
    assert found.ratio == pytest.approx(center / 2.5, rel=1e-12)
    lone = build([system._replace(positions=system.positions[:1], numbers=system.numbers[:1])],
                 (18,), 3.0, dtype=np.float64)  # fmt: skip
    assert monitor.contact(lone, np.ones(1), 6.0).distance == 6.0


def test_gaps_are_the_empty_heights_between_layers():
    heights = np.array([0.0, 1.0, 4.0, 5.5, 2.5])
    positions = np.stack([heights, heights + np.array([0, 0, 0.5, 0.5, 9.0])])[..., None]
    positions = positions * np.array([0.0, 0.0, 1.0])
    members = np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]], bool)
    found = monitor.gaps(positions, members, np.array([0.0, 0.0, 1.0]), np.zeros(5))
    lifted = monitor.gaps(
        positions, members, np.array([0.0, 0.0, 1.0]), np.array([0, 0, 1.0, 1.0, 0])
    )
    np.testing.assert_allclose(lifted, [[4.0], [4.5]])
    np.testing.assert_allclose(found, [[3.0], [3.5]])


def test_words_name_place_and_cause():
    assert "image 3, atom 5, at iteration 17" in monitor.sentence(monitor.SPIKE, 17, 3, 5)
    assert "atom" not in monitor.sentence(monitor.DETACHED, 17, 3, -1).partition("in image")[2]
    assert "interpolation cured it" in monitor.cause(0, ["idpp"], cured=True)
    assert "smaller ones cured it" in monitor.cause(0, ["idpp", "smaller steps"], cured=True)
    for code in set(monitor.REASONS):
        assert "the potential" in monitor.cause(code, ["idpp", "smaller steps"], cured=False)
