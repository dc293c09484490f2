"""Images of paths come back from disk as they went there."""

import numpy as np
import pytest

from mlffjax.structures import bundled, paths
from mlffjax.study.path_records import FILE, read_paths, write_paths


@pytest.fixture(scope="module")
def path():
    (file,) = bundled.files("in_gap")
    return paths.read_path(file, "in_gap")


def test_everything_comes_back(path, tmp_path):
    write_paths({"in gap": path}, tmp_path)
    warnings: list[str] = []
    (record,) = read_paths(tmp_path, warnings)
    assert not warnings
    assert record.name == "in gap"
    assert record.symbols.count("Cr") == 1
    assert len(record.radii) == len(record.symbols)
    positions = [frame.system.positions for frame in path.frames]
    np.testing.assert_allclose(np.array(record.images), positions, atol=6e-6)  # five decimals
    np.testing.assert_allclose(np.array(record.cell), path.frames[0].system.cell, atol=6e-6)
    np.testing.assert_allclose(record.arclength, paths.arclength(path), atol=6e-6)
    labels = paths.energies(path)
    assert labels is not None
    assert record.energies is not None
    np.testing.assert_allclose(record.energies, labels, atol=6e-6)


def test_a_path_without_labels_has_no_energies(path, tmp_path):
    bare = path._replace(frames=tuple(frame._replace(energy=None) for frame in path.frames))
    write_paths({"bare": bare}, tmp_path)
    assert read_paths(tmp_path, [])[0].energies is None


def test_missing_is_silent_and_damage_is_told(tmp_path):
    warnings: list[str] = []
    assert read_paths(tmp_path, warnings) == ()
    assert not warnings
    (tmp_path / FILE).write_text('{"schema_version": 1, "paths": 3}')
    assert read_paths(tmp_path, warnings) == ()
    assert len(warnings) == 1
    assert FILE in warnings[0]
