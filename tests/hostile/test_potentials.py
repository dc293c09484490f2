"""Potentials from strangers: cards, weights and checkpoints that lie about what they hold."""

import copy
import hashlib
import json
import struct

import jax
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from references import torch_archives as forge
from references import torch_checkpoint
from references.bounds import files_below, refused

import mlffjax
from mlffjax.durable import unsealed
from mlffjax.errors import CompatibilityError, InputError, MlffjaxError
from mlffjax.potential import releases
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.convert.importer import import_module
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.parts import brief
from mlffjax.potential.convert.read_torch import read
from mlffjax.potential.pair import LennardJonesModel
from mlffjax.potential.sources import mace
from mlffjax.potential.store import load, save
from mlffjax.structures.elements import symbols


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A directory with a sound potential, its card as data, and its weights."""
    folder = tmp_path_factory.mktemp("stored")
    model = LennardJonesModel(elements=(18,), cutoff=6.0)
    potential = Potential(model.init(key=jax.random.key(0)), model)
    card = Card(name="x", elements=symbols((18,)), model=model.settings, reference="none",
                functional="none")  # fmt: skip
    save(folder, potential, card)
    return (
        folder,
        unsealed(json.loads((folder / "card.json").read_text())),
        (folder / "weights.safetensors").read_bytes(),
    )


def rewritten(stored, *, card=None, weights=None, text=None):
    """The directory with other contents; the checksum is set right, as an attacker would."""
    folder, sound, data = stored
    data = data if weights is None else weights
    entries = {**(sound if card is None else card), "checksum": hashlib.sha256(data).hexdigest()}
    (folder / "weights.safetensors").write_bytes(data)
    (folder / "card.json").write_text(json.dumps(entries) if text is None else text)
    return folder


def header(entries, rest=b""):
    """A safetensors file with any header."""
    text = (entries if isinstance(entries, bytes) else json.dumps(entries).encode()) + b" "
    return struct.pack("<Q", len(text)) + text + rest


def array(dtype, shape, offsets):
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS = {
    "trillion elements": header({"a": array("F64", [10**12], [0, 8 * 10**12])}),
    "trillion elements of nothing": header({"a": array("F64", [10**12], [0, 0])}),
    "overflowing shape": header({"a": array("F64", [2**32, 2**32], [0, 0])}),
    "negative shape": header({"a": array("F64", [-1], [0, 8])}, bytes(8)),
    "negative offset": header({"a": array("F64", [1], [-8, 0])}, bytes(8)),
    "overlap": header({k: array("F64", [1], [0, 8]) for k in "ab"}, bytes(8)),
    "deep": header(b"[" * 100_000),
    "long header": struct.pack("<Q", 2**62) + b"{}",
    "no header": b"",
    "half a length": b"\x01\x00",
    "strange dtype": header({"a": array("F4", [1], [0, 8])}, bytes(8)),
    "bfloat": header({"a": array("BF16", [1], [0, 2])}, bytes(2)),
    "float of eight bits": header({"a": array("F8_E4M3", [8], [0, 8])}, bytes(8)),
    "names that are paths": header({"../../x": array("F64", [1], [0, 8])}, bytes(8)),
    "leaf and branch": header({"a": array("F64", [1], [0, 8]),
                               "a/b": array("F64", [1], [8, 16])}, bytes(16)),
    "deep name": header({"a/" * 100_000: array("F64", [1], [0, 8])}, bytes(8)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_lies_about_arrays_are_found_out(stored, name):
    before = files_below(stored[0].parent).keys()
    with refused(InputError, CompatibilityError):
        load(rewritten(stored, weights=HEADERS[name]))
    assert files_below(stored[0].parent).keys() == before


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.bool_, np.complex64])
def test_weights_are_floating_point_numbers(stored, kind):
    arrays = safetensors.numpy.load(stored[2])
    try:
        data = safetensors.numpy.save({k: v.astype(kind) for k, v in arrays.items()})
    except (KeyError, safetensors.SafetensorError):
        pytest.skip("the installed safetensors writes no such numbers")
    with refused(InputError):
        load(rewritten(stored, weights=data))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_are_finite(stored, value):
    arrays = safetensors.numpy.load(stored[2])
    name = max(arrays, key=lambda n: arrays[n].size)
    arrays[name] = np.full_like(arrays[name], value)
    with refused(InputError):
        load(rewritten(stored, weights=safetensors.numpy.save(arrays)))


def test_any_damaged_weights_are_one_kind_of_error(stored, rng):
    for _ in range(300):
        data = bytearray(stored[2][: rng.integers(1, len(stored[2]) + 1)])
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] = rng.integers(256)
        try:
            load(rewritten(stored, weights=bytes(data)))
        except MlffjaxError:
            continue


CARDS = {
    "deep": "[" * 100_000,
    "deep section": '{"a":' * 100_000,
    "not a number": '{"format_version": 2, "provenance": {"x": NaN}}',
    "beyond numbers": '{"format_version": 2, "provenance": {"x": 1e999}}',
    "many digits": '{"format_version": ' + "9" * 10_000 + "}",
    "a list": "[]",
    "nothing": "",
    "half of a character": '{"name": "\\ud800"}',
    "zeros": "\x00" * 100,
}


@pytest.mark.parametrize("name", CARDS)
def test_cards_that_are_no_cards(stored, name):
    with refused():
        load(rewritten(stored, text=CARDS[name]))


MACE = {**mace.example().model_dump(), "kind": "mace"}
MODELS = {
    "a path": {"kind": "../../x"},
    "a module": {"kind": "os"},
    "no text": {"kind": ["mace"]},
    "nothing": {},
    "a trillion channels": {**MACE, "hidden_irreps": "1000000000000x0e"},
    "many layers": {**MACE, "num_interactions": 10**9},
    "many radial functions": {**MACE, "num_bessel": 10**12},
    "wide": {**MACE, "radial_mlp": [10**12]},
    "high degrees": {**MACE, "max_ell": 6, "correlation": 3,
                     "hidden_irreps": "4x0e + 4x1o"},
    "higher degrees": {**MACE, "edge_irreps": "1x0e + 1x1000e"},
    "irreps of words": {**MACE, "hidden_irreps": "__import__"},
    "an interpreter": {"kind": "ase", "factory": "a:B", "python": "/bin/sh"},
    "an interpreter with arguments": {"kind": "ase", "factory": "a:B", "python": "python -c x"},
    "a call": {"kind": "ase", "factory": "os:system('x')"},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_that_no_card_may_ask_for(stored, canary, name):
    with refused():
        load(rewritten(stored, card={**stored[1], "model": MODELS[name]}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
IRREPS = st.text("0123456789xeo+ -", max_size=20)


@given(key=st.sampled_from(sorted(Card.model_fields)), value=values)
@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_any_entry_of_a_card_is_understood_or_refused(stored, key, value):
    try:
        load(rewritten(stored, card={**stored[1], key: value}))
    except MlffjaxError:
        return


@given(key=st.sampled_from(sorted(mace.Config.model_fields)), value=values | IRREPS)
@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_any_hyper_parameter_is_understood_or_refused(stored, key, value):
    model = {**mace.example().model_dump(mode="json"), "kind": "mace", key: value}
    with refused(within=20):  # at last because the weights are others
        load(rewritten(stored, card={**stored[1], "model": model}))


@pytest.mark.parametrize("name", ["../small", "/etc/passwd", "small/../x", "https://x/y", ""])
def test_releases_are_names_from_the_list(tmp_path, name):
    with refused(InputError):
        releases.fetch(name, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_files_of_releases_stay_in_their_folder():
    for release in releases.RELEASES.values():
        file = release.address.rpartition("/")[2]
        assert file not in ("", ".", "..")
        assert not set(file) & set("/\\?#%")
        assert release.address.startswith("https://")


# Checkpoints of torch; tests/potential/convert has the plain attacks, scripts/fuzz the long search.

DOUBLED = b")" + b"".join(
    b"q%c" % k + b"h%c" % k + b"h%c" % k + b"\x86" for k in range(60)
)  # fmt: skip
"""A tuple that holds the same tuple twice, sixty times over: its text has 2^60 parts."""
LONG = b"\x8b" + struct.pack("<i", 2**20) + b"\x7f" * 2**20  # a number of a million bytes


def tensor(**changes):
    parts = {"key": forge.literal("0"), "count": forge.literal(8), "offset": forge.literal(0),
             "shape": forge.literal((8,)), "stride": forge.literal((1,))} | changes  # fmt: skip
    stored = (
        b"(" + forge.literal("storage") + forge.name("torch", "DoubleStorage") + parts["key"]
        + forge.literal("cpu") + parts["count"] + b"tQ"
    )  # fmt: skip
    hooks = forge.call(forge.name("collections", "OrderedDict"))
    return forge.call(
        forge.name("torch._utils", "_rebuild_tensor_v2"),
        stored, parts["offset"], parts["shape"], parts["stride"], forge.literal(False), hooks,
    )  # fmt: skip


def scalar(code, order=None):
    dtype = forge.call(forge.name("numpy", "dtype"), code)
    if order is not None:
        dtype += b"(" + forge.literal(3) + order + b"tb"
    data = forge.call(
        forge.name("_codecs", "encode"), forge.literal("x" * 8), forge.literal("latin1")
    )
    return forge.call(forge.name("numpy.core.multiarray", "scalar"), dtype, data)


EXPLOSIVES = {
    "name of a storage": forge.module(buffers={"x": tensor(key=DOUBLED)}),
    "count of a storage": forge.module(buffers={"x": tensor(count=LONG)}),
    "offset": forge.module(buffers={"x": tensor(offset=LONG)}),
    "shape of tuples": forge.module(buffers={"x": tensor(shape=DOUBLED)}),
    "product of a shape": forge.module(buffers={"x": tensor(
        shape=LONG + b"q\xc8" + b"(" + b"h\xc8" * 5000 + b"t", stride=forge.literal((0,) * 5000))}),
    "codec": forge.module(attributes={"x": forge.call(
        forge.name("_codecs", "encode"), forge.literal("x"), DOUBLED)}),
    "dtype": forge.module(attributes={"x": scalar(DOUBLED)}),
    "byte order": forge.module(attributes={"x": scalar(forge.literal("f8"), DOUBLED)}),
    "names of globals": forge.module(attributes={"x": forge.name("os." + "x" * 100_000, "y")}),
    "names of parts": forge.module(buffers={"x" * 100_000: forge.literal("no tensor")}),
    "key of a dictionary": forge.module(attributes={"x": b"}" + DOUBLED + b"Ns"}),
    "kind of a module": forge.name("torch.nn", "x" * 100_000) + b")\x81"
    + forge.dictionary({"_modules": forge.dictionary({"a.b": b"N"})}) + b"b",
}  # fmt: skip


@pytest.mark.parametrize("name", EXPLOSIVES)
def test_explosives_in_a_pickle_do_not_go_off(tmp_path, name):
    path = forge.write(tmp_path / "x.pt", EXPLOSIVES[name], {"data/0": bytes(64)})
    with refused(InputError) as said:
        read(path)
    assert len(said[0]) < 1000


def test_one_module_repeated_costs_as_much_as_many(tmp_path):
    inner = forge.module(attributes={f"a{k}": b"N" for k in range(10_000)}) + b"q\xc8"
    children = {"first": inner} | {f"c{k}": b"h\xc8" for k in range(10_000)}
    path = forge.write(tmp_path / "x.pt", forge.module(children=children))
    with refused(InputError, within=20):
        read(path)


def nested(levels: int):
    value: object = Inert(Global("mace", "x"), (1,))
    for _ in range(levels):
        value = (value, value, [value], {"a": value})
    return value


def test_texts_of_anything_are_short():
    value = nested(30)
    assert len(brief(value)) <= 80
    assert len(brief(Inert(Global("mace", "X"), (value,), value))) <= 80
    assert brief(3) == "3"
    assert brief(Inert(Global("mace", "X"), ())) == "mace.X"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    path = torch_checkpoint.unpack(tmp_path_factory.mktemp("real") / "tiny.model")
    return read(path).root


STRANGE = [None, True, -1, 10**30, 1e308, float("nan"), "x", "1000000000000x0e", [], {}, nested(30),
           Global("mace", "x"), Inert(Global("mace", "x"), ()), np.zeros(0), np.array(np.nan),
           np.full((2, 2), 10**12)]  # fmt: skip


def test_any_part_of_a_real_model_may_be_strange(root, rng):
    """Of each attribute and tensor in turn, a strange value: an error of ours, or no difference."""
    places = [(path, kind, name) for path, module in root.walk()
              for kind in ("attributes", "tensors", "children")
              for name in getattr(module, kind)]  # fmt: skip
    for place in rng.choice(len(places), 40, replace=False):
        path, kind, name = places[place]
        changed = copy.deepcopy(root)
        module = dict(changed.walk())[path]
        held = getattr(module, kind)
        value = STRANGE[rng.integers(len(STRANGE))]
        del held[name]
        if rng.random() < 0.8:
            target = module.tensors if isinstance(value, np.ndarray) else module.attributes
            target[name] = value
        try:
            import_module(changed)
        except (MlffjaxError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError,
                ValueError):  # fmt: skip
            continue  # those that ``convert`` turns into InputError


def test_the_public_door_is_the_same(stored):
    with refused(InputError):
        mlffjax.load(rewritten(stored, text="["))
