"""The calculator says what ``derivatives`` says, to ASE, whatever ASE does to the atoms."""

import copy
import itertools
import pickle
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.eos import EquationOfState
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.phonons import Phonons

import mlffjax
from mlffjax import trees
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential import ase_calculator
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card
from mlffjax.potential.derivatives import predict
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.pair import LennardJonesModel, lennard_jones
from mlffjax.structures.elements import symbols
from mlffjax.structures.system import from_ase

ELEMENTS = (24, 51, 52)
REFERENCES = jnp.array([-2350.25, -6321.5, -7000.75])  # of the size of pseudopotential energies
NAMES = itertools.count()


@dataclass(frozen=True)
class Counted(LennardJonesModel):
    """Lennard-Jones that notes each time it is traced; no two are equal, so none shares traces."""

    name: int
    traces = []

    def atomic_energies(self, params, graph):
        self.traces.append(self.name)
        return super().atomic_energies(params, graph)


def counted(elements=(18,), *, cutoff=6.5, **parameters):
    """Argon whose compilations can be counted; returns the potential and the counter."""
    plain = trees.cast(lennard_jones(elements, cutoff=cutoff, **parameters), jnp.float64)
    model = Counted(elements, cutoff, next(NAMES))
    return plain.replace(model=model), lambda: model.traces.count(model.name)


def with_references(potential):
    constants = {**potential.params["constants"], "atomic_energies": REFERENCES}
    return potential.replace(params={**potential.params, "constants": constants})


@pytest.fixture(scope="module")
def mace():
    config = MaceConfig(
        r_max=3.4,
        num_bessel=4,
        max_ell=1,
        hidden_irreps="4x0e + 4x1o",
        radial_mlp=(8,),
        correlation=2,
    )
    model = MaceModel(ELEMENTS, config)
    return with_references(Potential(model.init(key=jax.random.key(1)), model))


@pytest.fixture(params=["mace", "lennard_jones"])
def potential(request):
    if request.param == "mace":
        return request.getfixturevalue("mace")
    return with_references(lennard_jones(ELEMENTS, sigma=2.4, cutoff=4.6))


def crystal(pbc: Any = True, seed=0):
    """A skewed cell thinner than two cutoffs."""
    atoms = Atoms(
        "CrSbTe2",
        cell=[[4.6, 0.2, 0], [-2.1, 4.0, 0.3], [0.4, -0.6, 5.1]],
        pbc=pbc,
        scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.3], [0.1, 0.6, 0.7], [0.7, 0, 0.6]],
    )
    atoms.rattle(0.1, seed=seed)
    return atoms


def argon(*repeats, vacancy=False):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (repeats or (2, 2, 2))
    if vacancy:
        del atoms[0]
    return atoms


def fresh(atoms, potential, **choices) -> Any:
    """A copy with a calculator of its own, which has seen nothing else."""
    atoms = atoms.copy()
    atoms.calc = mlffjax.calculator(potential, **choices)
    return atoms


def assert_same(atoms, other, tolerance=1e-11):
    """Equal up to the order of sums: 1e-11 is 1e4 roundings of numbers of order one."""
    np.testing.assert_allclose(
        atoms.get_potential_energy(), other.get_potential_energy(), rtol=1e-13, atol=tolerance
    )
    np.testing.assert_allclose(atoms.get_forces(), other.get_forces(), atol=tolerance)
    if atoms.pbc.all():
        np.testing.assert_allclose(atoms.get_stress(), other.get_stress(), atol=tolerance)


