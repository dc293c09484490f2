"""``data check`` tells what is in files, and checks the others when one is bad."""

import numpy as np
import pytest
from typer.testing import CliRunner

from mlffjax.cli import data
from mlffjax.errors import InputError
from mlffjax.structures.files import write_frames
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
