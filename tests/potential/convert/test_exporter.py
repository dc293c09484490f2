"""What is exported is a model of mace-torch, with the same numbers and the same predictions."""

import builtins
import subprocess
import sys

import jax
import numpy as np
import pytest
from references import mace_torch_peer as peer
from references import mace_variants as variants

from mlffjax.errors import CompatibilityError, InputError, MissingExtra
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.exporter import export, to_module
from mlffjax.potential.convert.importer import convert
from mlffjax.potential.derivatives import predict
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase

CASES = ("medium", "both_parities")
CHANGED = {"mh_1_gate", "mace", "mace_heads", "reduced", "reduced_gated"}
"""Variants that come back in another form: another class, gate or basis, the same function."""
SAME = [
    name
    for name in variants.VARIANTS
    if name not in CHANGED and len(variants.settings_of(name)["heads"] or [0]) == 1
]
live = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]  # of torch and e3nn


def imported(path):
    return convert(path, reference="test", functional="PBE")[0]


def perturbed(potential, seed=0, amount=0.1):
    """Every weight changed a little, as by fine-tuning; float64."""
    rng = np.random.default_rng(seed)
    weights = jax.tree.map(
        lambda leaf: leaf * (1 + amount * rng.normal(size=leaf.shape)), potential.params["weights"]
    )
    return Potential({**potential.params, "weights": weights}, potential.model)


def without(monkeypatch, *names):
    """Imports of these packages fail, as where they are not installed."""
    whole = builtins.__import__

    def refuse(name, *arguments, **choices):
        if name.split(".")[0] in names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return whole(name, *arguments, **choices)

    monkeypatch.setattr(builtins, "__import__", refuse)


def test_the_extra_is_named_where_it_is_missing(stored, tmp_path, monkeypatch):
    potential = imported(stored)
    without(monkeypatch, "torch", "mace")
    with pytest.raises(MissingExtra, match=r"pip install 'mlffjax\[torch\]'"):
        export(tmp_path / "out.model", potential)
    assert not list(tmp_path.glob("*"))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def assert_equal(potential, live, variant):
    """Energies, and forces where they are given, relative to the largest; float64."""
    systems = {name: from_ase(atoms) for name, atoms in variants.structures(variant).items()}
    graph = build(list(systems.values()), potential.elements, potential.cutoff, dtype=np.float64)
    found = jax.jit(predict)(potential, graph)
    for index, (name, system) in enumerate(systems.items()):
        energy = float(found.energy[index]) + potential.reference_energy(system)
        # Sums of some 1e3 products in float64.
        np.testing.assert_allclose(energy, live[name]["energy"], rtol=1e-10)
        forces = np.array(live[name].get("forces", []))
        if forces.size:
            ours = found.forces[np.asarray(graph.atom_graph) == index]
            np.testing.assert_allclose(ours, forces, rtol=0, atol=1e-10 * np.abs(forces).max())


class TestLive:
    """With mace-torch itself."""

    pytestmark = live

    @pytest.mark.parametrize("case", [*CASES, *SAME])
    def test_a_round_trip_keeps_every_bit_of_every_tensor(self, torch, tmp_path, case):
        module = peer.torch_model(case) if case in CASES else variants.torch_model(case)
        torch.save(module, tmp_path / "there.model")
        potential = imported(tmp_path / "there.model")
        back = torch.load(export(tmp_path / "back.model", potential), weights_only=False)
        there, here = module.state_dict(), back.state_dict()
        assert there.keys() == here.keys()
        differing = [
            name for name in there if not torch.equal(there[name].ravel(), here[name].ravel())
        ]
        # Random numbers in the file that multiply zeros: no irrep 1e can be made of one harmonic.
        dead = "products.0.symmetric_contractions.contractions.3.weights.1"
        assert differing == ([dead] if case == "both_parities" else [])
        assert [b.avg_num_neighbors for b in back.interactions] == [
            b.avg_num_neighbors for b in module.interactions
        ]

    @pytest.mark.parametrize("variant", variants.VARIANTS)
    def test_changed_weights_predict_there_what_they_predict_here(self, torch, tmp_path, variant):
        torch.save(variants.torch_model(variant), tmp_path / "a.model")
        head = variants.settings_of(variant)["heads"]
        chosen = None if head is None else head[-1]
        potential, _ = convert(
            tmp_path / "a.model", reference="test", functional="PBE", head=chosen
        )
        potential = perturbed(potential)
        path = export(tmp_path / "b.model", potential)
        again = imported(path)
        assert again.model == potential.model
        jax.tree.map(np.testing.assert_array_equal, again.params, potential.params)
        forces = variants.settings_of(variant).get("radial_type") != "chebyshev"
        there = torch.load(path, weights_only=False)
        assert_equal(potential, variants.predictions(there, variant, forces=forces), variant)

    def test_the_precision_can_be_chosen(self, torch, stored):
        potential = imported(stored)
        module = to_module(potential, dtype="float32")
        assert module.node_embedding.linear.weight.dtype == torch.float32
        assert torch.get_default_dtype() == torch.float64  # as the peer has set it
        with pytest.raises(InputError, match="float16"):
            to_module(potential, dtype="float16")

    def test_lammps_files_can_be_made_of_it_and_give_its_energy(self, torch, stored, tmp_path):
        potential = perturbed(imported(stored))
        path = export(tmp_path / "mine.model", potential)
        command = [sys.executable, "-m", "mace.cli.create_lammps_model", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        compiled = torch.jit.load(f"{path}-lammps.pt")
        atoms = peer.structures()["thin"]
        data, count = lammps_input(torch, atoms, potential)
        energy = float(compiled(data, torch.ones(count))["total_energy_local"].detach())
        graph = build([from_ase(atoms)], potential.elements, potential.cutoff, dtype=np.float64)
        ours = float(predict(potential, graph).energy[0])
        ours += potential.reference_energy(from_ase(atoms))
        np.testing.assert_allclose(energy, ours, rtol=1e-10)

    def test_only_a_mace_of_this_package_is_exported(self, torch):
        del torch
        with pytest.raises(CompatibilityError, match=r"expected a MACE.*LennardJones"):
            to_module(lennard_jones((18,)))


def lammps_input(torch, atoms, potential):
    """The dictionary that LAMMPS hands over, made by mace-torch's own reader."""
    from mace import data, tools  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    torch.set_default_dtype(torch.float64)
    table = tools.AtomicNumberTable(list(potential.elements))
    graph = data.AtomicData.from_config(
        data.config_from_atoms(atoms), z_table=table, cutoff=potential.cutoff
    )
    batch = next(iter(tools.torch_geometric.dataloader.DataLoader([graph], batch_size=1)))
    wanted = ("positions", "node_attrs", "edge_index", "shifts", "unit_shifts", "cell", "ptr")
    return {name: batch[name] for name in (*wanted, "batch")}, len(atoms)
