"""Viewers of paths: complete, thinned where they would be too large, readable as XYZ."""

import io

import ase.io
import numpy as np
import pytest

from mlffjax.report import structures
from mlffjax.structures import bundled, paths
from mlffjax.study.path_records import FILE, write_paths
from mlffjax.study.records import load_study


@pytest.fixture(scope="module")
def path():
    (file,) = bundled.files("in_gap")
    return paths.read_path(file, "in_gap")


def test_a_study_without_paths_has_no_viewer(study):
    records = load_study(study)
    assert structures.blocks(records) == ()
    assert structures.damage(records) == ()


def test_every_image_is_there_and_the_xyz_is_read_by_ase(study, path):
    write_paths({"in gap": path, "again": path}, study)
    first, second = structures.blocks(load_study(study))
    assert first.kinds == second.kinds
    assert len({kind["color"] for kind in first.kinds}) == 3
    read = list(ase.io.iread(io.StringIO(first.xyz), format="extxyz"))
    assert len(read) == len(path.frames) == len(first.labels)
    for atoms, frame in zip(read, path.frames, strict=True):
        np.testing.assert_array_equal(atoms.numbers, frame.system.numbers)
        np.testing.assert_allclose(atoms.positions, frame.system.positions, atol=6e-6)
        np.testing.assert_allclose(atoms.cell.array, frame.system.cell, atol=6e-6)
    drawn = structures.describe(first)
    assert [drawn["kinds"][k]["symbol"] for k in drawn["elements"]] == read[
        0
    ].get_chemical_symbols()


def test_large_paths_are_thinned_and_it_is_said(study, path, monkeypatch):
    write_paths({"in gap": path}, study)
    atoms = len(path.frames[0].system.numbers)
    monkeypatch.setattr(structures, "LARGEST", 3 * atoms)
    (block,) = structures.blocks(load_study(study))
    assert [label.split()[0] for label in block.labels] == ["1", "5", "9"]
    assert "3 of 9 images" in block.caption
    monkeypatch.setattr(structures, "LARGEST", atoms - 1)
    assert structures.blocks(load_study(study)) == ()
    assert "in gap" in structures.damage(load_study(study))[0]


def test_damage_is_told(study):
    (study / FILE).write_text("{")
    assert FILE in structures.damage(load_study(study))[0]


def test_many_elements_have_distinct_colors():
    assert len({structures._color(place) for place in range(40)}) == 40
