from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import config, trees
from mlffjax.errors import CompatibilityError, ConfigError, TrainingError
from mlffjax.graphs.neighbors import neighbors_within
from mlffjax.potential.pair import lennard_jones
from mlffjax.training.metrics import evaluate
from mlffjax.training.reference_energies import (
    average_neighbors,
    check_references,
    estimate,
    scale_and_shift,
    with_constants,
)
from mlffjax.training.strategies import finetune, scratch

ELEMENTS = (24, 51, 52)
KNOWN = np.array([-5.0, -1.5, -3.25])  # exact in binary


@pytest.fixture(scope="module")
def potential():
    made = trees.cast(lennard_jones(ELEMENTS, cutoff=5.5), jnp.float64)
    return with_constants(made, {"atomic_energies": KNOWN + 100.0})


@pytest.fixture(scope="module")
def mixed(frames):
    """Cells of 4 and 8 atoms in which compositions differ; labels are E0 + Lennard-Jones."""
    random = np.random.default_rng(4)
    return tuple(compose(frame, random.choice(ELEMENTS, len(frame.forces))) for frame in frames)


@pytest.fixture(scope="module")
def proportional(frames):
    """Cr on top of a fixed 1:2 proportion of Sb to Te."""
    few, many = [24, 51, 52, 52], [24] * 5 + [51, 52, 52]
    return tuple(compose(f, few if len(f.forces) == 4 else many) for f in frames)


def compose(frame, numbers):
    """The frame with other elements and their reference energies in its total energy."""
    numbers = np.asarray(numbers, np.int32)
    offset = sum(KNOWN[ELEMENTS.index(z)] for z in numbers)
    return frame._replace(
        system=frame.system._replace(numbers=numbers), energy=frame.energy + float(offset)
    )


def counts(frame):
    return np.array([(frame.system.numbers == z).sum() for z in ELEMENTS])


def test_kept_energies_are_those_of_the_potential(mixed, potential):
    kept = estimate("keep", mixed, potential, isolated={})
    np.testing.assert_array_equal(kept.energies, KNOWN + 100.0)
    assert kept.notes == ()


def test_isolated_atoms_are_taken_over(mixed, potential):
    atoms = dict(zip(ELEMENTS, (-1.0, -2.0, -3.0), strict=True))
    taken = estimate("isolated", mixed, potential, isolated=atoms)
    assert taken.energies.tolist() == [-1, -2, -3]
    assert taken.notes == ()


def test_missing_isolated_atom_is_an_error_only_if_it_is_needed(mixed, potential, frames):
    atoms = {24: -1.0, 51: -2.0}
    with pytest.raises(CompatibilityError, match="none for Te"):
        estimate("isolated", mixed, potential, isolated=atoms)
    chromium = [compose(frame, [24] * len(frame.forces)) for frame in frames]
    taken = estimate("isolated", chromium, potential, isolated=atoms)
    assert taken.energies.tolist() == [-1, -2, KNOWN[2] + 100]
    assert "Te" in taken.notes[0]


def test_least_squares_recovers_energies_without_interaction(mixed, potential):
    bare = [f._replace(energy=float(counts(f) @ KNOWN)) for f in mixed]
    found = estimate("least_squares", bare, potential, isolated={})
    # Rounded to single precision, 2e-7 of -5.
    np.testing.assert_allclose(found.energies, KNOWN, atol=1e-6)
    assert found.residual < 1e-12
    assert found.notes == ()


def test_reestimation_keeps_interaction_energies(mixed, potential):
    """A foundation of another reference: the same interactions, E0s off by 100 eV."""
    found = estimate("reestimated", mixed, potential, isolated={})
    # Interaction energies are evaluated in float32: 1e-7 of 1 eV per atom, amplified by the fit.
    np.testing.assert_allclose(found.energies, KNOWN, atol=2e-6)
    assert found.residual < 1e-6
    shifted = with_constants(potential, {"atomic_energies": found.energies})
    assert evaluate(shifted, mixed, dtype=np.float64)["all"].energy_mae < 1e-6


def test_fixed_proportions_are_named_and_changed_least(proportional, potential):
    found = estimate("reestimated", proportional, potential, isolated={})
    assert found.residual < 1e-6  # what can be known is
    assert "Sb, Te" in found.notes[0]
    assert "Cr" not in found.notes[0]
    change = found.energies - (KNOWN + 100.0)
    # Only Sb + 2 Te is known; the smallest change moves along (1, 2).
    assert change[2] == pytest.approx(2 * change[1], rel=1e-5)
    assert found.energies[0] == pytest.approx(KNOWN[0], abs=1e-5)
    assert found.energies[1:] @ [1, 2] == pytest.approx(KNOWN[1:] @ [1, 2], abs=1e-5)


def test_isolated_atoms_are_the_better_start(proportional, potential):
    atoms = dict(zip(ELEMENTS, KNOWN + 0.3, strict=True))
    found = estimate("reestimated", proportional, potential, isolated=atoms)
    # The excess of 0.3 (1 + 2) eV per formula unit is taken off along (1, 2) / 5.
    np.testing.assert_allclose(found.energies[1:], KNOWN[1:] + 0.3 - [0.18, 0.36], atol=1e-5)
    assert found.residual < 1e-6


