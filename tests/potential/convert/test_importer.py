"""A file of mace-torch becomes a potential that predicts what mace-torch predicts."""

import hashlib

import jax
import numpy as np
import pytest
from references import mace_torch_peer as peer
from references import torch_archives, torch_checkpoint

from mlffjax import trees
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import build
from mlffjax.potential import store
from mlffjax.potential.convert.importer import convert, heads, import_module
from mlffjax.potential.convert.parts import part
from mlffjax.potential.derivatives import predict
from mlffjax.structures.system import from_ase


def read_in(path, **choices):
    """Convert with labels that do not matter."""
    return convert(path, reference="test", functional="PBE", **choices)


def assert_equal(potential, references, tolerance):
    """Total energies relatively, forces and stress relative to the largest entry; float64."""
    systems = {name: from_ase(atoms) for name, atoms in peer.structures().items()}
    graph = build(list(systems.values()), potential.elements, potential.cutoff, dtype=np.float64)
    found = jax.jit(predict)(trees.cast(potential, np.float64), graph)
    for index, (name, system) in enumerate(systems.items()):
        expected = references[name]
        energy = float(found.energy[index]) + potential.reference_energy(system)
        np.testing.assert_allclose(energy, expected["energy"], rtol=tolerance)
        pairs = [(found.forces[np.asarray(graph.atom_graph) == index], expected["forces"])]
        pairs += [(found.stress[index], expected["stress"])] if "stress" in expected else []
        for ours, theirs in pairs:
            atol = tolerance * np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=name)


def test_predictions_are_those_of_mace_torch(stored, canary):
    potential, card = read_in(stored)
    # Both sides sum some 1e3 products of float64; 1e-14 is seen.
    assert_equal(potential, torch_checkpoint.predictions(), 1e-10)
    assert card.elements == ("Cr", "Sb", "Te")
    source = card.provenance["source"]
    assert source["sha256"] == hashlib.sha256(stored.read_bytes()).hexdigest()
    assert (source["file"], card.name) == ("tiny.model", "tiny")
    assert source["class"] == "mace.modules.models.ScaleShiftMACE"
    assert (source["head"], source["heads"], heads(stored)) == (
        "Default",
        ["Default"],
        ("Default",),
    )


def test_what_is_written_is_read_again(stored, tmp_path):
    potential, card = read_in(stored, name="mine", dispersion="D3(BJ)", elements=["Te", "Sb"])
    store.save(tmp_path / "out", potential, card)
    again, card = store.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, again.params, potential.params)
    assert (card.name, card.dispersion, card.elements) == ("mine", "D3(BJ)", ("Sb", "Te"))
    assert card.provenance["source"]["elements"] == ["Cr", "Sb", "Te"]


def is_weight(name):
    """By what mace-torch calls it, independently of our tables."""
    kinds = {"weight", "weights_max", "0", "1", "atomic_energies", "scale", "shift"}
    return name.rpartition(".")[2] in kinds | {"bessel_weights"}


def test_every_number_of_the_file_has_one_place(root):
    params = import_module(root).params
    neighbors = params["constants"].pop("average_neighbors")
    assert neighbors == peer.AVERAGE_NEIGHBORS
    ours = np.sort(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]))
    weights = [np.ravel(v) for name, v in root.named_tensors().items() if is_weight(name)]
    np.testing.assert_array_equal(ours, np.sort(np.concatenate(weights)))


def test_each_weight_is_needed(root):
    for _, module in list(root.walk()):
        for name in [n for n in module.tensors if is_weight(n)]:
            if not (tensor := module.tensors.pop(name)).size:
                continue  # a map without weights of its own
            with pytest.raises((CompatibilityError, KeyError)):
                import_module(root)
            module.tensors[name] = tensor
    import_module(root)


