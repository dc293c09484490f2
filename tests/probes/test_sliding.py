import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import InputError
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import sliding
from mlffjax.probes._example import SPACING, slide
from mlffjax.structures import builders
from mlffjax.structures.paths import Path
from mlffjax.structures.system import Frame


@pytest.fixture(scope="module")
def potential():
    return trees.cast(lennard_jones((51, 52), epsilon=0.02, sigma=3.0, cutoff=7.0), jnp.float64)


def bilayer_path(shifts):
    """Sb2Te3 bilayer, sheared by slide vectors; three are a lattice vector."""
    frames = tuple(
        Frame(builders.bilayer(1, shift=s), None, None, None, "", "", k, "", "", {})
        for k, s in enumerate(shifts)
    )
    return Path("slide", frames, closed=False)


def measured(path, potential):
    context = slide()._replace(elements=potential.elements, cutoff=potential.cutoff)
    context = context._replace(paths={"slide": path})
    probe = sliding.build(sliding.Config(name="slide", path="slide"), context)
    return probe, jax.jit(lambda measure, p: measure(p))(probe.measure, potential)


def test_cell_thinner_than_the_cutoff_closes(potential):
    """a = 4.26 Å, cutoff 7 Å; the last image is a lattice translation of the first."""
    probe, found = measured(bilayer_path([0.0, 1.0, 2.0, 3.0]), potential)
    # The same sum of some hundred terms in another order.
    assert found["closure_error"] < 1e-10
    assert found["asymmetry"] == pytest.approx(0, abs=1e-10)
    assert found["barrier"] > 1e-3
    assert probe.inspect({"closure_error": float(found["closure_error"])}) == []


def test_closure_image_moves_the_sliding_layer_by_a_lattice_vector():
    path = bilayer_path([0.0, 1.5, 3.0])
    first, image = path.frames[0].system, sliding.closure_image(path)
    moved = image.positions - first.positions
    np.testing.assert_allclose(moved[:5], 0, atol=1e-12)
    np.testing.assert_allclose(moved[5:], np.tile(3 * builders.slide_vector(), (5, 1)), atol=1e-9)


def test_short_slide_is_prolonged_in_its_direction():
    """A third of a slide vector: no lattice vector is near; the one along it is taken."""
    path = bilayer_path([0.0, 0.2, 0.4])
    image = sliding.closure_image(path)
    moved = (image.positions - path.frames[0].system.positions)[5:]
    np.testing.assert_allclose(moved, np.tile(3 * builders.slide_vector(), (5, 1)), atol=1e-9)


def test_wrong_cell_fails_the_self_test_and_is_called_a_defect(potential):
    """A neighbour list with one periodic image missing is what minimum image does in thin cells."""
    probe, _ = measured(bilayer_path([0.0, 1.0, 2.0, 3.0]), potential)
    data, *_ = jax.tree.leaves(probe.measure, is_leaf=lambda node: isinstance(node, sliding._Data))
    shifts = np.asarray(data.images.shifts)
    kept = np.asarray(data.images.edge_mask) & (np.abs(shifts).sum(-1) < 2)
    broken = sliding._Data(data.images._replace(edge_mask=kept), None)
    error = float(jax.jit(sliding._Measure(None))(broken, potential)["closure_error"])
    (warning,) = probe.inspect({"closure_error": error})
    assert "defect of cell" in warning
    assert "not of the model's physics" in warning


def test_errors_against_known_labels():
    context = slide(7)
    potential = trees.cast(lennard_jones((18,), cutoff=5.5), jnp.float64)
    probe = sliding.build(sliding.Config(name="slide", path="slide"), context)
    found = probe.measure(potential)
    reference = probe.constants["energy_reference"]
    np.testing.assert_allclose(probe.constants["reaction_coordinate"], np.linspace(0, 1, 7))
    assert probe.constants["arclength"][-1] == pytest.approx(SPACING)
    difference = np.asarray(found["energy_model"]) - reference
    assert found["path_rmse"] == pytest.approx(np.sqrt((difference[1:] ** 2).mean()))
    assert found["barrier_error"] == pytest.approx(float(found["barrier"]) - 0.1)


def test_without_labels_closure_is_still_tested():
    context = slide(labelled=False)
    probe = sliding.build(sliding.Config(name="slide", path="slide"), context)
    assert "no reference energies" in probe.reasons["barrier_error"]
    assert "closure_error" not in probe.reasons


def test_path_on_which_everything_moves_is_refused():
    path = slide().paths["slide"]
    last = path.frames[-1]
    moved = last._replace(system=last.system._replace(positions=last.system.positions + 1.0))
    with pytest.raises(InputError, match="2 of 2 atoms moving"):
        sliding.closure_image(path._replace(frames=(*path.frames[:-1], moved)))


def test_slide_out_of_the_periodic_plane_is_refused():
    path = slide().paths["slide"]
    frames = []
    for index, frame in enumerate(path.frames):
        rise = np.array([[0, 0, 0], [0, 0, 0.3 * index]])
        positions = path.frames[0].system.positions + rise
        pbc = np.array([True, True, False])
        frames.append(frame._replace(system=frame.system._replace(positions=positions, pbc=pbc)))
    with pytest.raises(InputError, match="periodic directions"):
        sliding.closure_image(path._replace(frames=tuple(frames)))
