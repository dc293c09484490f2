import sys
import types

import ase.build
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from references import mace_torch_peer as peer
from references import torch_checkpoint

from mlffjax import trees
from mlffjax.config import validate
from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import build
from mlffjax.potential.base import Potential
from mlffjax.potential.convert.importer import convert
from mlffjax.potential.derivatives import energies, predict
from mlffjax.potential.sources import ase as source
from mlffjax.structures.system import from_ase

_predict = jax.jit(predict)


def potential(factory, elements, cutoff=6.0, **arguments):
    section = source.Config(factory=factory, arguments=arguments, cutoff=cutoff)
    model = source.energy_model(section, elements)
    return Potential(model.init(key=jax.random.key(0)), model)


def alloy():
    atoms = ase.build.bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.symbols[[1, 6]] = "Au"
    skew = [[0, 0.1, 0], [0, 0, 0.2], [-0.1, 0, 0]]
    atoms.set_cell(np.add(atoms.cell.array, skew), scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def graph_of(atoms, found):
    return build([from_ase(atoms)], found.elements, found.cutoff, dtype=np.float64)


@pytest.mark.parametrize(
    ("factory", "calculator", "arguments"),
    [("ase.calculators.emt:EMT", EMT, {}),
     ("ase.calculators.lj:LennardJones", LennardJones,
      {"epsilon": 0.1, "sigma": 2.4, "rc": 5.0, "smooth": True})],
)  # fmt: skip
def test_energy_forces_and_stress_are_those_of_ase(factory, calculator, arguments):
    atoms = alloy()
    model = potential(factory, (29, 79), **arguments)
    found = _predict(model, graph_of(atoms, model))
    atoms.calc = calculator(**arguments)
    assert float(found.energy[0]) == pytest.approx(atoms.get_potential_energy(), rel=1e-14)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-13)
    # ASE's EMT is symmetric to rounding; the cell derivative is solved for.
    np.testing.assert_allclose(found.stress[0], atoms.get_stress(voigt=False), atol=1e-12)
    assert model.reference_energy(from_ase(atoms)) == 0.0


def test_derivative_by_the_cell_against_finite_differences():
    """Positions fixed, one component of the cell moved: not what a strain does."""
    atoms = alloy()
    model = potential("ase.calculators.emt:EMT", (29, 79))
    graph = graph_of(atoms, model)

    @jax.jit
    def energy(cell):
        return energies(model, graph._replace(cell=cell)).sum()

    gradient = jax.jit(jax.grad(energy))(jnp.asarray(graph.cell))
    h = 1e-4
    for i, j in ((0, 0), (1, 2), (2, 0)):
        step = np.zeros((1, 3, 3))
        step[0, i, j] = h
        slope = (energy(graph.cell + step) - energy(graph.cell - step)) / (2 * h)
        # Truncation h² times a third derivative of 1e2 eV/Å³.
        assert float(gradient[0, i, j]) == pytest.approx(float(slope), abs=2e-6)


def test_the_calculator_is_made_once(calculators):
    made = calculators("Counting", type("Counting", (EMT,), {"__init__": count}))
    count.calls = 0
    model = potential(made, (29, 79))
    atoms = alloy()
    assert count.calls == 0  # not before it is needed
    for _ in range(2):
        jax.block_until_ready(_predict(model, graph_of(atoms, model)))
    assert count.calls == 1


def count(self, **arguments):
    count.calls += 1
    EMT.__init__(self, **arguments)


@pytest.fixture
def calculators(monkeypatch):
    """Put a class into a module that can be imported; returns the name of a factory."""

    def put(name, thing):
        module = types.ModuleType("temporary_calculators")
        setattr(module, name, thing)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        source.calculator.cache_clear()
        return f"{module.__name__}:{name}"

    yield put
    source.calculator.cache_clear()


def test_calculator_without_stress_gives_forces_and_no_stress(calculators):
    class Stressless(EMT):
        implemented_properties = ["energy", "forces"]

        def calculate(self, *arguments, **choices):
            super().calculate(*arguments, **choices)
            self.results.pop("stress", None)

    model = potential(calculators("Stressless", Stressless), (29, 79))
    atoms = alloy()
    found = _predict(model, graph_of(atoms, model))
    assert np.isnan(found.stress).all()
    atoms.calc = EMT()
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-13)


