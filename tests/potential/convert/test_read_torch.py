"""Archives of torch: sound ones are read exactly, all others end in one clear error."""

import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from references import torch_archives as forge

from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential.convert.read_torch import read

EIGHT = np.arange(8.0)


def encoded(text: str, codec: str) -> bytes:
    """Bytes, as protocol 2 writes them."""
    return forge.call(forge.name("_codecs", "encode"), forge.literal(text), forge.literal(codec))


def with_tensor(path: Path, tensor: bytes, data: bytes = EIGHT.tobytes(), **entries: bytes) -> Path:
    body = forge.module(buffers={"x": tensor})
    return forge.write(path, body, {"data/0": data, "byteorder": b"little", **entries})


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("Double", np.array([1.5, -0.1])),
        ("Float", np.array([1.5, -0.1], np.float32)),
        ("Half", np.array([1.5, -0.1], np.float16)),
        ("Long", np.array([2**40, -1])),
        ("Int", np.array([2**20, -1], np.int32)),
        ("Bool", np.array([True, False])),
    ],
)
def test_numbers_are_read_exactly(tmp_path, kind, values, order):
    data = values.astype(values.dtype.newbyteorder("<" if order == "little" else ">")).tobytes()
    tensor = forge.tensor(forge.storage("0", 2, kind=kind), (2,), (1,))
    path = with_tensor(tmp_path / "x.pt", tensor, data, byteorder=order.encode())
    found = read(path).root.tensors["x"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("order", ["<", ">"])
def test_bfloat16_becomes_float32(tmp_path, order):
    data = np.array([0x3FC0, 0xC000, 0x7F80], f"{order}u2").tobytes()
    tensor = forge.tensor(forge.storage("0", 3, kind="BFloat16"), (3,), (1,))
    name = b"little" if order == "<" else b"big"
    found = read(with_tensor(tmp_path / "x.pt", tensor, data, byteorder=name)).root.tensors["x"]
    assert found.dtype == np.float32
    assert found.tolist() == [1.5, -2.0, float("inf")]


@pytest.mark.parametrize(
    ("shape", "stride", "offset", "expected"),
    [
        ((2, 4), (4, 1), 0, EIGHT.reshape(2, 4)),
        ((4, 2), (1, 4), 0, EIGHT.reshape(2, 4).T),
        ((2, 3), (0, 1), 5, np.array([EIGHT[5:], EIGHT[5:]])),
        ((), (), 7, np.array(7.0)),
        ((0, 3), (3, 1), 0, np.zeros((0, 3))),
    ],
)
def test_views_are_copied_out_of_storages(tmp_path, shape, stride, offset, expected):
    tensor = forge.tensor(forge.storage("0", 8), shape, stride, offset=offset)
    found = read(with_tensor(tmp_path / "x.pt", tensor)).root.tensors["x"]
    np.testing.assert_array_equal(found, expected)


def test_modules_are_a_tree_of_names(tmp_path):
    tensor = forge.tensor(forge.storage("0", 8), (8,), (1,))
    scalar = forge.call(
        forge.name("numpy.core.multiarray", "scalar"),
        forge.call(forge.name("numpy", "dtype"), *map(forge.literal, ("f8", False, True))),
        encoded("\0\0\0\0\0\0\xf8?", "latin1"),
    )
    weights = {"w": tensor, "none": b"N"}
    inner = forge.module(kind="Inner", buffers=weights, attributes={"n": scalar})
    path = tmp_path / "x.pt"
    body = forge.module(children={"a": inner, "act": b"N"}, attributes={"held": tensor})
    root = read(forge.write(path, body, {"data/0": EIGHT.tobytes()})).root
    assert list(root.named_tensors()) == ["held", "a.w"]
    kinds = {name: module.kind.name for name, module in root.walk()}
    assert kinds == {"": "Linear", "a": "Inner"}
    assert root.children["a"].attributes == {"n": 1.5}


def test_a_file_of_mace_torch_is_read_without_importing_it(canary, stored):
    file = read(stored)
    assert str(file.root.kind) == "mace.modules.models.ScaleShiftMACE"
    assert file.archive_version == "3"
    tensors = file.root.named_tensors()
    assert tensors["atomic_numbers"].tolist() == [24, 51, 52]
    assert tensors["interactions.1.linear.weight"].shape == (7 * 4 * 4,)


def storage_of(count: object, kind: str = "Double", key: object = "0") -> bytes:
    return forge.tensor(forge.storage(key, count, kind=kind), (1,), (1,))


TENSORS = {
    "missing storage": (storage_of(8, key="7"), "storage '7' is missing"),
    "storage outside the folder": (storage_of(8, key="../data.pkl"), "missing"),
    "storage of another size": (storage_of(9), "64 bytes, but 9 values"),
    "storage of huge size": (storage_of(2**62), "64 bytes, but"),
    "storage of negative size": (storage_of(-8), "unknown kind"),
    "storage of unknown numbers": (storage_of(8, kind="Quaternion"), "unknown kind"),
    "key that is no name": (storage_of(8, key=["0"]), "missing"),
    "view beyond the end": (forge.tensor(forge.storage("0", 8), (9,), (1,)), "outside"),
    "offset beyond the end": (forge.tensor(forge.storage("0", 8), (1,), (1,), offset=8), "outside"),
    "negative offset": (forge.tensor(forge.storage("0", 8), (1,), (1,), offset=-1), "natural"),
    "negative stride": (forge.tensor(forge.storage("0", 8), (2,), (-1,)), "natural"),
    "stride that is no number": (forge.tensor(forge.storage("0", 8), (2,), (1.0,)), "natural"),
    "stride of huge size": (forge.tensor(forge.storage("0", 8), (1,), (2**80,)), "natural"),
    "too few strides": (forge.tensor(forge.storage("0", 8), (2, 2), (1,)), "2 dimensions"),
    "repeated without end": (forge.tensor(forge.storage("0", 8), (2**50,), (0,)), "limit"),
    "no storage": (forge.tensor(b"N", (1,), (1,)), "no storage"),
    "no arguments": (forge.call(forge.name("torch._utils", "_rebuild_tensor_v2")), "damaged"),
    "strange bytes": (encoded("a", "zlib"), "latin1"),
    "strange identifier": (b"NQ", "damaged"),
    "text instead of a tensor": (forge.literal("x"), "neither tensor nor module"),
}  # fmt: skip


@pytest.mark.parametrize("case", TENSORS)
def test_bad_tensors_are_refused(tmp_path, case):
    tensor, message = TENSORS[case]
    path = with_tensor(tmp_path / "bad.pt", tensor)
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


CALLS = [("os", "system"), ("builtins", "eval"), ("torch", "load"), ("torch.hub", "load"),
         ("torch._utils", "_rebuild_wrapper_subclass"), ("hostile", "x"), ("mace", "")]  # fmt: skip


@pytest.mark.parametrize(("module", "function"), CALLS)
def test_names_outside_the_list_are_refused(tmp_path, canary, module, function):
    attack = forge.call(forge.name(module, function), forge.literal(f"touch {canary}"))
    path = forge.write(tmp_path / "bad.pt", forge.module(attributes={"x": attack}))
    with pytest.raises(InputError, match=f"names '{module}.{function}'"):
        read(path)


def test_calls_of_listed_names_are_not_made(tmp_path, canary):
    attack = forge.call(forge.name("torch.nn.functional", "hostile"), forge.literal("x"))
    tracer = forge.call(
        forge.name("torch.fx.graph_module", "reduce_graph_module"),
        forge.dictionary({"_modules": b"}", "_code": forge.literal(f"open({str(canary)!r}, 'w')")}),
        forge.literal("import hostile"),
    )
    body = forge.module(children={"graph": tracer}, attributes={"x": attack})
    path = forge.write(tmp_path / "x.pt", body)
    assert str(read(path).root.attributes["x"].kind) == "torch.nn.functional.hostile"


def test_modules_that_contain_themselves_are_refused(tmp_path):
    own = forge.name("torch.nn", "M") + b")\x81q\x09"
    state = forge.dictionary({"_modules": forge.dictionary({"again": b"h\x09"})})
    with pytest.raises(InputError, match="contained itself"):
        read(forge.write(tmp_path / "bad.pt", own + state + b"b"))


def test_modules_that_multiply_are_refused(tmp_path):
    body = forge.module() + b"q\x00"
    for k in range(30):  # each holds the one before twice: 2^30 names
        twice = forge.dictionary({"a": f"h{chr(k)}".encode(), "b": f"h{chr(k)}".encode()})
        body += b"0" + forge.name("torch.nn", "M") + b")\x81"
        body += forge.dictionary({"_modules": twice}) + b"bq" + bytes([k + 1])
    with pytest.raises(InputError, match="more than 20000"):
        read(forge.write(tmp_path / "bad.pt", body))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 0.99, 0.9999])