@pytest.mark.parametrize("pbc", [True, [True, True, False], False])
def test_results_are_those_of_derivatives(potential, pbc):
    atoms = crystal(pbc)
    atoms.calc = mlffjax.calculator(potential)
    system = from_ase(atoms)
    shape = Shape(4, 64 if isinstance(potential.model, LennardJonesModel) else 16, 1)
    graph = build([system], ELEMENTS, potential.cutoff, shape=shape, dtype=np.float64)
    expected = jax.jit(predict)(trees.cast(potential, jnp.float64), graph)
    references = np.asarray(REFERENCES)[[0, 1, 2, 2]]
    # Sums in another order; energies of 1e4 eV have 1e-12 eV between neighbours.
    np.testing.assert_allclose(
        atoms.get_potential_energy(), float(expected.energy[0]) + references.sum(), rtol=1e-14
    )
    np.testing.assert_allclose(
        atoms.get_potential_energies(), expected.atomic_energies + references, rtol=1e-14
    )
    np.testing.assert_allclose(atoms.get_forces(), expected.forces, atol=1e-12)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert potential.reference_energy(system) == references.sum()
    if atoms.pbc.all():
        voigt = np.asarray(expected.stress[0])[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        np.testing.assert_allclose(atoms.get_stress(), voigt, atol=1e-13)


def test_forces_and_stress_are_finite_differences(potential):
    atoms = crystal()
    atoms.calc = mlffjax.calculator(potential)
    # Central differences of totals near 1e4 eV: rounding 2e-12 / 2e-3 = 1e-9, and third
    # derivatives of 1..100 eV/Å^3 times 1e-6.
    np.testing.assert_allclose(
        atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-3), atol=1e-5
    )
    np.testing.assert_allclose(
        atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-4), atol=1e-6
    )


def test_the_skin_changes_no_result(potential):
    bare, padded = (fresh(crystal(), potential, skin=skin) for skin in (0.0, 1.0))
    for seed in range(4):
        for atoms in (bare, padded):
            atoms.rattle(0.05, seed=seed)
            atoms.set_cell(atoms.cell.array * (1 - 0.005 * seed), scale_atoms=True)
        assert_same(bare, padded, 1e-12)


def test_cell_and_positions_relax_to_the_equation_of_state():
    potential, traces = counted((24,), epsilon=0.5, sigma=2.4, cutoff=4.5)
    atoms = bulk("Cr", "fcc", a=3.7, cubic=True)
    calculator = atoms.calc = mlffjax.calculator(potential)
    strain = np.array([[0.02, 0.01, 0], [0, -0.01, 0], [0, 0, 0.015]])
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    atoms.rattle(0.05, seed=1)
    assert BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=60)
    primitive = bulk("Cr", "fcc", a=1.0)
    primitive.calc = calculator
    volumes, energies = [], []
    for scale in np.linspace(0.98, 1.02, 7):
        edge = scale * (4 * atoms.get_volume() / len(atoms)) ** (1 / 3)
        primitive.set_cell(bulk("Cr", "fcc", a=edge).cell)
        volumes.append(primitive.get_volume())
        energies.append(primitive.get_potential_energy())
    volume, energy, modulus = EquationOfState(volumes, energies, eos="birchmurnaghan").fit()
    # The switch of the potential is no part of the fitted form: agreement to some 0.1 per cent.
    np.testing.assert_allclose(atoms.get_volume() / 4, volume, rtol=3e-3)
    np.testing.assert_allclose(atoms.get_potential_energy() / 4, energy, rtol=1e-3)
    assert modulus > 0
    assert traces() <= 3  # four atoms and one share the smallest size; slots follow the density


def hop(images):
    """A neighbour goes into a vacancy of argon; two equal bands of images."""
    start = argon(vacancy=True)
    end = start.copy()
    mover = np.argmin(np.linalg.norm(start.positions, axis=1))
    end.positions[mover] = 0.0
    band = [start, *(start.copy() for _ in range(images - 2)), end]
    other = [each.copy() for each in band]
    return (
        NEB(band, method="improvedtangent", allow_shared_calculator=True),
        NEB(other, method="improvedtangent"),
    )


def test_images_of_a_band_may_share_a_calculator():
    potential, traces = counted()
    shared, separate = hop(5)
    one = mlffjax.calculator(potential)
    for image, other in zip(shared.images, separate.images, strict=True):
        image.calc, other.calc = one, mlffjax.calculator(potential)
    for band in (shared, separate):
        band.interpolate()
        FIRE(band, logfile=None).run(fmax=0, steps=8)
    for image, other in zip(shared.images, separate.images, strict=True):
        np.testing.assert_allclose(image.positions, other.positions, atol=1e-10)
        assert_same(image, other, 1e-9)  # positions differ by rounding after eight steps
    assert traces() == 1