def test_crash_inside_the_calculator_names_calculator_and_structure():
    model = potential("ase.calculators.emt:EMT", (18, 29))  # EMT knows no argon
    atoms = alloy()
    atoms.symbols[:] = "Ar"
    with pytest.raises(
        (jax.errors.JaxRuntimeError, ValueError), match=r"emt:EMT failed for Ar8 \(8 atoms"
    ):
        jax.block_until_ready(_predict(model, graph_of(atoms, model)))


@pytest.mark.parametrize(
    ("factory", "message"),
    [("no_such_package_at_all:Thing", "cannot find the factory"),
     ("ase.calculators.emt:NoSuchThing", "cannot find the factory"),
     ("os:system", "class of ASE calculators"),
     ("subprocess:Popen", "class of ASE calculators"),
     ("ase.build:bulk", "functions are not called"),
     ("ase.calculators.emt:EMT.get_forces", "class of ASE calculators")],
)  # fmt: skip
def test_what_is_no_calculator_is_not_called(factory, message):
    with pytest.raises(ConfigError, match=message):
        source.calculator(factory, '{"command": "touch /tmp/never"}')


def test_loading_and_describing_runs_nothing(tmp_path):
    """A card may name any program; it is found only when the potential is evaluated."""
    model = potential("no_such_package_at_all:Thing", (29,)).model
    assert model == potential("no_such_package_at_all:Thing", (29,)).model


def test_class_methods_may_make_it(calculators):
    class Made(EMT):
        @classmethod
        def ready(cls, *, label):
            assert label == "x"
            return cls()

    factory = calculators("Made", Made) + ".ready"
    assert isinstance(source.calculator(factory, '{"label": "x"}'), Made)
    with pytest.raises(ConfigError, match="refused its arguments"):
        source.calculator(factory, "{}")


@pytest.mark.parametrize("factory", ["os.system", "a:b:c", "1a:b", "a: b", "__import__('os'):x"])
def test_names_only(factory):
    with pytest.raises(ConfigError, match="factory"):
        validate({"factory": factory}, source.Config, where="test")


def test_arguments_are_plain_data():
    section = source.Config(factory="a:B", arguments={"x": object()})
    with pytest.raises(ConfigError, match="plain data"):
        source.energy_model(section, (18,))


def test_free_energy_is_the_one_that_forces_belong_to(calculators):
    class Smeared(EMT):
        implemented_properties = [*EMT.implemented_properties, "free_energy"]

        def calculate(self, *arguments, **choices):
            super().calculate(*arguments, **choices)
            self.results["free_energy"] = self.results["energy"] - 1.0

    model = potential(calculators("Smeared", Smeared), (29, 79))
    atoms = alloy()
    found = jax.jit(energies)(model, graph_of(atoms, model))
    atoms.calc = EMT()
    assert float(found[0]) == pytest.approx(atoms.get_potential_energy() - 1.0)


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # of torch, e3nn and mace
def test_mace_torch_as_a_calculator_equals_our_import(tmp_path):
    pytest.importorskip("mace")
    file = torch_checkpoint.unpack(tmp_path / "tiny.model")
    ours, _ = convert(file, reference="test", functional="PBE")
    ours = trees.cast(ours, np.float64)
    theirs = potential(
        "mace.calculators:MACECalculator",
        ours.elements,
        cutoff=ours.cutoff,
        model_paths=str(file),
        device="cpu",
        default_dtype="float64",
    )
    for name, atoms in peer.structures().items():
        if not atoms.pbc.all():
            continue  # a graph cannot say so of a structure with a cell
        found, expected = (_predict(one, graph_of(atoms, ours)) for one in (theirs, ours))
        total = float(expected.energy[0]) + ours.reference_energy(from_ase(atoms))
        # Both sum some 1e3 products of float64.
        np.testing.assert_allclose(found.energy[0], total, rtol=1e-10, err_msg=name)
        np.testing.assert_allclose(found.forces, expected.forces, atol=1e-10, err_msg=name)
        np.testing.assert_allclose(found.stress, expected.stress, atol=1e-12, err_msg=name)
