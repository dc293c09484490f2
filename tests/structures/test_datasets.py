from pathlib import Path

import numpy as np
import pytest

from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.structures.datasets import DataConfig, expand, isolated_energies, load
from mlffjax.structures.files import read_frames

HEADER = 'Lattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3:REF_forces:R:3 pbc="T T T"'


def text(distance: float, energy: float | str = -7.0, **entries) -> str:
    extra = " ".join(f'{key}="{value}"' for key, value in entries.items())
    label = "" if energy == "" else f"REF_energy={energy}"
    return f"2\n{HEADER} {label} {extra}\nCu 0 0 0 0.5 0 0\nCu {distance} 0 0 -0.5 0 0\n"


def atom(energy: float | str, symbol: str = "Cu") -> str:
    return (
        "1\nProperties=species:S:1:pos:R:3 config_type=IsolatedAtom "
        f'REF_energy={energy} pbc="F F F"\n{symbol} 0 0 0\n'
    )


def config(*files: str) -> DataConfig:
    return DataConfig(files=files, reference="EMT", functional="none")


def test_frames_and_isolated_atoms(tmp_path):
    (tmp_path / "a.xyz").write_text(text(2.5) + atom(-1.5) + text(2.6))
    dataset = load(config("*.xyz"), tmp_path)
    assert len(dataset.frames) == 2
    assert dataset.isolated == {29: -1.5}
    assert dataset.reference == "EMT"


def test_digest_follows_content_and_not_place(tmp_path):
    for folder in ("here", "there", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.xyz").write_text(text(2.5) + text(2.6))
    (tmp_path / "other" / "a.xyz").write_text(text(2.5) + text(2.6, energy=-7.001))
    digests = [load(config("a.xyz"), tmp_path / name).digest for name in ("here", "there", "other")]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 16


def test_files_of_one_name_are_different_trajectories(tmp_path):
    for k, folder in enumerate(("300K", "600K")):
        (tmp_path / "runs" / folder).mkdir(parents=True)
        (tmp_path / "runs" / folder / "md.xyz").write_text(text(2.5 + k / 10))
    dataset = load(config("runs/**/*.xyz"), tmp_path)
    assert [frame.trajectory for frame in dataset.frames] == ["300K/md/Default", "600K/md/Default"]


def test_bundled_frames_load():
    dataset = load(
        config("bundled:cr_sb2te3_pbe/md_*.xyz", "bundled:cr_sb2te3_pbe/isolated_atoms.xyz"), Path()
    )
    assert sorted(dataset.isolated) == [24, 51, 52]
    assert all(frame.stress is not None for frame in dataset.frames)


def test_patterns_that_overlap_give_each_file_once(tmp_path):
    for name in ("b.xyz", "a.xyz"):
        (tmp_path / name).write_text(text(2.5))
    paths = expand(["b.xyz", "*.xyz"], tmp_path)
    assert [path.name for path in paths] == ["b.xyz", "a.xyz"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.xyz": text(2.5, energy="")}, "a.xyz frame 0: .*REF_energy"),
        ({"a.xyz": text(2.5).replace("REF_forces", "other")}, "a.xyz frame 0: .*REF_forces"),
        ({"a.xyz": text(2.5) + text(2.5)}, "a.xyz frame 1: .*distinct structures.*a.xyz frame 0"),
        ({"a.xyz": text(2.5), "b.xyz": text(2.5)}, "b.xyz frame 0: .*distinct.*a.xyz frame 0"),
        ({"a.xyz": text(2.5, -81.0) + text(2.6, -81.0 / 27.2114)}, "eV and hartree"),
        ({"a.xyz": atom(-1.0)}, "isolated atoms only"),
        ({"a.xyz": text(2.5, config_type="IsolatedAtom")}, "expected one atom"),
        ({"b.abc": ""}, r"\*.xyz: expected at least one file"),
    ],
)
def test_sets_that_cannot_be_used(tmp_path, files, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load(config("*.xyz"), tmp_path)


def test_a_set_without_forces_loads_if_asked(tmp_path):
    (tmp_path / "a.xyz").write_text(text(2.5).replace("REF_forces", "other"))
    assert load(config("a.xyz"), tmp_path, forces=False).frames[0].forces is None


def test_two_energies_of_one_atom_contradict(tmp_path):
    (tmp_path / "a.xyz").write_text(atom(-1.5) + atom(-1.5004) + atom(-3.1, "Ni"))
    frames = read_frames(tmp_path / "a.xyz")
    assert isolated_energies(frames) == {28: -3.1, 29: -1.5}
    (tmp_path / "b.xyz").write_text(atom(-1.7))
    with pytest.raises(
        CompatibilityError, match=r"b.xyz frame 0: .*isolated Cu atom.*a.xyz frame 0"
    ):
        isolated_energies([*frames, *read_frames(tmp_path / "b.xyz")])


def test_isolated_atom_without_energy(frame):
    lone = frame(
        energy=None, forces=None, config_type="IsolatedAtom", numbers=np.array([29], np.int32)
    )
    with pytest.raises(InputError, match="REF_energy"):
        isolated_energies([lone])


def test_a_missing_file_suggests_the_nearest(tmp_path):
    (tmp_path / "md_300K.xyz").write_text(text(2.5))
    with pytest.raises(InputError, match=r"md_300.xyz: .*nearest names: md_300K.xyz"):
        expand(["md_300.xyz"], tmp_path)
    with pytest.raises(ConfigError, match="no asset"):
        expand(["bundled:nothing.xyz"], tmp_path)
