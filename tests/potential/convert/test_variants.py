"""Every kind of MACE that mace-torch makes becomes a potential that predicts the same."""

import functools
import json

import jax
import numpy as np
import pytest
from references import mace_variants as variants

from mlffjax import trees
from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build
from mlffjax.potential import store
from mlffjax.potential.convert.elements import keep_elements
from mlffjax.potential.convert.importer import convert, heads, import_module
from mlffjax.potential.convert.read_torch import read
from mlffjax.potential.convert.torch_names import entries, from_torch, to_torch
from mlffjax.potential.derivatives import energies as predicted_energies
from mlffjax.potential.derivatives import predict
from mlffjax.structures.system import from_ase

REFERENCES = json.loads(variants.REFERENCE.read_text())["predictions"]
evaluate = jax.jit(predict)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Paths of the recorded model files."""
    return variants.unpack(tmp_path_factory.mktemp("variants"))


@pytest.fixture(scope="module")
def read_in(files):
    """A recorded model with one head."""

    @functools.cache
    def of(variant, head=None):
        return convert(files[variant], reference="test", functional="PBE", head=head)[0]

    return of


def assert_equal(potential, variant, references, tolerance):
    """Total energies relatively, forces and stress relative to the largest entry; float64."""
    systems = {name: from_ase(atoms) for name, atoms in variants.structures(variant).items()}
    graph = build(list(systems.values()), potential.elements, potential.cutoff, dtype=np.float64)
    found = evaluate(trees.cast(potential, np.float64), graph)
    for index, (name, system) in enumerate(systems.items()):
        expected = references[name]
        energy = float(found.energy[index]) + potential.reference_energy(system)
        np.testing.assert_allclose(energy, expected["energy"], rtol=tolerance)
        mine = np.asarray(graph.atom_graph) == index
        pairs = {"forces": found.forces[mine], "stress": found.stress[index]}
        for key in pairs.keys() & expected.keys():
            theirs = np.array(expected[key])
            atol = tolerance * np.abs(theirs).max()
            np.testing.assert_allclose(
                pairs[key], theirs, rtol=0, atol=atol, err_msg=f"{name} {key}"
            )


@pytest.mark.parametrize("variant", [v for v in variants.RECORDED if v != "mh_1_gate"])
def test_predictions_are_those_of_mace_torch(read_in, variant):
    # Both sides sum some 1e3 products of float64; 2e-14 is seen.
    for head, expected in REFERENCES[variant].items():
        named = head if variants.settings_of(variant)["heads"] else None
        assert_equal(read_in(variant, named), variant, expected, 1e-10)


def test_gates_of_either_program_are_the_same(read_in):
    """e3nn's own gate, as older files have it, and that of mace-torch."""
    old, new = read_in("mh_1_gate"), read_in("mh_1")
    assert old.model == new.model
    jax.tree.map(np.testing.assert_array_equal, old.params, new.params)


@pytest.mark.parametrize("variant", [v for v in variants.RECORDED if v != "reduced"])
def test_both_directions_of_the_table_agree_to_the_bit(read_in, files, variant):
    potential = read_in(variant)
    arrays = to_torch(potential.params, potential.model)
    neighbors = float(potential.params["constants"]["average_neighbors"])
    again = from_torch(arrays, potential.model, average_neighbors=neighbors)
    jax.tree.map(np.testing.assert_array_equal, again, potential.params)
    if not variants.settings_of(variant)["heads"]:
        stored = read(files[variant]).root.named_tensors()
        stored |= {"scale_shift.scale": np.ones(()), "scale_shift.shift": np.zeros(())} | stored
        for entry in entries(potential.model):
            expected = stored[entry.name].reshape(entry.shape)
            np.testing.assert_array_equal(arrays[entry.name], expected, err_msg=entry.name)


@pytest.mark.parametrize(
    "variant", ["mp_0b2", "mh_1", "gated_after_residual", "gaussian", "density"]
)
def test_a_new_model_has_the_same_tree(read_in, variant):
    potential = read_in(variant)
    new = potential.model.init(key=jax.random.key(0))
    shapes = jax.tree.map(np.shape, potential.params)
    assert jax.tree.map(np.shape, new) == shapes
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(new))
    if "beta" in new["weights"]["layer_1"]["interaction"]:
        interaction = new["weights"]["layer_1"]["interaction"]
        assert (float(interaction["alpha"]), float(interaction["beta"])) == (20.0, 0.0)
        np.testing.assert_array_equal(interaction["radial"]["gain_0"], 1)