def test_truncated_files_are_refused(tmp_path, stored, share):
    data = stored.read_bytes()
    path = tmp_path / "cut.model"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"truncated|expected a model file"):
        read(path)


def test_flipped_bits_are_noticed(tmp_path, stored, rng):
    data = bytearray(stored.read_bytes())
    with zipfile.ZipFile(stored) as archive:
        info = max(archive.infolist(), key=lambda info: info.file_size)
    data[info.header_offset + 200 + info.file_size // 2] ^= 1
    path = tmp_path / "flipped.model"
    path.write_bytes(data)
    with pytest.raises(InputError, match="CRC"):
        read(path)


def test_bombs_are_refused_before_they_go_off(tmp_path):
    # 64 MB of zeros in 64 kB
    tensor = forge.tensor(forge.storage("0", 2**23), (2**23,), (1,))
    entries = {"data/0": bytes(2**26)}
    path = tmp_path / "bomb.pt"
    body = forge.module(buffers={"x": tensor})
    forge.write(path, body, entries, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    with pytest.raises(InputError, match="limit of 1000000 bytes"):
        read(path, limit=1_000_000)
    with pytest.raises(InputError, match=r"it has .* bytes, more than the limit of 1000"):
        read(path, limit=1000)
    pickled = forge.literal("x" * 2**25)
    forge.write(path, pickled, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match=r"data\.pkl has .* bytes"):
        read(path)


def test_bombs_that_understate_their_size_are_refused(tmp_path):
    tensor = forge.tensor(forge.storage("0", 8), (8,), (1,))
    path = tmp_path / "bomb.pt"
    body = forge.module(buffers={"x": tensor})
    forge.write(path, body, {"data/0": bytes(2**20)}, compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 2**20), struct.pack("<L", 64)))
    with pytest.raises(InputError, match="CRC"):
        read(path)


