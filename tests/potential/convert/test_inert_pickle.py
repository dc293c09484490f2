"""Pickles are data: what is plain comes back, what is code is refused, nothing is run."""

import collections
import contextlib
import importlib
import os
import pickle
import re
import subprocess

import pytest
from references import torch_archives as forge

from mlffjax.errors import InputError
from mlffjax.potential.convert.inert_pickle import Global, Inert, Rules, read_pickle

PLAIN = {
    "none": None,
    "flags": [True, False],
    "numbers": (0, 255, -1, 70_000, 2**70, -(2**70), 1.5, float("inf")),
    "texts": ["", "Å", "x" * 300],
    "tuples": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    ("a", 1): {2: {}, None: []},
}


def rules(allowed: str = r"mace(\.\w+)+") -> Rules:
    return Rules(re.compile(allowed), {"mace.double": lambda x: 2 * x}, lambda key: ("stored", key))


def read(body: bytes):
    return read_pickle(b"\x80\x02" + body + b".", rules())


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_data_come_back(protocol):
    assert read_pickle(pickle.dumps(PLAIN, protocol), rules()) == PLAIN
    if protocol > 2:  # in which bytes are a call of _codecs.encode
        data = {"bytes": b"ab", "set": {1, 2}} if protocol > 3 else b"ab"
        assert read_pickle(pickle.dumps(data, protocol), rules()) == data


def test_objects_become_records():
    block = forge.name("mace.modules", "Block") + b"I1\n\x85\x81"
    made = read(block + forge.literal({"a": 1}) + b"b")
    assert isinstance(made, Inert)
    assert (str(made.kind), made.arguments, made.state) == ("mace.modules.Block", (1,), {"a": 1})
    called = read(forge.call(forge.name("mace.modules", "make"), forge.literal(3)))
    assert (called.kind, called.arguments) == (Global("mace.modules", "make"), (3,))
    assert read(forge.call(forge.name("mace", "double"), forge.literal(3))) == 6
    assert read(forge.literal("key") + b"Q") == ("stored", "key")


def test_structures_may_contain_themselves():
    loop: list = []
    loop.append((loop, {"again": loop}))
    found = read(forge.literal(loop))
    assert found[0][0] is found
    assert found[0][1]["again"] is found


class Reduced:
    """Pickles as a call of anything."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(canary) -> dict[str, object]:
    script = f"open({str(canary)!r}, 'w')"
    touch = f"touch {canary}"
    return {
        r"(posix|nt)\.system": Reduced(os.system, touch),
        r"(subprocess|commands)\.Popen": Reduced(subprocess.Popen, ["touch", str(canary)]),
        r"eval": Reduced(eval, script),
        r"exec": Reduced(exec, script),
        r"getattr": Reduced(getattr, "x", "upper"),
        r"importlib\.import_module": Reduced(importlib.import_module, "hostile"),
        r"io\.open": Reduced(open, str(canary), "w"),
    }


@pytest.mark.parametrize("protocol", [2, 4])
def test_hostile_calls_are_refused_by_name(canary, protocol):
    for name, attack in attacks(canary).items():
        data = pickle.dumps({"weights": [1.0, attack]}, protocol)
        with pytest.raises(InputError, match=f"names '\\S*{name}"):
            read_pickle(data, rules())


def test_names_must_match_as_a_whole(canary):
    for name in (("macegic", "run"), ("os", "mace.x"), ("mace.x;os", "y"), ("", "mace.x")):
        with pytest.raises(InputError, match="no place in a model"):
            read(forge.name(*name))
    assert isinstance(read(forge.name("mace.hostile", "x")), Global)  # named, never imported


@pytest.mark.parametrize(
    "opcode", [b"(ios\nsystem\n", b"(cmace.x\ny\no", b"\x82\x01", b"Vtext\nP0\n"]
)
def test_opcodes_that_torch_does_not_write_are_refused(canary, opcode):
    with pytest.raises(InputError, match="opcode"):
        read(opcode)


def test_keys_that_are_deep_tuples_are_refused():
    # Hashing this one would overflow the stack of C and end the process.
    with pytest.raises(InputError, match="key"):
        read(b"}" + b")" + b"\x85" * 200_000 + b"Ns")
    with pytest.raises(InputError, match="key"):
        read(b"}" + forge.literal([]) + b"Ns")


def test_huge_declared_sizes_need_no_memory():
    for opcode in (b"X", b"B"):  # texts and bytes of 4 GB
        with pytest.raises(InputError, match="damaged"):
            read(opcode + b"\xff\xff\xff\xff")
    assert read(b"Nr\xff\xff\xff\xff") is None  # a memo index that makes Python ask for 64 GB


def test_calls_of_what_is_no_name_are_refused():
    for body in (b"N)R", b"cmace.x\ny\nNR", b"]Nb", b"NNa", b"(Nb", b"h\x07", b"a", b"t", b"\x87"):
        with pytest.raises(InputError, match="damaged"):
            read(body)


def test_any_damage_is_one_kind_of_error(rng):
    sound = pickle.dumps([PLAIN, collections.Counter([1, 2])], 2)
    permissive = rules(r".*")
    for _ in range(3000):
        data = bytearray(sound[: rng.integers(1, len(sound) + 1)])
        for place in rng.integers(0, len(data), rng.integers(0, 4)):
            data[place] = rng.integers(256)
        with contextlib.suppress(InputError):  # and nothing else
            read_pickle(bytes(data), permissive)