def test_absent_elements_stay_and_are_named(frames, potential):
    antimony = [compose(frame, [51] * len(frame.forces)) for frame in frames]
    found = estimate("reestimated", antimony, potential, isolated={24: -7.0})
    assert found.energies[0] == -7.0
    assert found.energies[2] == KNOWN[2] + 100
    assert found.energies[1] == pytest.approx(KNOWN[1], abs=1e-5)
    assert "Cr, Te" in found.notes[0]
    assert len(found.notes) == 1


def test_frames_without_energy_do_not_count(mixed, potential):
    some = [f._replace(energy=None) if i % 5 == 0 else f for i, f in enumerate(mixed)]
    found = estimate("reestimated", some, potential, isolated={})
    np.testing.assert_allclose(found.energies, KNOWN, atol=2e-6)
    with pytest.raises(TrainingError, match="11 frames without"):
        estimate("least_squares", [f._replace(energy=None) for f in mixed], potential, isolated={})


def test_casting_a_potential_does_not_move_its_energies(mixed, potential):
    heavy = [f._replace(energy=f.energy - 2345.678 * len(f.forces)) for f in mixed]
    found = estimate("reestimated", heavy, potential, isolated={})
    single = with_constants(trees.cast(potential, jnp.float32), {"atomic_energies": found.energies})
    double = with_constants(potential, {"atomic_energies": found.energies})
    for frame in heavy:
        assert single.reference_energy(frame.system) == double.reference_energy(frame.system)


class Method(NamedTuple):
    reference: str


def test_references_are_not_mixed_in_silence():
    ours, theirs = Method("GPAW PBE 300 eV"), Method("VASP PBE 54")
    with pytest.raises(CompatibilityError, match=r"'VASP PBE 54'.*'GPAW PBE 300 eV'.*reestimated"):
        check_references(theirs, ours, "keep")
    for mode in ("isolated", "reestimated", "least_squares"):
        check_references(theirs, ours, mode)
    check_references(Method(" gpaw  PBE 300 eV"), ours, "keep")


def test_scale_and_shift(frames, truth):
    """Root mean square of all force components; mean over structures of energy per atom."""
    scale, shift = scale_and_shift(frames, with_constants(truth, {"atomic_energies": [2.0]}))
    components = np.concatenate([frame.forces.ravel() for frame in frames])
    assert scale == pytest.approx(float(np.std(components)), rel=1e-3)  # their mean vanishes
    per_atom = [frame.energy / len(frame.forces) for frame in frames]
    assert shift == pytest.approx(float(np.mean(per_atom)) - 2.0, rel=1e-12)


def test_scale_of_resting_atoms_is_one(frames, truth):
    still = [frame._replace(forces=np.zeros_like(frame.forces), energy=None) for frame in frames]
    assert scale_and_shift(still, truth) == (1.0, 0.0)


def test_average_neighbors_counts_edges(frames):
    edges = [neighbors_within(frame.system, 5.5).mask.sum() for frame in frames]
    assert average_neighbors(frames, 5.5) == pytest.approx(sum(edges) / 64)
    assert average_neighbors(frames, 0.1) == 1.0


def test_constants_a_model_lacks_are_left_out(truth):
    made = with_constants(truth, {"atomic_energies": [1.0], "scale": 3.0})
    assert set(made.params["constants"]) == {"atomic_energies"}
    assert made.params["constants"]["atomic_energies"].dtype == jnp.float64
    assert float(truth.params["constants"]["atomic_energies"][0]) == 0.0


def test_given_energies_are_taken_over(mixed, potential):
    choice = config.validate(
        {"reference_energies": {"Te": -2.5, "Cr": -9.25, "Sb": -1}}, finetune.Config, where="here"
    ).reference_energies
    assert isinstance(hash(choice), int)
    found = estimate(choice, mixed, potential, isolated={24: 7.0})
    assert dict(zip(potential.elements, found.energies, strict=True)) == {
        24: -9.25,
        51: -1.0,
        52: -2.5,
    }
    assert found.notes == ()


def test_given_energies_must_cover_the_frames_and_nothing_unknown(mixed, potential):
    with pytest.raises(CompatibilityError, match="got none for Sb, Te"):
        estimate((("Cr", -1.0),), mixed, potential, isolated={})
    with pytest.raises(CompatibilityError, match=r"Cs, Xx are not among.*Cr, Sb, Te"):
        estimate((("Cs", 1.0), ("Xx", 1.0), ("Cr", 0.0)), mixed, potential, isolated={})


def test_given_energies_make_a_round_trip_as_plain_data():
    for module, values in ((finetune, {"Cr": -1.5}), (scratch, {"Sb": 0.5, "Te": 1.0})):
        section = config.validate({"reference_energies": values}, module.Config, where="here")
        plain = config.dump(section)
        assert plain["reference_energies"] == values
        assert config.validate(plain, module.Config, where="here") == section


@pytest.mark.parametrize("value", ["least_squares", {}, {"Cr": "much"}])
def test_other_choices_are_refused_for_a_foundation(value):
    """Least squares would give the foundation's interaction energies to the E0s."""
    with pytest.raises(ConfigError, match="reference_energies"):
        config.validate({"reference_energies": value}, finetune.Config, where="here")