@pytest.mark.parametrize("variant", ["mp_0b2", "mh_1"])
def test_what_is_written_is_read_again(files, variant, tmp_path):
    potential, card = convert(files[variant], reference="test", functional="PBE")
    store.save(tmp_path / "out", potential, card)
    again, card = store.load(tmp_path / "out")
    assert again.model == potential.model
    jax.tree.map(np.testing.assert_array_equal, again.params, potential.params)


def test_heads_are_listed_and_chosen(files):
    assert heads(files["mh_1"]) == tuple(variants.HEADS)
    potential, card = convert(files["mh_1"], reference="test", functional="PBE", head="r2scan")
    source = card.provenance["source"]
    assert (source["head"], source["heads"]) == ("r2scan", variants.HEADS)
    default, card = convert(files["mh_1"], reference="test", functional="PBE")
    assert card.provenance["source"]["head"] == "Default"
    assert trees.length(trees.stack([potential, default])) == 2
    with pytest.raises(CompatibilityError, match=r"no head 'hse'.*pbe, Default, r2scan"):
        convert(files["mh_1"], reference="test", functional="PBE", head="hse")


@pytest.mark.parametrize("variant", ["mh_1", "mp_0b2", "agnostic"])
def test_fewer_elements_change_no_number(read_in, variant):
    whole = read_in(variant)
    fewer = keep_elements(whole, [51, 52])
    assert trees.size(fewer.params) < trees.size(whole.params)
    system = from_ase(variants.structures(variant)["skewed"])._replace(
        numbers=np.array([51, 52, 52, 51], np.int32)
    )
    expected, found = (
        jax.jit(predicted_energies)(p, build([system], p.elements, p.cutoff, dtype=np.float64))
        for p in (whole, fewer)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)  # two roundings per weight


def is_weight(name, tensor):
    """What is trained, by what mace-torch calls it and independently of our tables."""
    return tensor.size and name.rpartition(".")[2] in TRAINED


TRAINED = {
    "weight", "weights_max", "0", "bias", "alpha", "beta", "a", "p", "q", "c", "a_exp",
    "a_prefactor", "atomic_energies",
}  # fmt: skip


@pytest.mark.parametrize("variant", ["mp_0b2", "gated_after_residual"])
def test_each_weight_is_needed(files, variant):
    root = read(files[variant]).root
    known = {entry.name for entry in entries(import_module(root).model)}
    for path, module in list(root.walk()):
        for name in list(module.tensors):
            full = f"{path}.{name}" if path else name
            if not is_weight(full, module.tensors[name]) or full == "radial_embedding.cutoff_fn.p":
                continue
            assert full in known or full == "pair_repulsion_fn.p"
            if full not in known:
                continue
            tensor = module.tensors.pop(name)
            with pytest.raises((CompatibilityError, KeyError)):
                import_module(root)
            module.tensors[name] = tensor


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of torch and e3nn
@pytest.mark.parametrize("variant", variants.VARIANTS)
def test_against_mace_torch_itself(tmp_path, variant):
    torch = pytest.importorskip("torch")
    settings = variants.settings_of(variant)
    if settings.get("use_reduced_cg"):
        pytest.importorskip("cuequivariance", reason="mace-torch makes a full basis without it")
    torch.save(variants.torch_model(variant), tmp_path / "live.model")
    for head, expected in variants.reference(variant).items():
        named = head if settings["heads"] else None
        potential, _ = convert(
            tmp_path / "live.model", reference="test", functional="PBE", head=named
        )
        assert_equal(potential, variant, expected, 1e-10)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of torch and e3nn
@pytest.mark.parametrize("variant", ["mp_0", "gated"])
def test_updates_of_low_rank_are_added_up(tmp_path, variant):
    """LoRA wrappers as mace-torch leaves them, and the same after its own merging."""
    torch = pytest.importorskip("torch")
    from mace.modules.lora import inject_LoRAs, merge_lora_weights
    from references import mace_torch_peer as peer

    model = inject_LoRAs(variants.torch_model(variant), rank=2, alpha=3)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "lora_" in name:
                tensor.copy_(0.3 * torch.as_tensor(peer.draw(name, tuple(tensor.shape))))
    torch.save(model, tmp_path / "wrapped.model")
    torch.save(merge_lora_weights(model), tmp_path / "merged.model")
    wrapped, merged = (
        convert(tmp_path / f"{name}.model", reference="test", functional="PBE")[0]
        for name in ("wrapped", "merged")
    )
    assert wrapped.model == merged.model
    # One product and one sum per weight of order one.
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-14),
        wrapped.params,
        merged.params,
    )
