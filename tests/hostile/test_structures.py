"""Files of structures that are damaged, absurd or hostile end in one error that names the frame."""

import gzip
import json
import string

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from references.bounds import bounded, files_below, refused

from mlffjax.errors import InputError, MlffjaxError
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.paths import read_path

HEADER = 'Lattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3:REF_forces:R:3 pbc="T T T"'
ATOMS = "Cu 0 0 0 0.5 0 0\nCu 2.5 0 0 -0.5 0 0\n"
GOOD = f"2\n{HEADER} REF_energy=-7.0\n{ATOMS}"
NUMBERS = ["nan", "inf", "-inf", "1e308", "-1e308", "1e-308", "1e999", "0", "-0", "1e20", "0x10",
           "1_0", "٣", "1.2.3", "--1", "", "True", "9" * 5000, "1e3", "1d3"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("structures")


def read(folder, text, name="x.xyz"):
    """The frames, or None where they are refused as promised."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        frames = read_frames(path)
    except MlffjaxError as error:
        return None if str(error).startswith(str(path)) else pytest.fail(str(error))
    for frame in frames:  # what is let in can be computed with
        system = frame.system
        assert system.positions.shape == (len(system.numbers), 3)
        for values in (system.positions, system.cell, frame.energy, frame.forces, frame.stress):
            assert values is None or np.isfinite(values).all()
        assert frame.forces is None or frame.forces.shape == system.positions.shape
        json.dumps(frame.info)
    return frames


BOMBS = {
    "huge count": f"1000000000000\n{HEADER}\n{ATOMS}",
    "huger count": "9" * 5000 + f"\n{HEADER}\n{ATOMS}",
    "count of superscripts": f"²\n{HEADER}\n{ATOMS}",
    "negative count": f"-1\n{HEADER}\n{ATOMS}",
    "huge columns": GOOD.replace("REF_forces:R:3", "REF_forces:R:1000000000000"),
    "huge columns with underscores": GOOD.replace("forces:R:3", "forces:R:1_000_000_000_000"),
    "huge columns in quotes": GOOD.replace("Properties=species:S:1:pos:R:3:REF_forces:R:3",
                                          'Properties = "species:S:1:pos:R:3:x: R : 10000000000"'),
    "huge columns without atoms": "0\nProperties=species:S:1:pos:R:3:x:R:1000000000000\n",
    "deep JSON in quotes": GOOD.replace("REF_energy=-7.0", 'note="_JSON ' + "[" * 100_000 + '"'),
    "many keys": GOOD.replace("REF_energy=-7.0", "REF_energy=-7 " + "=" * 100_000),
    "huge array": GOOD.replace("REF_energy=-7.0", 'REF_energy="' + "1 " * 200_000 + '"'),
    "zeros": b"\x00" * 100_000,
    "no end of line": b"2" * 3_000_000,
    "not UTF-8": GOOD.encode() + b"\xff\xfe",
    "lattice of nothing": GOOD.replace("6 0 0 0 6 0 0 0 6", ""),
    "lattice of words": GOOD.replace("6 0 0 0 6 0 0 0 6", "a b c d e f g h i"),
    "lattice of two rows": GOOD.replace("6 0 0 0 6 0 0 0 6", "6 0 0 0 6 0"),
    "twice the positions": GOOD.replace("REF_forces:R:3", "pos:R:3"),
    "no positions": GOOD.replace("pos:R:3:", "x:R:3:"),
    "energy that is a flag": GOOD.replace("REF_energy=-7.0", "REF_energy=T"),
    "forces that are flags": GOOD.replace("REF_forces:R:3", "REF_forces:L:3"),
    "element that is a number": GOOD.replace("Cu 0", "0 0"),
    "element from nowhere": GOOD.replace("Cu 0", "__class__ 0"),
    "pbc of words": GOOD.replace("T T T", "perhaps"),
    "pbc of five": GOOD.replace("T T T", "T T T T T"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_do_not_go_off(folder, name):
    path = folder / "bomb.xyz"
    content = BOMBS[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(InputError, within=10) as said:
        read_frames(path)
    assert said[0].startswith(str(path))


ODD = {
    "deep JSON": GOOD.replace("REF_energy=-7.0", "REF_energy=-7.0 note=_JSON" + "[" * 100_000),
    "deep braces": GOOD.replace("REF_energy=-7.0", "REF_energy=-7.0 note=" + "{" * 100_000),
    "backslashes": GOOD.replace("REF_energy=-7.0", 'REF_energy=-7.0 note="' + "\\" * 100_000),
    "positions that are text": GOOD.replace("pos:R:3", "pos:S:3"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_texts_change_no_numbers(folder, name):
    with bounded():
        frames = read(folder, ODD[name])
    assert frames is None or (frames[0].energy == -7.0 and len(frames[0].system.numbers) == 2)


@pytest.mark.parametrize("text", ["f f f", "no", "[T, T, F]", "T T", "T T T T", "yes", "2 0 0"])
def test_periods_are_not_guessed(folder, text):
    with refused(InputError):
        path = folder / "pbc.xyz"
        path.write_text(GOOD.replace("T T T", text))
        read_frames(path)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [('"T F T"', [1, 0, 1]), ("F", [0, 0, 0]), ("T", [1, 1, 1]), ('"1 0 0"', [1, 0, 0]),
     ('"True False True"', [1, 0, 1]), ("{T T F}", [1, 1, 0]), ('"false true true"', [0, 1, 1])],
)  # fmt: skip
def test_periods_are_read_as_written(folder, text, wanted):
    frames = read(folder, GOOD.replace('"T T T"', text))
    assert frames is not None
    assert frames[0].system.pbc.tolist() == [bool(flag) for flag in wanted]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "place", ["-7.0", "2.5", "0.5 0 0\n", "6 0 0 0 6 0 0 0 6", "order=", "REF_stress="]
)
def test_odd_numbers_are_understood_or_refused(folder, place, number):
    text = GOOD.replace(" REF_energy", f' REF_stress="{number} 0 0 0 0 0 0 0 0" order=1 REF_energy')
    if not place.startswith("REF_stress"):
        text = GOOD.replace(" REF_energy", " order=1 REF_energy")
    old, new = {"order=": ("order=1", f"order={number}"),
                "0.5 0 0\n": (place, f"{number} 0 0\n"),
                "6 0 0 0 6 0 0 0 6": (place, f"{number} 0 0 0 6 0 0 0 6")}.get(
        place, (place, number))  # fmt: skip
    with bounded():
        read(folder, text.replace(old, new, 1))


def test_a_zero_of_the_lattice_or_a_giant_is_no_cell(folder):
    assert read(folder, GOOD.replace('"6 0 0', '"1e-300 0 0')) is None
    frames = read(folder, GOOD.replace('"6 0 0', '"1e6 0 0'))
    assert frames is None or frames[0].system.cell[0, 0] == 1e6


pieces = st.sampled_from(
    ["Lattice=", "Properties=", "species:S:1", "pos:R:3", "pbc=", '"', "'", "{", "}", "[", "]", "=",
     " ", "\n", "\t", "T", "F", "_JSON", "REF_energy=", "energy=", "forces:R:3", "Z:I:1", ":", "\\",
     "2\n", "Cu ", "0 0 0\n", "1e999", "nan", "\x00", "\x1b[31m", "é", "REF_virials=", "stress=",
     "frame_id=", "config_type=", "group=", "image=", "%PBC", "VEC1 ", "calc=", "numbers:I:1"]
)  # fmt: skip


@given(where=st.integers(0, len(GOOD)), cut=st.integers(0, 30), new=st.lists(pieces, max_size=6))
@example(where=0, cut=2, new=["0\n"])
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_edit_is_read_or_refused(folder, where, cut, new):
    read(folder, GOOD + GOOD[:where].replace("2.5", "2.6") + "".join(new) + GOOD[where + cut :])


@given(text=st.binary(max_size=200) | st.text(string.printable, max_size=200))
@settings(max_examples=150, deadline=None)
@pytest.mark.parametrize("name", ["x.xyz", "x.traj", "x.json", "x.cif", "x.vasp", "x.xyz.gz", "x"])
def test_any_content_is_read_or_refused(folder, name, text):
    read(folder, text, name)


@pytest.mark.parametrize("name", ["a.traj", "a.json", "a.cif", "POSCAR", "a.xyz.gz"])
def test_damaged_files_of_other_formats_are_refused(folder, rng, name):
    write(folder / name, bulk("Cu", cubic=True))
    sound = (folder / name).read_bytes()
    for _ in range(25):
        data = bytearray(sound[: rng.integers(1, len(sound) + 1)])
        for place in rng.integers(0, len(data), rng.integers(0, 6)):
            data[place] = rng.integers(256)
        read(folder, bytes(data), name)


def test_names_in_a_file_name_no_file(folder):
    inner = folder / "inner"
    inner.mkdir()
    path = inner / "x.xyz"
    names = 'frame_id="../../evil" config_type="/etc/evil" group="../evil" pickle=@../x'
    path.write_text(GOOD.replace("REF_energy", f"{names} REF_energy"))
    before = files_below(folder)
    frames = read_frames(path)
    assert frames[0].identifier == "../../evil"
    write_frames(inner / "y.xyz", frames)
    assert read_frames(inner / "y.xyz")[0].identifier == "../../evil"
    (inner / "y.xyz").unlink()
    assert files_below(folder) == before


def test_a_compressed_file_cannot_be_longer_than_memory(folder):
    path = folder / "bomb.xyz.gz"
    with gzip.GzipFile(path, "wb") as file:
        file.write(b"2\n")
        for _ in range(300):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    with refused(InputError, within=20):
        read_frames(path)


@pytest.mark.parametrize("key", ["image", "order"])
@pytest.mark.parametrize("value", ["nan", "inf", "T", "x", "[1,2]", "1e999"])
def test_images_without_a_place_are_refused(folder, key, value):
    path = folder / "path.xyz"
    images = [GOOD.replace("REF_energy", f"{key}={k} REF_energy").replace("2.5", f"2.{k}")
              for k in (1, 2, 3)]  # fmt: skip
    images[1] = images[1].replace(f"{key}=2", f"{key}={value}")
    path.write_text("".join(images))
    with refused(InputError):
        read_path(path, "x")
