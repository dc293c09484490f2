import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from mlffjax.errors import InputError
from mlffjax.structures.files import read_frames, write_frames

HEADER = 'Lattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3:REF_forces:R:3 pbc="T T T"'
ATOMS = "Cu 0 0 0 0.5 0 0\nCu 2.5 0 0 -0.5 0 0\n"
GOOD = f"2\n{HEADER} REF_energy=-7.0\n{ATOMS}"


def changed(atoms: str = ATOMS, **entries) -> str:
    extra = " ".join(f'{key}="{value}"' for key, value in entries.items())
    return f"2\n{HEADER} {extra}\n{atoms}"


def test_everything_the_file_says(tmp_path):
    file = tmp_path / "run.xyz"
    stress = "0.01 0 0 0 0.02 0 0 0 0.03"
    file.write_text(
        changed(REF_energy=-7.0, REF_stress=stress, config_type="hot", temperature=300) + GOOD
    )
    first, second = read_frames(file)
    assert first.energy == -7.0
    assert np.asarray(first.forces).tolist() == [[0.5, 0, 0], [-0.5, 0, 0]]
    assert np.diag(np.asarray(first.stress)).tolist() == [0.01, 0.02, 0.03]
    assert (first.config_type, second.config_type) == ("hot", "Default")
    assert first.info == {"temperature": 300}
    assert first.source == f"{file} frame 0"
    assert (first.trajectory, second.trajectory) == ("run/hot", "run/Default")
    assert (first.identifier, second.identifier) == ("run:0", "run:1")
    assert second.stress is None


@pytest.mark.parametrize("key", ["order", "time_fs", "image", "step"])
def test_order_within_a_group(tmp_path, key):
    file = tmp_path / "run.xyz"
    entries = [{key: 30, "group": "a"}, {key: 10, "group": "a"}, {"group": "b"}]
    file.write_text("".join(changed(REF_energy=-7.0, **entry) for entry in entries))
    frames = read_frames(file)
    assert [frame.order for frame in frames] == [30.0, 10.0, 2.0]
    assert [frame.trajectory for frame in frames] == ["a", "a", "b"]


def test_order_is_the_index_if_one_frame_has_no_time(tmp_path):
    file = tmp_path / "run.xyz"
    file.write_text(changed(REF_energy=-7.0, time_fs=500) + GOOD)
    assert [frame.order for frame in read_frames(file)] == [0.0, 1.0]


@pytest.mark.parametrize("name", ["a.traj", "a.extxyz", "a.xyz", "a.json"])
def test_results_of_any_format_ase_reads(tmp_path, name):
    images = []
    for seed in range(3):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.05, seed=seed)
        atoms.calc = EMT()
        atoms.get_forces()
        atoms.get_stress()
        images.append(atoms)
    write(tmp_path / name, images)
    for frame, atoms in zip(read_frames(tmp_path / name), images, strict=True):
        assert frame.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        # Extended XYZ keeps eight decimals.
        assert np.allclose(np.asarray(frame.forces), atoms.get_forces(), atol=1e-8)
        assert np.allclose(np.asarray(frame.stress), atoms.get_stress(voigt=False), atol=1e-8)


def test_frames_without_labels_are_returned_as_such(tmp_path):
    write(tmp_path / "a.xyz", bulk("Cu"))
    (frame,) = read_frames(tmp_path / "a.xyz")
    assert frame[1:4] == (None, None, None)