def test_dynamics_conserves_energy_without_compiling_again(monkeypatch, rng):
    made, make = [], ase_calculator.make
    monkeypatch.setattr(ase_calculator, "make", lambda *a, **k: made.append(1) or make(*a, **k))
    potential, traces = counted()
    atoms = argon()
    atoms.calc = mlffjax.calculator(potential, skin=0.8)
    deviation = np.sqrt(units.kB * 120 * atoms.get_masses())[:, None]
    atoms.set_momenta(deviation * rng.normal(size=(32, 3)))
    energies = []
    dynamics = VelocityVerlet(atoms, 2 * units.fs)
    dynamics.attach(lambda: energies.append(atoms.get_total_energy()), interval=10)
    dynamics.run(600)
    # Verlet's energy oscillates by (step / period)^2, here 1e-4 of the kinetic energy of 0.5 eV;
    # a list renewed too late would show as a jump.
    assert np.ptp(energies) < 5e-5
    assert 1 < len(made) < 40
    assert traces() <= 2


def test_phonons_of_a_stable_crystal_are_real(tmp_path):
    atoms = bulk("Ar", "fcc", a=5.26)
    potential, traces = counted()
    phonons = Phonons(
        atoms,
        mlffjax.calculator(potential),
        supercell=(3, 3, 3),
        delta=0.02,
        name=str(tmp_path / "phonons"),
    )
    phonons.run()
    phonons.read(acoustic=True)
    at_zero, at_boundary = phonons.band_structure([[0, 0, 0], [0.5, 0.5, 0]], verbose=False)
    np.testing.assert_allclose(at_zero, 0, atol=1e-5)  # sqrt of rounding in the force constants
    assert (at_boundary > 1e-3).all()
    assert traces() == 1


def test_one_calculator_follows_whatever_happens_to_the_atoms(potential):
    atoms = crystal()
    atoms.calc = mlffjax.calculator(potential, skin=0.3)
    history = [
        lambda: atoms.rattle(0.02, seed=5),
        lambda: atoms.append("Te"),
        lambda: setattr(atoms, "pbc", [True, False, True]),
        lambda: atoms.set_atomic_numbers(atoms.numbers[::-1]),
        lambda: atoms.set_cell(atoms.cell.array * 1.1, scale_atoms=True),
        lambda: setattr(atoms, "pbc", False),
        lambda: atoms.pop(1),
        lambda: atoms.set_cell(np.zeros((3, 3))),
        lambda: atoms.rotate(40, "x"),
        lambda: (atoms.set_cell(crystal().cell), atoms.set_pbc(True), atoms.wrap()),
        lambda: atoms.__delitem__([0, 1, 2]),
    ]
    atoms.positions[0] += 0.1
    for change in history:
        change()
        if len(atoms) == 5:
            atoms.positions[-1] = [2.5, 2.5, 0.2]
        assert_same(atoms, fresh(atoms, potential))


@pytest.mark.parametrize(
    ("sizes", "compilations"),
    [
        ([*range(48, 36, -1), *range(1, 9), 40, 44, 48], 3),  # for 48, 38 and at most 8 atoms
        (range(20, 36), 3),  # by a quarter each: 20, 27, 35
    ],
)
def test_structures_of_many_sizes_take_few_compilations(sizes, compilations):
    potential, traces = counted(cutoff=4.2)  # nearest neighbours only: one number of slots
    full, shared = argon(3, 2, 2), mlffjax.calculator(potential)
    for size in sizes:
        atoms = full[:size]
        atoms.calc = shared
        assert np.isfinite(atoms.get_forces()).all()
    assert traces() == compilations


def test_lists_of_many_images_are_kept_within_bounds(monkeypatch):
    potential, _ = counted()
    monkeypatch.setattr(ase_calculator, "LISTS", 3)
    shared = mlffjax.calculator(potential, skin=0.2)
    images = [argon() for _ in range(6)]
    for seed, image in enumerate(images):
        image.rattle(0.3, seed=seed)
        image.calc = shared
    for _ in range(2):
        for image in images:
            assert_same(image, fresh(image, potential))
    assert len(shared._lists) == 3
    monkeypatch.setattr(ase_calculator, "LISTED_EDGES", 1)
    images[0].rattle(0.3, seed=9)
    images[0].get_forces()
    assert len(shared._lists) == 1


