"""Values of a file are read whatever way they are stored."""

import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.potential.convert.inert_pickle import Global, Inert
from mlffjax.potential.convert.parts import decode_irreps, encode_irreps, number, part
from mlffjax.potential.mace.irreps import Irrep


def test_irreps_are_read_from_text_and_from_records():
    def record_of(name: str, content: tuple) -> Inert:
        return Inert(Global("e3nn.o3._irreps", name), (content,))

    irreps = [record_of("Irrep", (0, 1)), record_of("Irrep", (1, -1))]
    record = record_of("Irreps", tuple(record_of("_MulIr", (4, irrep)) for irrep in irreps))
    expected = [(4, Irrep(0, 1)), (4, Irrep(1, -1))]
    assert decode_irreps(record) == decode_irreps("4x0e+4x1o") == expected
    assert encode_irreps(expected) == "4x0e + 4x1o"


@pytest.mark.parametrize("value", [3, 3.0, np.array(3), np.array([[3.0]])])
def test_numbers_may_be_stored_as_tensors(value):
    assert number(value) == 3.0


@pytest.mark.parametrize("value", ["3", None, np.ones(2)])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(CompatibilityError, match="one number"):
        number(value)


def test_missing_parts_are_named(root):
    assert part(root, "products.0.linear").kind.name == "Linear"
    with pytest.raises(CompatibilityError, match=r"no part 'products\.7\.linear'"):
        part(root, "products.7.linear")