def test_many_tensors_of_one_storage_are_bounded(tmp_path):
    tensor = forge.tensor(forge.storage("0", 8), (1000,), (0,))
    path = tmp_path / "many.pt"
    body = forge.module(buffers={f"x{k}": tensor for k in range(20)})
    forge.write(path, body, {"data/0": EIGHT.tobytes()})
    assert len(read(path, limit=20 * 8000).root.tensors) == 20
    with pytest.raises(InputError, match="tensors need more than the limit"):
        read(path, limit=20 * 8000 - 1)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "model/../../evil", "C:\\evil", "model\\evil"]
)
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path, name):
    path = tmp_path / "inner" / "bad.pt"
    path.parent.mkdir()
    forge.write(path, forge.module())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    with pytest.raises(InputError, match="lead out of the archive"):
        read(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["bad.pt", "inner"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_repeated_names_are_refused(tmp_path):
    path = forge.write(tmp_path / "bad.pt", forge.module(), {"data/0": b"1", "version": b"3"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{forge.ROOT}/data/0", b"2")
    with pytest.raises(InputError, match="repeat"):
        read(path)


def test_other_files_are_told_apart(tmp_path):
    weights = {"a.weight": forge.tensor(forge.storage("0", 8), (8,), (1,))}
    entries = {"data/0": EIGHT.tobytes()}
    path = tmp_path / "x.pt"
    forge.write(path, forge.dictionary(weights), entries)
    with pytest.raises(CompatibilityError, match="state dictionary"):
        read(path)
    forge.write(path, forge.literal([1, 2]))
    with pytest.raises(CompatibilityError, match="holds no module"):
        read(path)
    forge.write(path, forge.module(), {"code/x.py": b"", "constants.pkl": b""})
    with pytest.raises(CompatibilityError, match="TorchScript"):
        read(path)
    forge.write(path, forge.module(), {"byteorder": b"middle"})
    with pytest.raises(InputError, match="byte order is 'middle'"):
        read(path)
    path.write_bytes(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02M\xe9\x03.")
    with pytest.raises(CompatibilityError, match=r"before 1\.6"):
        read(path)
    path.write_text("something else")
    with pytest.raises(InputError, match="expected a model file"):
        read(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "x")
    with pytest.raises(InputError, match="not one of torch"):
        read(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model/data.pkl", b"x" * 1000)
    with pytest.raises(InputError, match="compressed"):
        read(path)
    with pytest.raises(InputError, match="No such file"):
        read(tmp_path / "absent.model")