def test_round_trip(tmp_path):
    first, again = tmp_path / "a.xyz", tmp_path / "b.xyz"
    first.write_text(
        changed(REF_energy=-7.123456789012345, group="g", time_fs=2.5, note="x y", config_type="c")
        + changed(REF_energy=-6.5, group="g", time_fs=1.5, REF_stress="1e-3 0 0 0 2e-3 0 0 0 3e-3")
    )
    frames = read_frames(first)
    write_frames(again, frames)
    for old, new in zip(frames, read_frames(again), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(old.system, new.system, strict=True))
        assert np.asarray(old.forces).tolist() == np.asarray(new.forces).tolist()
        same = ("energy", "config_type", "trajectory", "order", "identifier", "info")
        assert [getattr(old, name) for name in same] == [getattr(new, name) for name in same]
    assert (
        np.asarray(read_frames(again)[1].stress).tolist() == np.asarray(frames[1].stress).tolist()
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.xyz", "b.xyz"]


def test_a_failed_write_leaves_the_old_file(tmp_path, frame):
    file = tmp_path / "a.xyz"
    file.write_text(GOOD)
    with pytest.raises(Exception, match="energy_unit"):
        write_frames(file, [frame(info={"energy_unit": Unprintable()})])
    assert file.read_text() == GOOD
    assert [path.name for path in tmp_path.iterdir()] == ["a.xyz"]


class Unprintable:
    def __str__(self) -> str:
        raise ValueError("energy_unit cannot be written")


def test_empty_lines_at_the_end_are_harmless(tmp_path):
    (tmp_path / "a.xyz").write_text(GOOD + GOOD.replace("2.5", "2.6") + "\n\n")
    assert len(read_frames(tmp_path / "a.xyz")) == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (changed(REF_energy="nan"), "NaN or infinity in energy"),
        (changed(REF_energy="low"), "expected numbers for energy, got 'low'"),
        (changed(REF_energy=-7e6), "expected an energy in eV"),
        (changed(REF_energy=-7, REF_stress="3 0 0 0 3 0 0 0 3"), "160 GPa"),
        (changed(REF_energy=-7, REF_stress="1 2 3"), "expected stress as 3x3"),
        (
            changed(REF_energy=-7, time_fs="late", group="g"),
            "finite number for time_fs, got 'late'",
        ),
        (GOOD.replace("0.5 0 0", "nan 0 0"), "NaN or infinity in forces"),
        (GOOD.replace("0.5 0 0", "5000 0 0"), "below 1000 eV/Å"),
        (
            GOOD.replace("Cu 2.5 0 0 -0.5 0 0", "Cu 2.5 0 0.4 0 0 0").replace("0.5 0 0", "0 0 0"),
            "placeholders",
        ),
        (GOOD.replace("REF_forces:R:3", "REF_forces:R:2"), r"forces of shape \(2, 3\)"),
        (GOOD.replace("Cu 2.5", "Cu 0.1"), "0.3 Å apart"),
        (GOOD.replace("6 0 0 0 6 0 0 0 6", "6 0 0 6 0 0 0 0 6"), "linearly independent"),
        (GOOD.replace("Cu 2.5", "Qq 2.5"), "cannot be parsed"),
        (GOOD.replace("Cu 2.5 0 0", "Cu 2.5 0"), "cannot be parsed"),
        (GOOD.replace("Cu 2.5", "Cu two"), "cannot be parsed"),
        (GOOD.replace("2\n", "3\n", 1), "expected 3 atoms, but the file ends"),
        (GOOD.replace("2\n", "1\n", 1) + GOOD, "frame 2: expected a number of atoms, got 'Cu 2.5"),
        (GOOD.replace("2\n", "two\n", 1), "expected a number of atoms, got 'two'"),
        ("\n" + GOOD, "empty line with more text"),
        ("0\nempty\n", "expected"),
    ],
)
def test_a_bad_frame_is_named(tmp_path, bad, message):
    file = tmp_path / "data.xyz"
    file.write_text(GOOD + bad)
    with pytest.raises(InputError, match=message) as caught:
        read_frames(file)
    text = str(caught.value)
    assert text.startswith(f"{file} frame ")
    assert "frame 1" in text or "frame 2" in text
    assert "expected" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "nothing there"), ("", "at least one frame"), (b"\xff\xfe\x00", "parsed")],
)
def test_missing_empty_and_binary_files(tmp_path, content, message):
    file = tmp_path / "data.xyz"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        read_frames(file)
    with pytest.raises(InputError, match="a directory"):
        read_frames(tmp_path)


def test_a_format_nobody_knows(tmp_path):
    (tmp_path / "data.abc").write_text("nothing known\n")
    with pytest.raises(
        InputError, match=r"data.abc frame 0: expected extended XYZ or a format ASE"
    ):
        read_frames(tmp_path / "data.abc")


def test_per_atom_extras_and_constraints_do_not_disturb(tmp_path):
    atoms = ase.Atoms("Cu2", positions=[[0, 0, 0], [2.5, 0, 0]])
    atoms.set_tags([1, 2])
    atoms.set_initial_magnetic_moments([1.0, -1.0])
    write(tmp_path / "a.xyz", atoms)
    assert read_frames(tmp_path / "a.xyz")[0].info == {}
