"""Calculators of packages that are not installed here: stand-ins with their interface."""

import sys
import types

import pytest
from ase.calculators.calculator import Calculator

from mlffjax.potential.remote.server import FactoryError, make

SEEN: dict = {}


class Plain(Calculator):
    """Of MatterSim and DeePMD-kit: arguments of the class."""

    def __init__(self, model=None, load_path=None, device="cpu"):
        super().__init__()
        SEEN.update(model=model, load_path=load_path, device=device)


class Compiled(Calculator):
    """Of NequIP."""

    @classmethod
    def from_compiled_model(cls, compile_path, device="cpu"):
        SEEN.update(compile_path=compile_path, device=device)
        return cls()


class Uma(Calculator):
    """Of fairchem: an inference unit, or a class method that takes names."""

    def __init__(self, predict_unit, task_name=None):
        super().__init__()
        SEEN.update(predict_unit=predict_unit, task_name=task_name)

    @classmethod
    def from_model_checkpoint(cls, name_or_path, task_name=None, device=None):
        return cls(f"unit of {name_or_path} on {device}", task_name)


class Orb(Calculator):
    """Of orb-models: a network, and in newer versions an adapter."""

    def __init__(self, model, atoms_adapter=None, *, device=None):
        super().__init__()
        SEEN.update(model=model, atoms_adapter=atoms_adapter, device=device)


@pytest.fixture
def install(monkeypatch):
    SEEN.clear()

    def put(module, **contents):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        for name, thing in contents.items():
            monkeypatch.setattr(sys.modules[module], name, thing, raising=False)

    return put


@pytest.mark.parametrize(
    ("factory", "owner", "arguments"),
    [("mattersim.forcefield:MatterSimCalculator", Plain,
      {"load_path": "MatterSim-v1.0.0-5M.pth", "device": "cpu"}),
     ("deepmd.calculator:DP", Plain, {"model": "/models/frozen_model.pth"}),
     ("nequip.integrations.ase:NequIPCalculator.from_compiled_model", Compiled,
      {"compile_path": "/models/model.nequip.pt2", "device": "cpu"})],
)  # fmt: skip
def test_arguments_arrive(install, factory, owner, arguments):
    module, _, name = factory.partition(":")
    install(module, **{name.split(".")[0]: owner})
    assert isinstance(make(factory, arguments), owner)
    assert {key: SEEN[key] for key in arguments} == arguments


def test_uma_is_made_by_its_class_method(install):
    install("fairchem.core", FAIRChemCalculator=Uma)
    arguments = {"name_or_path": "uma-s-1p1", "task_name": "omat", "device": "cpu"}
    make("fairchem.core:FAIRChemCalculator.from_model_checkpoint", arguments)
    assert SEEN == {"predict_unit": "unit of uma-s-1p1 on cpu", "task_name": "omat"}


@pytest.mark.parametrize("loaded", ["network", ("network", "adapter")], ids=["older", "newer"])
def test_orb_gets_the_network_of_a_published_name(install, loaded):
    def load(device, precision):
        assert (device, precision) == ("cpu", "float32-highest")
        return loaded

    name = "orb-v3-conservative-inf-omat"
    install("orb_models.forcefield.inference.calculator", ORBCalculator=Orb)
    install("orb_models.forcefield.pretrained", ORB_PRETRAINED_MODELS={name: load})
    factory = "orb_models.forcefield.inference.calculator:ORBCalculator"
    make(factory, {"model": name, "device": "cpu", "precision": "float32-highest"})
    adapter = None if loaded == "network" else "adapter"
    assert {"model": "network", "atoms_adapter": adapter, "device": "cpu"} == SEEN
    with pytest.raises(FactoryError, match="refused its arguments"):
        make(factory, {"model": "no-such-name", "device": "cpu"})
