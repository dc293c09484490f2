"""``data check`` tells what is in files, and checks the others when one is bad."""

import numpy as np
import pytest
from typer.testing import CliRunner

from mlffjax.cli import data
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.system import Frame, System


def frame(index: int, *, forces: bool = True) -> Frame:
    system = System(
        positions=np.array([[0.0, 0.0, 0.0], [1.4 + 0.1 * index, 0.0, 0.0]]),
        numbers=np.array([51, 52], np.int32),
        cell=np.eye(3) * 8.0,
        pbc=np.array([True, True, True]),
    )
    return Frame(
        system=system,
        energy=-4.0 - index,
        forces=np.array([[0.0, 0.5, 0.0], [0.0, -0.5, 0.0]]) if forces else None,
        stress=None,
        config_type="warm",
        trajectory="a",
        order=float(index),
        identifier=f"a:{index}",
        source=f"test frame {index}",
        info={},
    )


@pytest.fixture
def check():
    return lambda *files: CliRunner().invoke(data.app, ["data", "check", *map(str, files)])


def test_table_tells_what_is_in_a_file(tmp_path, check):
    write_frames(tmp_path / "a.xyz", [frame(0), frame(1), frame(2, forces=False)])
    result = check(tmp_path / "*.xyz")
    assert result.exit_code == 0
    row = result.stdout.splitlines()[-1].split("  ")
    cells = [cell.strip() for cell in row if cell.strip()]
    assert cells == ["warm", "3", "2", "Sb Te", "-3.000 to -2.000", "0.50 (1 without)", "none"]


def test_all_files_are_checked_before_refusing(tmp_path, check):
    write_frames(tmp_path / "a.xyz", [frame(0)])
    (tmp_path / "b.xyz").write_text("nonsense\n")
    result = check(tmp_path / "b.xyz", tmp_path / "absent.xyz", tmp_path / "a.xyz")
    assert isinstance(result.exception, InputError)
    assert "b.xyz frame 0" in str(result.exception)
    assert "absent.xyz" in str(result.exception)
    assert "warm" in result.stdout


@pytest.fixture
def run():
    return lambda *words: CliRunner().invoke(data.app, ["data", *map(str, words)])


def test_check_against_refuses_another_reference(tmp_path, run):
    write_frames(tmp_path / "a.xyz", [frame(0), frame(1)])
    write_frames(tmp_path / "b.xyz", [frame(0)._replace(energy=-14.0)])
    result = run("check", tmp_path / "b.xyz", "--against", tmp_path / "a.xyz")
    assert isinstance(result.exception, CompatibilityError)
    assert "1 of 1 structures" in str(result.exception)
    assert "-5.0000 eV/atom" in str(result.exception)
    assert run("check", tmp_path / "a.xyz", "--against", tmp_path / "a.xyz").exit_code == 0


def test_split_writes_every_frame_once_and_never_over_files(tmp_path, run):
    write_frames(tmp_path / "a.xyz", [frame(k) for k in range(10)])
    words = ("split", tmp_path / "a.xyz", "--out", tmp_path / "parts")
    assert run(*words).exit_code == 0
    names = ("train", "validation", "test")
    parts = [read_frames(tmp_path / "parts" / f"{name}.xyz") for name in names]
    assert [[int(f.order) for f in part] for part in parts] == [[*range(7)], [7], [8, 9]]
    assert "give --force" in str(run(*words).exception)
    assert run(*words, "--force").exit_code == 0


def test_select_stays_nested_and_wants_a_size(tmp_path, run):
    write_frames(tmp_path / "a.xyz", [frame(k) for k in range(8)])
    for count in (2, 4):
        out = tmp_path / f"{count}.xyz"
        assert run("select", tmp_path / "a.xyz", "-o", out, "-n", count).exit_code == 0
    names = [[f.identifier for f in read_frames(tmp_path / f"{n}.xyz")] for n in (2, 4)]
    assert names[1][:2] == names[0]
    assert len(set(names[1])) == 4
    assert "--count" in str(run("select", tmp_path / "a.xyz", "-o", tmp_path / "c.xyz").exception)


def test_merge_joins_and_refuses_duplicates(tmp_path, run):
    write_frames(tmp_path / "a.xyz", [frame(0)])
    write_frames(tmp_path / "b.xyz", [frame(1)._replace(energy=-4.1)])
    out = tmp_path / "all.xyz"
    assert run("merge", tmp_path / "a.xyz", tmp_path / "b.xyz", "-o", out).exit_code == 0
    assert [f.energy for f in read_frames(out)] == [-4.0, -4.1]
    again = run("merge", tmp_path / "a.xyz", out, "-o", tmp_path / "no.xyz")
    assert "distinct structures" in str(again.exception)
    assert not (tmp_path / "no.xyz").exists()


def test_inspect_counts_duplicates_and_draws(tmp_path, run):
    write_frames(tmp_path / "a.xyz", [frame(0), frame(1, forces=False), frame(0)])
    result = run("inspect", tmp_path / "a.xyz", "--html", tmp_path / "a.html")
    assert result.exit_code == 0
    assert "frames: 3" in result.stdout
    assert "forces in 1" in result.stdout
    assert "occur more than once: 1" in result.stdout
    assert (tmp_path / "a.html").read_text().count("Plotly.newPlot(") >= 5


def test_convert_writes_what_converged(tmp_path, run):
    pwo(tmp_path / "run.pwo")
    out = tmp_path / "run.xyz"
    result = run("convert", tmp_path / "run.pwo", "-o", out, "--config-type", "md")
    assert result.exit_code == 0
    (only,) = read_frames(out)
    # -10 Ry, as 1 Ry = 13.605693 eV (CODATA 2006)
    assert only.energy == pytest.approx(-136.05693, abs=1e-4)
    assert only.config_type == "md"
    assert "left out" in result.stdout
    assert "frame 1" in result.stdout


def pwo(path):
    """Two steps as pw.x prints them; the second has no marked energy."""
    path.write_text("""
     Program PWSCF v.7.0 starts
     celldm(1)=  10.000000  celldm(2)=   0.000000
     number of atoms/cell      =            2
     number of atomic types    =            1
     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )

     site n.     atom                  positions (alat units)
         1           Si  tau(   1) = (   0.0000000   0.0000000   0.0000000  )
         2           Si  tau(   2) = (   0.4500000   0.0000000   0.0000000  )

!    total energy              =     -10.00000000 Ry

ATOMIC_POSITIONS (angstrom)
Si    0.0  0.0  0.0
Si    2.4  0.0  0.0

     convergence NOT achieved after 100 iterations: stopping
""")
