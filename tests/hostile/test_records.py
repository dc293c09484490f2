"""Records, trajectories and reports whose files say what nobody wrote."""

import contextlib
import copy
import html.parser
import io
import json
import shutil
import zipfile

import h5py
import numpy as np
import pytest
from references.bounds import bounded, files_below, refused
from report.conftest import PROBES, write_study

from mlffjax.durable import from_json, from_npz
from mlffjax.dynamics.channels import Channel
from mlffjax.dynamics.trajectory import Writer, read
from mlffjax.errors import InputError, MlffjaxError
from mlffjax.report.document import write_report
from mlffjax.structures.system import System
from mlffjax.study.path_records import PathRecord, _Records
from mlffjax.study.records import load_study, number_or_none, read_arrays, read_json, write_json

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'`&{{7*7}}${7*7}]]>--><!--"


def npy(header: bytes, rest: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + rest


def npz(name: str, content: bytes, compression=zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def described(shape: str, kind: str = "<f8") -> bytes:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


ARRAYS = {
    "a trillion numbers": npz("a.npy", npy(described("(1000000000000,)"))),
    "numbers without end": npz("a.npy", npy(described("(1000000000000000000000000,)"))),
    "a negative shape": npz("a.npy", npy(described("(-1,)"))),
    "objects": npz("a.npy", npy(described("(1,)", "|O"), b"cos\nsystem\n(S'true'\ntR.")),
    "a header that calls": npz("a.npy", npy(b"__import__('os').system('true')\n")),
    "a deep header": npz("a.npy", npy(b"(" * 9000)),
    "a plain array": npy(described("(1,)"), bytes(8)),
    "a pickle": b"\x80\x04cos\nsystem\n.",
    "no arrays": npz("a.txt", b"text"),
    "encrypted": npz("a.npy", b"x").replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01"),
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_arrays_or_missing(tmp_path, name):
    path = tmp_path / "x.npz"
    path.write_bytes(ARRAYS[name])
    with bounded():
        assert read_arrays(path) is None


def test_bombs_of_arrays_are_refused_before_they_go_off():
    content = npz("a.npy", npy(described("(2500000,)"), bytes(20_000_000)), zipfile.ZIP_DEFLATED)
    assert len(content) < 100_000
    with bounded(), pytest.raises(ValueError, match="more than"):
        from_npz(content, limit=10_000_000)
    assert from_npz(content)["a"].size == 2_500_000


TEXTS = ["NaN", "Infinity", "-Infinity", "1e999", "[" * 100_000, '{"a": NaN}', "9" * 10_000, "\x00",
         '{"a": [1, 1e400]}', ""]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_json_holds_finite_numbers_or_is_damaged(tmp_path, text):
    with pytest.raises(ValueError):  # noqa: PT011 - json's own, or ours
        from_json(text)
    path, warnings = tmp_path / "x.json", []
    path.write_text(text)
    with bounded():
        assert read_json(path, warnings) is None
    assert warnings[0].startswith(str(path))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.float32("nan")])
def test_what_is_not_finite_is_no_number_of_a_record(tmp_path, value):
    assert number_or_none(value) is None
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "x.json", {"metrics": {"a": float(value)}})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A finished study with paths."""
    folder = tmp_path_factory.mktemp("sound") / "out"
    folder.mkdir()
    few = {name: PROBES[name] for name in ("held-out", "in-gap", "slide")}
    write_study(folder, {"scratch": (0,), "FT-600K": (0, 1)}, probes=few)
    path = PathRecord(
        name="in_gap", symbols=("Cr", "Te"), radii=(1.4, 1.4),
        cell=((4, 0, 0), (0, 4, 0), (0, 0, 4)),
        pbc=(True, True, True), images=(((0, 0, 0), (2, 2, 2)), ((0, 0, 1), (2, 2, 2))),
        arclength=(0.0, 1.0), energies=(0.0, 0.5),
    )  # fmt: skip
    write_json(folder / "structures.json", _Records(paths=(path,)))
    return folder


@pytest.fixture
def study(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "out")


def test_records_name_no_files_elsewhere(study, tmp_path):
    shutil.copytree(study / "runs" / "scratch-s0-000000000000", tmp_path / "stolen")
    info = opened(study / "study.json")
    for name in ("../../stolen", str(tmp_path / "stolen"), "..", "a/b", "a\\b"):
        (study / "study.json").write_text(json.dumps({**info, "runs": [name]}))
        with refused(InputError):
            load_study(study)
    (study / "study.json").write_text(json.dumps(info))
    record = study / "runs" / "scratch-s0-000000000000" / "records" / "in-gap.json"
    data = opened(record)
    record.write_text(json.dumps({**data, "arrays": "../../../../stolen/records/in-gap.npz"}))
    found = load_study(study)
    assert "in-gap" not in found.runs[0].probes
    assert any("in-gap.json" in warning for warning in found.warnings)


def opened(file):
    """Data of a record without its checksum, which whoever changes it would set right."""
    data = json.loads(file.read_text())
    data.pop("seal", None)
    return data


class Page(html.parser.HTMLParser):
    """What a browser would make elements and attributes of."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def texts_in(data):
    """Places of all texts in plain data, as (container, key)."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(pairs):
        if isinstance(value, str):
            yield data, key
        elif isinstance(value, dict | list):
            yield from texts_in(value)


KEPT = ("kind", "status", "id", "run", "runs", "arrays", "schema_version", "name", "path")


def test_no_text_of_a_record_becomes_markup(study):
    plain = Page(write_report(study).read_text("utf-8"))
    for file in study.rglob("*.json"):
        data = opened(file)
        for holder, key in list(texts_in(data)):
            if isinstance(key, str) and key not in KEPT:
                holder[key] += EVIL
        for keyed in ("metrics", "reasons", "units", "versions", "frames"):
            if isinstance(data.get(keyed), dict):
                extra = {"metrics": 1.0, "frames": 3}.get(keyed, EVIL)
                data[keyed][EVIL] = extra
        if file.name == "study.json":
            data["name"] = EVIL
            data["data"]["config_types"] = {EVIL: 40}
        if file.name == "structures.json":
            data["paths"][0]["name"] = EVIL
            data["paths"][0]["symbols"] = [EVIL, "Te"]
        file.write_text(json.dumps(data))
    text = write_report(study).read_text("utf-8")
    page = Page(text)
    assert page.tags.count("script") == plain.tags.count("script")
    assert set(page.tags) <= set(plain.tags) | {"p", "ul", "li", "details", "summary", "pre", "h3"}
    assert not [name for name in page.attributes if name.startswith("on")]
    assert "alert(1)" in text  # it is there, as text
    assert "<script>alert" not in text
    assert "{{7*7}}" in text or "{{7*7}}" in text.replace("&#39;", "'")
    before, _, rest = text.partition('id="panels">')
    payload = rest.partition("</script>")[0]
    json.loads(payload)
    assert before


VALUES = [None, True, -1, 0, 10**30, 1e308, "", "x", EVIL, [], {}, [[]], [None], {"a": None},
          [1, "a", None], "../../x", "é\ud800"]  # fmt: skip


def places_in(data):
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in list(pairs):
        yield data, key
        if isinstance(value, dict | list):
            yield from places_in(value)


def damage(study, rng):
    """One value of one file of the study replaced by a strange one; returns what was done."""
    files = sorted(study.rglob("*.json"))
    file = files[rng.integers(len(files))]
    data = opened(file)
    places = list(places_in(data))
    holder, key = places[rng.integers(len(places))]
    value = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[key]
    else:
        holder[key] = value
    file.write_text(json.dumps(data))
    return file, key, value


@pytest.mark.parametrize("seed", [*range(12), *(pytest.param(s, marks=pytest.mark.slow)
                                                for s in range(12, 300))])  # fmt: skip
def test_reports_of_damaged_records_are_written_or_refused(study, seed):
    rng = np.random.default_rng(seed)
    done = [damage(study, rng) for _ in range(3)]
    before = files_below(study.parent).keys()
    with contextlib.suppress(MlffjaxError):
        write_report(study)
    after = files_below(study.parent).keys()
    assert after - before <= {"out/report.html"}, done


@pytest.fixture
def trajectory(tmp_path):
    path = tmp_path / "x.h5md"
    system = System(np.zeros((2, 3)), np.array([24, 52], np.int32), np.eye(3) * 5, np.ones(3, bool))
    with Writer.open(path, system, [Channel("temperature", (), "K", 1)], {}, after_step=None) as w:
        w.append("temperature", np.arange(1, 51), np.arange(1.0, 51.0), np.full(50, 300.0))
    return path


def replaced(path, name, **choices):
    with h5py.File(path, "r+") as file:
        del file[name]
        file.create_dataset(name, **choices)


VALUE = "observables/temperature"
LIES = {
    "a trillion steps": (f"{VALUE}/step", {"shape": (10**12,), "dtype": "i8", "chunks": (1000,)}),
    "a trillion values": (f"{VALUE}/value", {"shape": (10**12,), "dtype": "f8", "chunks": (1000,)}),
    "a trillion atoms": ("mlffjax/numbers", {"shape": (10**12,), "dtype": "i4", "chunks": (1000,)}),
    "compressed zeros": (f"{VALUE}/value", {"data": np.zeros(10**6), "compression": "gzip"}),
    "text": (f"{VALUE}/step", {"data": "text"}),
    "no JSON": ("mlffjax/channels", {"data": "[" * 100_000}),
    "another file": (f"{VALUE}/value", {"shape": (50,), "dtype": "f8",
                                        "external": [("/etc/hostname", 0, 400)]}),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_trajectories_that_lie_are_refused(trajectory, name):
    place, choices = LIES[name]
    replaced(trajectory, place, **choices)
    with refused(InputError):
        np.asarray(read(trajectory)["temperature"][:])


def test_links_to_other_files_are_refused(trajectory, tmp_path):
    other = shutil.copy(trajectory, tmp_path / "other.h5md")
    with h5py.File(trajectory, "r+") as file:
        del file[VALUE]
        file[VALUE] = h5py.ExternalLink(str(other), VALUE)
    with refused(InputError):
        read(trajectory)


def test_any_damaged_trajectory_is_one_kind_of_error(trajectory, rng):
    content = trajectory.read_bytes()
    for _ in range(60):
        data = bytearray(content[: rng.integers(1, len(content) + 1)])
        for place in rng.integers(0, len(data), rng.integers(1, 8)):
            data[place] = rng.integers(256)
        trajectory.write_bytes(data)
        with contextlib.suppress(MlffjaxError):
            np.asarray(read(trajectory)["temperature"][:])
