import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError, ConfigError, MissingExtra
from mlffjax.graphs.batching import build
from mlffjax.pathways import gamma_surface, slide
from mlffjax.potential import dispersion, store
from mlffjax.potential.card import Card
from mlffjax.potential.derivatives import energies, predict
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures import builders, layers
from mlffjax.structures.system import Frame, to_ase

pytest.importorskip("dftd3")
ELEMENTS = (51, 52)
_predict = jax.jit(predict)


@pytest.fixture(scope="module")
def plain():
    return trees.cast(lennard_jones(ELEMENTS, epsilon=0.05, sigma=2.9, cutoff=6.0), jnp.float64)


def card_of(**changes):
    entries = {"name": "plain", "elements": ("Sb", "Te"), "reference": "none", "functional": "PBE",
               "model": {"kind": "lennard_jones", "cutoff": 6.0}}  # fmt: skip
    return Card(**(entries | changes))


@pytest.fixture(scope="module")
def summed(plain):
    return dispersion.corrected(plain, card_of())


def crystal():
    system = builders.bulk(1)
    moved = system.positions + np.random.default_rng(0).normal(scale=0.05, size=(5, 3))
    return system._replace(positions=moved)


def graph_of(system):
    return build([system], ELEMENTS, 6.0, dtype=np.float64)


@pytest.mark.parametrize("damping", dispersion.NAMES)
def test_correction_is_that_of_the_librarys_own_calculator(damping):
    from dftd3.ase import DFTD3

    system = crystal()
    atoms = to_ase(system)
    atoms.calc = DFTD3(method="PBE", damping=damping)
    found = dispersion.correction(system, "pbe", damping=damping)
    assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-12)
    assert found.stress is not None
    np.testing.assert_allclose(found.stress, atoms.get_stress(voigt=False), atol=1e-12)


def test_sum_of_potential_and_correction(plain, summed):
    system = crystal()
    potential, card = summed
    alone, both = _predict(plain, graph_of(system)), _predict(potential, graph_of(system))
    added = dispersion.correction(system, "pbe")
    assert float(both.energy[0]) == pytest.approx(float(alone.energy[0]) + added.energy)
    np.testing.assert_allclose(both.forces, alone.forces + added.forces, atol=1e-12)
    np.testing.assert_allclose(both.stress[0], alone.stress[0] + added.stress, atol=1e-12)
    assert card.dispersion == "D3(BJ), parameters of PBE"
    assert potential.params is plain.params
    assert potential.model.supports == frozenset()


def test_stress_of_the_sum_against_strain(summed):
    system, (potential, _) = crystal(), summed
    found = _predict(potential, graph_of(system))
    energy = jax.jit(energies)
    h, volume = 1e-3, abs(np.linalg.det(system.cell))
    for i, j in ((2, 2), (0, 1)):
        strained = []
        for sign in (1, -1):
            matrix = np.eye(3)
            matrix[i, j] += sign * h / 2
            matrix[j, i] += sign * h / 2
            moved = system._replace(positions=system.positions @ matrix, cell=system.cell @ matrix)
            strained.append(float(energy(potential, graph_of(moved))[0]))
        slope = (strained[0] - strained[1]) / (2 * h) / volume
        # Truncation h² and the library's cut pairs at 60 Bohr; the stress is some 1e-2 eV/Å³.
        assert float(found.stress[0, i, j]) == pytest.approx(slope, abs=2e-6)


def test_sliding_closes_and_dispersion_binds(plain, summed):
    system = builders.bilayer(1)
    along = slide.slider(system, layers.find(system))
    potential, _ = summed
    assert gamma_surface.closure_error(potential, along) < 1e-9
    apart = system._replace(
        positions=system.positions + np.where(along.moving[:, None], [0, 0, 1.0], 0)
    )
    pulled = [float(jax.jit(energies)(p, graph_of(s))[0]) for p in (plain, potential)
              for s in (system, apart)]  # fmt: skip
    assert pulled[3] - pulled[2] > pulled[1] - pulled[0]


def test_counting_twice_is_refused(plain, summed):
    with pytest.raises(CompatibilityError, match="count it twice"):
        dispersion.corrected(*summed)
    with pytest.raises(CompatibilityError, match="D3 from VASP"):
        dispersion.corrected(plain, card_of(dispersion="D3 from VASP"))
    frame = Frame(crystal(), -1.0, None, None, "a", "a", 0.0, "a", "a", {})
    with pytest.raises(CompatibilityError, match="count it twice"):
        dispersion.corrected_frames([frame], method="PBE", dispersion="D3(BJ)")


def test_parameters_belong_to_the_functional(plain):
    with pytest.raises(CompatibilityError, match="belong to another"):
        dispersion.corrected(plain, card_of(), method="TPSS")
    assert dispersion.corrected(plain, card_of(), method="pbe")[1].dispersion is not None
    with pytest.raises(ConfigError, match="no D3\\(BJ\\) parameters"):
        dispersion.corrected(plain, card_of(functional="nonsense"))


def test_labels(plain):
    system = crystal()
    added = dispersion.correction(system, "pbe")
    forces, stress = np.ones((5, 3)), np.eye(3)
    frames = [Frame(system, -1.0, forces, stress, "a", "a", 0.0, "a", "a", {}),
              Frame(system, None, None, None, "a", "a", 1.0, "b", "b", {})]  # fmt: skip
    both = dispersion.corrected_frames(frames, method="PBE", dispersion=None)
    assert both[0].energy == pytest.approx(added.energy - 1.0)
    first = both[0]
    assert first.forces is not None
    assert first.stress is not None
    assert added.stress is not None
    np.testing.assert_allclose(first.forces, forces + added.forces)
    np.testing.assert_allclose(first.stress, stress + added.stress)
    assert both[1] == frames[1]


def test_corrected_potentials_are_not_stored(summed, tmp_path):
    """The store would forget the correction; it is added when the potential is loaded."""
    with pytest.raises((ConfigError, CompatibilityError)):
        store.save(tmp_path, *summed)


def test_missing_library_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "dftd3.interface", None)
    with pytest.raises(MissingExtra, match="mlffjax\\[dispersion\\]"):
        dispersion.correction(crystal(), "pbe")
