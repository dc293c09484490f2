"""The page about the format says what the format is."""

import json
import re
from pathlib import Path

import numpy as np
import safetensors.numpy

import mlffjax
from mlffjax import potential as package
from mlffjax.config import validate
from mlffjax.durable import SEAL
from mlffjax.potential.card import FORMAT_VERSION, Card
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.store import CARD, WEIGHTS, model_of

PAGE = (Path(package.__path__[0]) / "FORMAT.md").read_text(encoding="utf-8")


def block(language):
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_every_entry_of_a_card_is_explained():
    entries = re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert [name for name, _ in entries] == list(json.loads(block("json")))
    assert {name for name, _ in entries} == set(Card.model_fields)
    assert f"format version {FORMAT_VERSION}" in PAGE


def test_the_card_on_the_page_is_one():
    card = validate(json.loads(block("json")), Card, where="the page")
    model = model_of(card)
    assert isinstance(model, MaceModel)
    assert model.config.r_max == 6.0
    assert card.format_version == FORMAT_VERSION


def test_the_program_on_the_page_runs_and_writes_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(block("python"), {})
    written = tmp_path / "my-potential"
    assert sorted(path.name for path in written.iterdir()) == [CARD, WEIGHTS]
    assert CARD in PAGE
    assert WEIGHTS in PAGE
    arrays = safetensors.numpy.load_file(written / WEIGHTS)
    assert {name.split("/")[0] for name in arrays} == {"weights", "constants"}
    entries = json.loads((written / CARD).read_text(encoding="utf-8"))
    assert set(entries) == {*Card.model_fields, SEAL}
    assert f"`{SEAL}`" in PAGE
    stated = [entries["reference_energies"][symbol] for symbol in entries["elements"]]
    np.testing.assert_array_equal(stated, arrays["constants/atomic_energies"].astype(float))
    assert mlffjax.load(written)[1].checksum == entries["checksum"]
