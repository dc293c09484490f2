"""Models go to mace-jax and come back as the same functions, through its own files too."""

import json
import pickle

import jax
import numpy as np
import pytest
from references import mace_torch_peer as peer

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError, MissingExtra
from mlffjax.graphs.batching import build
from mlffjax.potential import mace_jax_model, store
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.convert import mace_jax_bundle as bundles
from mlffjax.potential.convert.mace_jax_names import from_mace, to_mace
from mlffjax.potential.derivatives import predict
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase

SMALL = {"r_max": 4.0, "num_bessel": 4, "max_ell": 2, "correlation": 2, "radial_mlp": (6,),
         "hidden_irreps": "4x0e + 4x1o", "mlp_irreps": "4x0e"}  # fmt: skip
TOLERANCE = 1e-8
"""mace-jax adds 1e-9 Å to the length by which it divides edge vectors; 1e-11 to 1e-9 is seen."""
VARIANTS = {
    "published": {"correlation": 3, "hidden_irreps": "4x0e + 4x1o + 4x2e"},
    "one_layer": {"num_interactions": 1, "hidden_irreps": "4x0e"},
    "core": {
        "distance_transform": "Agnesi",
        "pair_repulsion": True,
        "interaction": "RealAgnosticDensityResidual",
        "interaction_first": "RealAgnosticDensity",
    },
    "plain": {
        "interaction": "RealAgnostic",
        "use_agnostic_product": True,
        "use_last_readout_only": True,
    },
    "edges": {"edge_irreps": "3x0e + 3x1o"},
}


@pytest.fixture(autouse=True, scope="module")
def _installed():
    try:
        mace_jax_model.require()
    except MissingExtra as missing:
        pytest.skip(str(missing))


def ours(variant, elements=(24, 51, 52), seed=0):
    """A MACE with random weights and constants that are not neutral; float64."""
    model = MaceModel(elements, MaceConfig(**(SMALL | VARIANTS[variant])))
    params = trees.cast(model.init(key=jax.random.key(seed)), np.float64)
    constants = jax.tree.map(lambda leaf: np.round(np.asarray(leaf), 6), params["constants"])
    constants = {
        **constants,
        "atomic_energies": -np.linspace(1, 2, len(elements)),
        "scale": np.array(0.8),
        "shift": np.array(0.2),
        "average_neighbors": np.array(7.0),
        "bessel_frequencies": np.linspace(0.7, 3.1, 4),
    }
    return Potential({"weights": params["weights"], "constants": constants}, model)


def assert_same(potential, other, tolerance):
    """Energies, forces and stress of two potentials, relative to the largest."""
    systems = [from_ase(atoms) for atoms in peer.structures().values()]
    graph = build(systems, potential.elements, potential.cutoff, dtype=np.float64)
    found = [jax.jit(predict)(each, graph) for each in (potential, other)]
    for name in ("energy", "atomic_energies", "forces", "stress"):
        one, two = (np.asarray(getattr(each, name)) for each in found)
        assert np.abs(one - two).max() <= tolerance * np.abs(one).max(), name
    references = [p.model.reference_energies(p.params) for p in (potential, other)]
    np.testing.assert_array_equal(*references)


@pytest.mark.parametrize("variant", VARIANTS)
def test_there_and_back(variant):
    potential = ours(variant)
    theirs = from_mace(potential)
    assert theirs.model.settings["kind"] == "mace_jax"
    assert_same(potential, theirs, TOLERANCE)
    back = to_mace(theirs)
    assert back.model == potential.model
    assert_same(potential, back, 1e-12)


def test_the_full_basis_too():
    potential = ours("published")
    theirs = from_mace(potential, reduced=False)
    assert (
        theirs.params["weights"]["products"]["0"]["symmetric_contractions"]["weight"].shape[1]
        > (from_mace(potential).params["weights"]["products"]["0"]["symmetric_contractions"])[
            "weight"
        ].shape[1]
    )
    assert_same(potential, theirs, TOLERANCE)
    assert_same(potential, to_mace(theirs), 1e-12)


@pytest.mark.parametrize("variant", ["published", "core"])
def test_mace_jax_itself_reads_what_we_write(variant, tmp_path):
    from mace_jax.tools.bundle import load_model_bundle  # pyright: ignore[reportMissingImports]

    potential = ours(variant)
    path = bundles.export(tmp_path / "mine.json", potential)
    assert {each.name for each in tmp_path.iterdir()} == {"mine.json", "mine.msgpack"}
    loaded = load_model_bundle(str(path), "float64")
    weights = from_mace(potential).params["weights"]
    mine, found = trees.names(weights), trees.names(jax.tree.map(np.asarray, loaded.params))
    for name, leaf in mine.items():
        np.testing.assert_array_equal(found[name], leaf, err_msg=name)
    np.testing.assert_array_equal(
        found["atomic_energies_fn/atomic_energies"],
        potential.params["constants"]["atomic_energies"],
    )
    assert loaded.config["avg_num_neighbors"] == 7.0
    with jax.enable_x64(False):  # as in a program that computes in single precision
        again = bundles.export(tmp_path / "again.json", potential)
    assert again.with_suffix(".msgpack").read_bytes() == path.with_suffix(".msgpack").read_bytes()