def test_atoms_crowding_together_get_more_slots():
    potential, traces = counted(cutoff=5.0)
    atoms = argon()
    atoms.calc = mlffjax.calculator(potential, skin=3.0)  # so wide that the list stays valid
    atoms.get_forces()
    atoms.set_cell(atoms.cell.array * 0.85, scale_atoms=True)
    assert_same(atoms, fresh(atoms, potential))
    assert traces() >= 2  # the second neighbours have come in


def test_no_atoms_and_one_atom():
    potential = with_references(lennard_jones(ELEMENTS, sigma=2.4, cutoff=4.0))
    nothing = fresh(Atoms(), potential)
    assert nothing.get_potential_energy() == 0
    assert nothing.get_forces().shape == (0, 3)
    one = fresh(Atoms("Te"), potential)
    assert one.get_potential_energy() == float(REFERENCES[2])
    np.testing.assert_array_equal(one.get_forces(), np.zeros((1, 3)))
    lattice = fresh(Atoms("Te", cell=np.eye(3) * 2.7, pbc=True), potential)
    np.testing.assert_allclose(lattice.get_forces(), 0, atol=1e-14)
    assert abs(lattice.get_stress()[0]) > 1e-4


def test_stress_without_a_volume_is_refused_and_the_rest_stays():
    atoms = fresh(crystal([True, True, False]), lennard_jones(ELEMENTS, sigma=2.4, cutoff=4.0))
    energy = atoms.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="periodic in three directions"):
        atoms.get_stress()
    assert atoms.get_potential_energy() == energy
    atoms.pbc = True
    assert atoms.get_stress().shape == (6,)


def scaled(potential, factor):
    weights = jax.tree.map(lambda leaf: leaf * factor, potential.params["weights"])
    return potential.replace(params={**potential.params, "weights": weights})


@pytest.mark.parametrize("form", ["list", "stack"])
def test_a_committee_reports_means_and_variances(mace, form):
    members = [scaled(mace, factor) for factor in (1.0, 1.02, 0.97)]
    atoms = fresh(crystal(), members if form == "list" else trees.stack(members))
    single = [fresh(crystal(), member) for member in members]
    energies = np.array([each.get_potential_energy() for each in single])
    forces = np.array([each.get_forces() for each in single])
    stresses = np.array([each.get_stress() for each in single])
    np.testing.assert_allclose(atoms.get_potential_energy(), energies.mean(), rtol=1e-14)
    np.testing.assert_array_equal(atoms.get_forces(), forces.mean(axis=0))
    results = {
        name: atoms.calc.get_property(name, atoms) for name in atoms.calc.implemented_properties
    }
    np.testing.assert_array_equal(results["energy_comm"], energies)
    np.testing.assert_allclose(results["energy_var"], energies.var(), rtol=1e-9)
    np.testing.assert_array_equal(results["forces_comm"], forces)
    np.testing.assert_array_equal(results["forces_var"], forces.var(axis=0))
    np.testing.assert_array_equal(results["stress_comm"], stresses)
    np.testing.assert_array_equal(results["stress_var"], stresses.var(axis=0))
    np.testing.assert_allclose(results["energies"].sum(), energies.mean(), rtol=1e-14)
    assert "energy_var" not in single[0].calc.implemented_properties
    atoms.pbc = False
    with pytest.raises(PropertyNotImplementedError, match="periodic in three"):
        atoms.calc.get_property("stress_var", atoms)


def test_saved_potentials_are_found_by_path(mace, tmp_path):
    def card(**changes):
        return Card(
            name="test",
            elements=symbols(ELEMENTS),
            model=mace.model.settings,
            reference="code A",
            functional="PBE",
        ).model_copy(update=changes)

    mlffjax.save(tmp_path / "one", mace, card())
    mlffjax.save(tmp_path / "two", scaled(mace, 1.1), card())
    mlffjax.save(tmp_path / "other", mace, card(reference="code B"))
    assert_same(fresh(crystal(), tmp_path / "one"), fresh(crystal(), mace), 0)
    atoms = fresh(crystal(), [str(tmp_path / "one"), tmp_path / "two"])
    assert atoms.get_potential_energy() < 0
    assert atoms.calc.results["energy_var"] > 0
    with pytest.raises(CompatibilityError, match=r"one reference method.*code A.*code B"):
        mlffjax.calculator([tmp_path / "one", tmp_path / "other"])
    with pytest.raises(InputError, match=r"card\.json"):
        mlffjax.calculator(tmp_path / "nothing")


