import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import trees
from mlffjax.errors import CompatibilityError, ConfigError
from mlffjax.graphs.batching import build as build_graph
from mlffjax.potential import derivatives
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import fixed_path
from mlffjax.probes._example import migration

IMAGES = 7


@pytest.fixture(scope="module")
def potential():
    return trees.cast(lennard_jones((18,), epsilon=0.02, sigma=3.3, cutoff=5.5), jnp.float64)


@pytest.fixture(scope="module")
def context():
    return migration(IMAGES)


def relabelled(context, energies, forces=None):
    path = context.paths["hop"]
    forces = [frame.forces for frame in path.frames] if forces is None else forces
    frames = tuple(
        frame._replace(energy=e, forces=f)
        for frame, e, f in zip(path.frames, energies, forces, strict=True)
    )
    return context._replace(paths={"hop": path._replace(frames=frames)})


def measure(context, potential):
    probe = fixed_path.build(fixed_path.Config(name="hop", path="hop"), context)
    found = _measured(probe.measure, potential)
    return probe, {name: np.asarray(value) for name, value in found.items()}


@jax.jit
def _measured(probe, potential):
    return probe(potential)


@pytest.fixture(scope="module")
def own_labels(context, potential):
    """Energies and forces of the potential itself on the images."""
    frames = context.paths["hop"].frames
    one = jax.jit(derivatives.energies_and_forces)
    graphs = [build_graph([f.system], (18,), 5.5, dtype=np.float64) for f in frames]
    return tuple(
        zip(
            *((float(e[0]), np.asarray(f)) for e, f in (one(potential, g) for g in graphs)),
            strict=True,
        )
    )


def test_all_errors_vanish_against_its_own_labels_in_any_energy_zero(
    context, potential, own_labels
):
    energies, forces = own_labels
    probe, found = measure(relabelled(context, [e - 123.4 for e in energies], forces), potential)
    assert probe.reasons == {}
    for name in found:
        if name.endswith("_error") or name in ("path_rmse", "transition_shift"):
            # Energies of 1 eV with an offset of 123 eV: rounding of order 1e-14.
            assert found[name] == pytest.approx(0, abs=1e-11), name
    assert found["force_slope"] == pytest.approx(1, abs=1e-12)
    assert found["extrema"] == found["extrema_reference"] == 1


def test_shift_tilt_and_scale_of_the_reference_show_where_they_should(
    context, potential, own_labels
):
    """Reference = half of the potential's energies and forces, tilted by 0.1 eV over the path."""
    energies, forces = (np.array(labels) for labels in own_labels)
    s = np.linspace(0, 1, IMAGES)
    _, found = measure(relabelled(context, 0.5 * energies + 0.1 * s, 0.5 * forces), potential)
    relative = energies - energies[0]
    reference = 0.5 * relative + 0.1 * s
    assert found["barrier"] == pytest.approx(relative.max(), abs=1e-12)
    assert found["barrier_error"] == pytest.approx(relative.max() - reference.max(), abs=1e-12)
    assert found["asymmetry_error"] == pytest.approx(-0.1, abs=1e-12)
    place = reference.argmax()
    assert found["transition_image_error"] == pytest.approx(
        relative[place] - reference[place], abs=1e-12
    )
    assert found["path_rmse"] == pytest.approx(
        np.sqrt(((relative - reference)[1:] ** 2).mean()), abs=1e-12
    )
    assert found["force_slope"] == pytest.approx(2, abs=1e-12)


def test_parts_of_the_force_error_along_and_across_the_path(context, potential, own_labels):
    energies, forces = own_labels
    along, across = np.zeros((9, 3)), np.zeros((9, 3))
    along[8, 0], across[8, 1] = 0.27, 0.27  # the path runs along x
    found = measure(relabelled(context, energies, [f + along for f in forces]), potential)[1]
    assert found["force_mae_parallel"] == pytest.approx(0.27, abs=1e-12)
    assert found["force_mae_perpendicular"] == pytest.approx(0, abs=1e-12)
    found = measure(relabelled(context, energies, [f + across for f in forces]), potential)[1]
    assert found["force_mae_parallel"] == pytest.approx(0, abs=1e-12)
    # One of 27 components is wrong.
    assert found["force_mae_perpendicular"] == pytest.approx(0.27 / 27, abs=1e-12)


def test_reference_curve_of_a_known_profile(context, potential):
    """The example's labels are 0.3 sin²(pi s): top 0.3 eV in the middle, which is an image."""
    probe, found = measure(context, potential)
    assert found["barrier_reference"] == pytest.approx(0.3, abs=1e-12)
    assert found["barrier_hermite_reference"] == pytest.approx(0.3, abs=1e-12)
    assert probe.constants["curve_energy_reference"].max() == pytest.approx(0.3, abs=1e-12)
    assert found["transition_shift"] == pytest.approx(0, abs=1e-9)  # both symmetric


def test_maximum_between_images_is_found_by_the_curve(potential):
    """With six images the top lies between two of them; the images alone miss it."""
    _, found = measure(migration(6), potential)
    highest_image = 0.3 * np.sin(np.pi * 0.4) ** 2
    assert found["barrier_reference"] == pytest.approx(highest_image, abs=1e-12)
    # h^4 max|E''''| / 384 with h = 1/5 and E'''' = 0.3 * 8 pi^4.
    assert found["barrier_hermite_reference"] == pytest.approx(0.3, abs=0.2**4 * 234 / 384)
    assert highest_image < found["barrier_hermite_reference"]


def test_without_labels_only_the_profile_is_measured(potential):
    probe, found = measure(migration(IMAGES, labelled=False), potential)
    assert "no reference energies" in probe.reasons["barrier_error"]
    assert "lacks reference energies or forces" in probe.reasons["force_slope"]
    assert "barrier" in found
    assert not set(found) & set(probe.reasons)
    assert not any("reference" in name for name in (*found, *probe.constants))


def test_highest_image_at_an_end_is_pointed_out(context, potential):
    probe, found = measure(context, potential)
    scalars = {name: float(value) for name, value in found.items() if value.ndim == 0}
    assert probe.inspect(scalars) == []
    assert "an end" in probe.inspect(scalars | {"barrier": 0.2, "asymmetry": 0.2})[0]
    assert "an end" in probe.inspect(scalars | {"barrier": 0.0, "asymmetry": -0.2})[0]


def test_unknown_path_and_element_are_named(context):
    with pytest.raises(ConfigError, match="no path 'hup'; known paths: hop"):
        fixed_path.build(fixed_path.Config(name="x", path="hup"), context)
    with pytest.raises(CompatibilityError, match="Ar"):
        fixed_path.build(fixed_path.Config(name="x", path="hop"), context._replace(elements=(36,)))