def test_we_read_what_mace_jax_writes(tmp_path):
    """Files as its converter writes them: its own serialisation, irreps as lists, axes of heads."""
    from flax import nnx, serialization
    from mace_jax.nnx_utils import state_to_serializable_dict  # pyright: ignore[reportMissingImports]
    from mace_jax.tools.model_builder import _build_jax_model  # pyright: ignore[reportMissingImports]

    potential = from_mace(ours("published"))
    model, params = potential.model, potential.params
    assert isinstance(model, mace_jax_model.MaceJaxModel)
    config = mace_jax_model.bundle_config(model.elements, model.config, params["constants"])
    state = state_to_serializable_dict(nnx.split(_build_jax_model(config, rngs=nnx.Rngs(1)))[1])
    config["hidden_irreps"] = [[4, [0, 1]], [4, [1, -1]], [4, [2, 1]]]
    config["atomic_energies"] = [config["atomic_energies"]]
    tmp_path.joinpath("x-jax.json").write_text(json.dumps(config))
    tmp_path.joinpath("x-jax.npz").write_bytes(serialization.to_bytes(state))
    found = bundles.load(tmp_path / "x-jax.npz")
    assert found.model == model
    names = trees.names(found.params["weights"])
    drawn = trees.names(jax.tree.map(np.asarray, serialization.to_state_dict(state)))
    for name, leaf in names.items():
        np.testing.assert_array_equal(leaf, drawn[name])
    assert found.params["constants"]["average_neighbors"] == 7.0
    assert_same(found, to_mace(found), TOLERANCE)


def test_a_bundle_becomes_a_potential_with_a_card(tmp_path):
    potential = ours("published")
    bundles.export(tmp_path / "bundle", potential)
    assert bundles.is_bundle(tmp_path / "bundle")
    found, card = bundles.convert(
        tmp_path / "bundle", reference="VASP", functional="PBE", elements=["Te", "Sb"]
    )
    assert (card.elements, card.name) == (("Sb", "Te"), "params")
    assert card.provenance["source"]["elements"] == ["Cr", "Sb", "Te"]
    store.save(tmp_path / "out", found, card)
    assert found.elements == (51, 52)


def test_the_kind_is_saved_and_loaded(tmp_path):
    potential = from_mace(ours("one_layer"))
    card = Card(name="x", elements=("Cr", "Sb", "Te"), model=potential.model.settings,
                      reference="none", functional="none")  # fmt: skip
    store.save(tmp_path, potential, card)
    again, _ = store.load(tmp_path)
    assert again.model == potential.model
    bundles.export(tmp_path / "again.json", again, dtype="float32")
    assert bundles.load(tmp_path / "again.json").params["constants"]["scale"].dtype == np.float32


def broken(change):
    def write(folder):
        path = bundles.export(folder / "x.json", ours("one_layer"))
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))
        return path

    return write


def other_array(folder):
    from flax import serialization

    path = bundles.export(folder / "x.json", ours("core"))
    data = serialization.msgpack_restore(path.with_suffix(".msgpack").read_bytes())
    data["pair_repulsion_fn"]["_c"] = data["pair_repulsion_fn"]["_c"] * 1.1
    path.with_suffix(".msgpack").write_bytes(serialization.msgpack_serialize(data))
    return path


def pickled(folder):
    path = folder / "x.ckpt"
    path.write_bytes(pickle.dumps({"params": 1}))
    return path


def garbled(folder):
    path = bundles.export(folder / "x.json", ours("one_layer"))
    data = path.with_suffix(".msgpack").read_bytes()
    path.with_suffix(".msgpack").write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    ("write", "error", "message"),
    [
        (pickled, InputError, "is a pickle"),
        (garbled, InputError, "no bundle of mace-jax"),
        (lambda folder: folder / "absent.json", InputError, "No such file"),
        (other_array, CompatibilityError, "pair_repulsion_fn/_c' with another value"),
        (broken(lambda c: c.update(heads=["a", "b"])), CompatibilityError, "heads a, b"),
        (broken(lambda c: c.update(use_so3=True)), CompatibilityError, "use_so3 = True"),
        (broken(lambda c: c.update(hidden_irreps="5x0e")), CompatibilityError, "does not fit"),
        (broken(lambda c: c.pop("r_max")), InputError, "r_max"),
        (broken(lambda c: c.update(interaction_cls="Other")), ValueError, "interaction"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(tmp_path, write, error, message):
    with pytest.raises(error, match=message):
        bundles.load(write(tmp_path))


def test_what_mace_jax_does_not_have_is_refused_by_name():
    config = MaceConfig(**SMALL, interaction="RealAgnosticResidualNonLinear")
    model = MaceModel((18,), config)
    potential = Potential(model.init(key=jax.random.key(0)), model)
    with pytest.raises(CompatibilityError, match="interaction = RealAgnosticResidualNonLinear"):
        from_mace(potential)
    with pytest.raises(CompatibilityError, match="expected a MACE"):
        from_mace(lennard_jones((18,)))
    with pytest.raises(CompatibilityError, match="expected a MACE of mace-jax"):
        to_mace(lennard_jones((18,)))
    with pytest.raises(InputError, match="float16"):
        bundles.export("x.json", potential, dtype="float16")