def test_a_committee_has_one_model(mace):
    with pytest.raises(CompatibilityError, match="one model"):
        mlffjax.calculator([mace, lennard_jones(ELEMENTS)])
    with pytest.raises(InputError, match="at least one potential"):
        mlffjax.calculator([])
    broken = {**mace.params, "constants": {**mace.params["constants"], "scale": jnp.zeros(3)}}
    with pytest.raises(CompatibilityError, match="do not have the shapes"):
        mlffjax.calculator(mace.replace(params=broken))


def test_single_precision_is_kept_and_close(mace):
    far = crystal()
    far.positions += 1000.0  # single precision has steps of 6e-5 Å there
    low, high = fresh(far, mace, dtype="float32"), fresh(crystal(), mace)
    # Single precision: relative 1e-7 of edge vectors and of sums of some 1e3 terms of order 0.1.
    np.testing.assert_allclose(low.get_forces(), high.get_forces(), atol=1e-5)
    np.testing.assert_allclose(low.get_potential_energy(), high.get_potential_energy(), atol=1e-5)
    with jax.enable_x64(False):
        off = fresh(far, mace, dtype="float32")
        np.testing.assert_allclose(off.get_forces(), low.get_forces(), atol=1e-6)
        assert off.get_forces().dtype == np.float64


def test_double_precision_is_never_quietly_single(mace):
    ready = fresh(crystal(), mace)
    with jax.enable_x64(False):
        with pytest.raises(ConfigError, match=r"jax_enable_x64.*dtype='float32'"):
            mlffjax.calculator(mace)
        with pytest.raises(ConfigError, match="64-bit"):
            ready.get_potential_energy()
    assert np.isfinite(ready.get_potential_energy())


@pytest.mark.parametrize("choices", [{"dtype": "float16"}, {"skin": -0.1}, {"skin": float("nan")}])
def test_impossible_choices_are_refused(choices):
    with pytest.raises(ConfigError, match="expected"):
        mlffjax.calculator(lennard_jones((18,)), **choices)


def test_no_number_is_given_where_there_is_none():
    argon_only = lennard_jones((18,))
    with pytest.raises(CompatibilityError, match="contains Cr, Sb, Te"):
        fresh(crystal(), argon_only).get_forces()
    with pytest.raises(InputError, match="finite parameters"):
        mlffjax.calculator(scaled(argon_only, np.nan))
    with pytest.raises(InputError, match=r"NaN or infinity.*distance is 3\.7"):
        fresh(argon(), lennard_jones((18,), sigma=1e60, cutoff=6.5)).get_forces()
    stacked = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 1e-9]])
    with pytest.raises(InputError, match=r"distinct atoms.*1e-09 Å apart"):
        fresh(stacked, argon_only).get_forces()
    with pytest.raises(InputError, match="finite positions"):
        fresh(Atoms("Ar", positions=[[np.nan, 0, 0]]), argon_only).get_forces()
    with pytest.raises(InputError, match="periodic along 3 cell vectors"):
        fresh(Atoms("Ar", pbc=True), argon_only).get_forces()


def test_after_an_error_the_calculator_goes_on():
    atoms = fresh(argon(), counted()[0])
    before = atoms.get_potential_energy()
    good = atoms.positions.copy()
    atoms.positions[0] = atoms.positions[1]
    for _ in range(2):  # the failure is not remembered as a result
        with pytest.raises(InputError, match="distinct"):
            atoms.get_potential_energy()
    atoms.positions = good
    assert atoms.get_potential_energy() == before


def test_calculators_can_be_copied_and_sent(mace):
    atoms = fresh(crystal(), mace)
    forces = atoms.get_forces()
    for other in (copy.deepcopy(atoms.calc), pickle.loads(pickle.dumps(atoms.calc))):
        again = crystal(seed=3)
        again.calc = other
        again.get_forces()
        again.positions = atoms.positions
        np.testing.assert_array_equal(again.get_forces(), forces)


def test_the_door_is_in_the_package():
    assert mlffjax.calculator is ase_calculator.calculator
    assert mlffjax.calculator(lennard_jones((18,))).name == "mlffjax"