def test_tensors_that_are_left_over_are_named(root):
    part(root, "readouts.0").tensors["extra"] = np.zeros(3)
    with pytest.raises(CompatibilityError, match=r"not supported yet.*readouts\.0\.extra"):
        import_module(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: np.where(w == w.max(), np.nan, w), "not finite"),
        (lambda w: w.astype(np.float16), "float16"),
        (lambda w: w[:-1], "shape"),
        (lambda w: w.reshape(2, -1), "shape"),
    ],
)
def test_weights_of_another_kind_are_refused(root, change, message):
    linear = part(root, "interactions.0.linear_up").tensors
    linear["weight"] = change(linear["weight"])
    with pytest.raises(CompatibilityError, match=f"linear_up.weight .*{message}"):
        import_module(root)


def test_files_of_early_versions_lack_attributes(root):
    """mace-torch 0.3.0 stored fewer attributes and flags, and had no axis of heads."""
    expected = import_module(root).params
    for _, module in root.walk():
        for name in ("heads", "apply_cutoff", "lammps_mliap", "edge_irreps", "radial_MLP",
                     "cueq_config", "oeq_config", "num_heads", "use_reduced_cg", "use_so3",
                     "use_agnostic_product", "use_last_readout_only",
                     "use_edge_irreps_first"):  # fmt: skip
            module.attributes.pop(name, None)
        module.tensors = {
            name: tensor.reshape(-1) if name == "atomic_energies" else
            tensor.reshape(()) if name in ("scale", "shift") else tensor
            for name, tensor in module.tensors.items()
            if not name.endswith("_zeroed")
        }  # fmt: skip
    jax.tree.map(np.testing.assert_array_equal, import_module(root).params, expected)


def test_single_precision_stays(root):
    expected = import_module(root).params
    for _, module in root.walk():
        module.tensors = {
            name: v.astype(np.float32) if v.dtype == np.float64 else v
            for name, v in module.tensors.items()
        }
    found = import_module(root).params
    # A Python number in mace-torch, which does not round it with the weights.
    assert found["constants"].pop("average_neighbors").dtype == np.float64
    expected["constants"].pop("average_neighbors")
    rounded = trees.cast(expected, np.float32)
    jax.tree.map(np.testing.assert_array_equal, found, rounded)
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}


def test_messages_name_the_file(tmp_path, stored):
    path = torch_archives.write(tmp_path / "other.model", torch_archives.module())
    with pytest.raises(CompatibilityError, match=r"other\.model: the model is torch.*Linear"):
        read_in(path)
    with pytest.raises(CompatibilityError, match=r"tiny\.model: the model does not know Fe"):
        read_in(stored, elements=["Fe"])
    bare = torch_archives.module(kind="ScaleShiftMACE", attributes={"heads": b"K\x07"})
    with pytest.raises(InputError, match=r"other\.model: the model is not put together"):
        read_in(torch_archives.write(path, bare))


@pytest.mark.parametrize("package", ["cuequivariance", "openequivariance"])
def test_layouts_of_accelerators_are_refused_with_a_remedy(tmp_path, package):
    layer = torch_archives.name(f"{package}_torch.operations.linear", "Linear")
    path = torch_archives.write(tmp_path / "fast.model", layer)
    with pytest.raises(CompatibilityError, match=rf"layout of {package}.*convert_\w+_e3nn"):
        read_in(path)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of torch and e3nn
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", ["medium", "three_layers", "both_parities"])
def test_against_mace_torch_itself(tmp_path, case, dtype):
    torch = pytest.importorskip("torch")
    model = peer.torch_model(case).to(getattr(torch, dtype))
    torch.save(model, tmp_path / "live.model")
    potential, _ = read_in(tmp_path / "live.model")
    # Both compute in float64; but mace-torch keeps the coupled basis as it was rounded to float32
    # (6e-8), where ours is exact.
    tolerance = 1e-10 if dtype == "float64" else 1e-6
    assert_equal(potential, peer.torch_predictions(model.double()), tolerance)
