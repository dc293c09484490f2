import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.durable import unsealed
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.store import load, save
from mlffjax.structures.elements import symbols


@pytest.fixture(scope="module")
def potential():
    model = MaceModel((24, 52), MaceConfig(hidden_irreps="4x0e + 4x1o", radial_mlp=(8,), max_ell=2))
    return Potential(model.init(key=jax.random.key(3)), model)


def card_of(potential, **changes):
    return Card(
        name="test",
        elements=symbols(potential.elements),
        model=potential.model.settings,
        reference="none",
        functional="PBE",
    ).model_copy(update=changes)


def test_a_round_trip_keeps_every_bit_and_the_dtype(potential, tmp_path):
    potential = potential.replace(
        params={
            **potential.params,
            "constants": trees.cast(potential.params["constants"], jnp.float64),
        }
    )
    written = save(tmp_path / "model", potential, card_of(potential))
    again, card = load(tmp_path / "model")
    assert card == written
    assert card.checksum
    assert again.model == potential.model
    before, after = trees.names(potential.params), trees.names(again.params)
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        np.testing.assert_array_equal(after[name], array)


def test_saving_refuses_a_card_of_another_model(potential, tmp_path):
    other = dict(potential.model.settings, r_max=5.0)
    with pytest.raises(CompatibilityError, match="not the potential to be saved"):
        save(tmp_path, potential, card_of(potential, model=other))
    assert not list(tmp_path.iterdir())


def test_a_changed_weight_file_is_noticed(potential, tmp_path):
    save(tmp_path, potential, card_of(potential))
    path = tmp_path / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="sha256 differs"):
        load(tmp_path)


def test_arrays_must_fit_the_model(potential, tmp_path):
    save(tmp_path, potential, card_of(potential))
    card = unsealed(json.loads((tmp_path / "card.json").read_text()))
    card["model"]["hidden_irreps"] = "5x0e + 5x1o"
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(CompatibilityError, match=r"weights/embedding: expected \(2, 5\)"):
        load(tmp_path)


def test_cards_of_the_first_version_are_read(potential, tmp_path):
    save(tmp_path, potential, card_of(potential))
    card = unsealed(json.loads((tmp_path / "card.json").read_text()))
    del card["units"], card["reference_energies"]
    (tmp_path / "card.json").write_text(json.dumps({**card, "format_version": 1}))
    again, old = load(tmp_path)
    assert old.format_version == 1
    assert again.model == potential.model
    assert save(tmp_path / "new", again, old).format_version == 2


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda card: card.update(format_version=99), CompatibilityError, "update mlffjax"),
        (lambda card: card.update(surprise=1), ValueError, "unknown key 'surprise'"),
        (lambda card: card.update(elements=["Cr", "Xx"]), ValueError, "chemical symbols"),
        (lambda card: card.update(units={"length": "Bohr"}), ValueError, "units: expected.*Bohr"),
        (lambda card: card["reference_energies"].update(Cr=1.0), InputError, "other reference ene"),
        (lambda card: card["model"].update(kind="maze"), ValueError, "did you mean 'mace'"),
        (lambda card: card["model"].update(kind="../x"), ValueError, "not a kind"),
    ],
)
def test_a_strange_card_is_one_clear_error(potential, tmp_path, change, error, message):
    save(tmp_path, potential, card_of(potential))
    card = unsealed(json.loads((tmp_path / "card.json").read_text()))
    change(card)
    (tmp_path / "card.json").write_text(json.dumps(card))
    with pytest.raises(error, match=message):
        load(tmp_path)


def test_a_missing_or_malformed_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"card\.json"):
        load(tmp_path / "nowhere")
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(InputError, match="no JSON file"):
        load(tmp_path)
