import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures import checks
from mlffjax.structures.system import System, from_ase, to_ase


def test_a_sound_frame_passes(frame):
    checks.check_frame(frame())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"numbers": np.array([0, 29], np.int32)},
            "chemical elements, got atomic number 0 for atom 0",
        ),
        ({"positions": np.array([[0, 0, 0], [np.nan, 0, 0]])}, "NaN or infinity in positions"),
        ({"cell": np.diag([6, 6, np.inf])}, "NaN or infinity in cell"),
        ({"energy": float("nan")}, "NaN or infinity in energy"),
        ({"forces": np.full((2, 3), np.inf)}, "NaN or infinity in forces"),
        ({"stress": np.full((3, 3), np.nan)}, "NaN or infinity in stress"),
        ({"cell": np.zeros((3, 3))}, "linearly independent lattice vectors"),
        ({"cell": np.array([[6.0, 0, 0], [6.0, 0, 0], [0, 0, 6]])}, "linearly independent"),
        (
            {"positions": np.array([[0, 0, 0], [0.1, 0, 0]])},
            "0.3 Å apart, got atoms 0 and 1 at 0.1",
        ),
        (
            {"positions": np.array([[0, 0, 0], [5.9, 6.0, 12.0]])},
            "0.3 Å apart",
        ),  # across the boundary
        ({"energy": -7.0e6}, "expected an energy in eV"),
        (
            {"forces": np.array([[0.5, 0, 0], [-2000.0, 0, 0]])},
            "below 1000 eV/Å, got 2000 on atom 1",
        ),
        ({"stress": np.eye(3) * 2.5}, "160 GPa"),
        (
            {"positions": np.array([[0, 0, 0], [2.0, 0.3, 0]]), "forces": np.zeros((2, 3))},
            "placeholders",
        ),
    ],
)
def test_unsound_frames_are_refused_with_file_and_frame(frame, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        checks.check_frame(frame(**changes))
    assert str(caught.value).startswith("data.xyz frame 3: expected ")


def test_an_empty_frame_is_refused(frame):
    with pytest.raises(InputError, match="expected atoms, got none"):
        checks.check_frame(frame(numbers=np.zeros(0, np.int32), positions=np.zeros((0, 3))))


@pytest.mark.parametrize("lattice", [("Cu", "fcc"), ("Si", "diamond"), ("Cr", "bcc")])
def test_forces_that_symmetry_makes_zero_are_accepted(frame, lattice):
    system = from_ase(bulk(*lattice, a=3.6 if lattice[0] != "Si" else 5.43, cubic=True))
    forces = np.zeros_like(system.positions)
    checks.check_frame(frame(forces=forces)._replace(system=system))


def test_a_slab_needs_no_third_lattice_vector_and_a_molecule_no_cell(frame):
    flat = np.diag([6.0, 6.0, 0.0])
    checks.check_frame(frame(cell=flat, pbc=np.array([True, True, False])))
    checks.check_frame(frame(cell=np.zeros((3, 3)), pbc=np.zeros(3, bool), stress=None))


def test_all_electron_energies_are_accepted(frame):
    # Total energy of a Sb atom with all electrons, -6478 hartree, is a legitimate label.
    checks.check_frame(frame(numbers=np.array([51, 51], np.int32), energy=-2 * 6478 * 27.2114))


@given(st.integers(0, 2**32 - 1))
def test_closest_pair_agrees_with_ase_in_triclinic_cells(seed):
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * 5 + rng.uniform(-1.5, 1.5, (3, 3))
    positions = rng.uniform(-10, 10, (12, 3))
    positions[7] = positions[2] + rng.normal(size=3) * 0.1 + rng.integers(-2, 3, 3) @ cell
    system = System(positions, np.full(12, 29, np.int32), cell, np.ones(3, bool))
    distances = to_ase(system).get_all_distances(mic=True) + 100 * np.eye(12)
    distance = checks.closest_pair(system)[2]
    # Exact below half of the thinnest period, which exceeds 1 Å here.
    assert min(distance, 1.0) == pytest.approx(min(distances.min(), 1.0), abs=1e-10)


def test_closest_pair_across_row_blocks():
    positions = np.arange(600.0)[:, None] * [1.0, 0, 0]
    positions[599] = [10.0, 0.2, 0.0]
    system = System(positions, np.full(600, 29, np.int32), np.zeros((3, 3)), np.zeros(3, bool))
    first, second, distance = checks.closest_pair(system)
    assert {first, second} == {10, 599}
    assert distance == pytest.approx(0.2)


def test_labels_are_required_by_name(frame):
    frames = [frame(), frame(forces=None, source="b.xyz frame 1"), frame(forces=None)]
    checks.require_labels(frames, forces=False)
    with pytest.raises(InputError, match=r"b.xyz frame 1: .*REF_forces.*2 of 3 frames"):
        checks.require_labels(frames)
    with pytest.raises(InputError, match="REF_stress"):
        checks.require_labels([frame(stress=None)], stress=True)
    with pytest.raises(InputError, match="REF_energy"):
        checks.require_labels(iter([frame(energy=None)]), forces=False)


def test_unknown_elements_are_named(frame):
    checks.require_elements([frame()], [29, 51])
    with pytest.raises(CompatibilityError, match=r"data.xyz frame 3: expected only Sb, Te, got Cu"):
        checks.require_elements([frame()], [51, 52])


def test_the_same_structure_twice_is_refused(frame):
    moved = frame(positions=np.array([[0.0, 0, 0], [2.51, 0, 0]]), source="b.xyz frame 0")
    checks.require_distinct([frame(), moved])
    with pytest.raises(InputError, match=r"c.xyz frame 9: .*the same one as data.xyz frame 3"):
        checks.require_distinct([frame(), moved, frame(energy=-8.0, source="c.xyz frame 9")])


@pytest.mark.parametrize("unit", list(checks.UNITS))
@pytest.mark.parametrize("odd", [0, 2])
def test_mixed_units_are_recognised(frame, unit, odd):
    energies = [-160.0, -161.0, -160.5, -162.0]
    energies[odd] /= checks.UNITS[unit]
    frames = [frame(energy=e, source=f"data.xyz frame {k}") for k, e in enumerate(energies)]
    with pytest.raises(InputError, match=f"frame {odd}: .*that of eV and {unit}"):
        checks.require_one_unit(frames)


def test_hot_and_cold_frames_are_not_taken_for_mixed_units(frame):
    checks.require_one_unit([frame(energy=e) for e in (-7.0, -6.2, -5.9, -0.2)])
