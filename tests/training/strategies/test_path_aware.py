import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax.errors import CompatibilityError
from mlffjax.graphs.batching import build
from mlffjax.training.fit import fit
from mlffjax.training.strategies import finetune, path_aware

KEY = jax.random.key(0)


def recipe(ingredients, **choices):
    return path_aware.build(path_aware.Config(paths=("hop",), **choices), ingredients, key=KEY)


def test_penalty_is_the_misfit_of_relative_energies_and_forces(rich, hop, predicted):
    made = recipe(rich, weight=3.0, forces=0.5)
    potential = made.realize(made.trainable)
    energies, forces = [], []
    for frame in hop.frames:
        label = predicted(
            potential, build([frame.system], (18,), potential.cutoff, dtype=np.float64)
        )
        energies.append(float(label.energy[0]) - frame.energy)
        forces.append(np.asarray(label.forces) - frame.forces)
    errors = np.array(energies) - energies[0]
    expected = 3.0 * (errors[1:] ** 2).mean() + 0.5 * (np.array(forces) ** 2).mean()
    # totals of -28 eV are subtracted in float64: 1e-14 of them against errors of some meV
    assert float(made.penalty(made.trainable)) == pytest.approx(expected, rel=1e-9)
    energy_only = recipe(rich, weight=3.0)
    expected = 3.0 * (errors[1:] ** 2).mean()
    assert float(energy_only.penalty(energy_only.trainable)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("forces", [0.0, 0.7])
def test_gradient_against_finite_differences(rich, forces):
    made = recipe(rich, forces=forces)
    gradient = jax.jit(jax.grad(made.penalty))(made.trainable)
    value = jax.jit(made.penalty)
    for name in made.trainable:
        step = 1e-5 * float(made.trainable[name])
        up, down = (
            float(value(made.trainable | {name: made.trainable[name] + sign * step}))
            for sign in (1, -1)
        )
        # central differences: relative error of step² ~ 1e-10 times curvature, rounding 1e-16/1e-5
        assert float(gradient[name]) == pytest.approx((up - down) / (2 * step), rel=1e-6)


def test_two_paths_have_each_their_own_first_image(rich, hop):
    back = hop._replace(name="back", frames=hop.frames[::-1])
    both = rich._replace(paths={"hop": hop, "back": back})
    config = path_aware.Config(paths=("hop", "back"))
    made = path_aware.build(config, both, key=KEY)
    single = [
        path_aware.build(path_aware.Config(paths=(name,)), both, key=KEY)
        for name in ("hop", "back")
    ]
    each = [float(one.penalty(one.trainable)) for one in single]
    assert each[0] != pytest.approx(each[1], rel=1e-3)
    assert float(made.penalty(made.trainable)) == pytest.approx(np.mean(each), rel=1e-9)


def test_profile_is_learned_beyond_what_the_frames_teach(rich, hop):
    """The frames say too little: two of them, of wrong labels."""
    training = rich.training.model_copy(
        update={"epochs": 60, "learning_rate": 3e-3, "keep": "last"}
    )
    frames = [f._replace(forces=0.5 * f.forces) for f in rich.dataset.frames]
    frames = [f._replace(stress=None, energy=None) for f in frames]
    errors = []
    for weight in (0.0, 1e4):
        made = path_aware.build(
            path_aware.Config(paths=("hop",), weight=weight),
            rich._replace(training=training),
            key=KEY,
        )
        fitted = fit(made, frames[:2], frames[2:4], training, seed=0)
        judge = recipe(rich, weight=1.0)
        errors.append(float(judge.penalty(fitted.potential.params["weights"])))
    assert errors[1] < 0.3 * errors[0]


def test_without_weights_it_is_finetuning_bit_by_bit(rich):
    frames = rich.dataset.frames
    ours, theirs = (
        fit(one, frames[:6], frames[6:], rich.training, seed=3)
        for one in (
            recipe(rich, weight=0.0),
            finetune.build(finetune.Config(), rich, key=KEY),
        )
    )
    jax.tree.map(np.testing.assert_array_equal, ours.potential, theirs.potential)


def test_thinned_paths_keep_ends_and_summit(hop):
    energies = [0.0, 0.1, 0.2, 0.9, 0.3, 0.2, 0.1, 0.0, -0.1]
    frames = tuple(hop.frames[0]._replace(energy=e, order=float(i)) for i, e in enumerate(energies))
    path = hop._replace(frames=frames)
    assert [f.order for f in path_aware.thinned(path, 3).frames] == [0, 3, 8]
    assert [f.order for f in path_aware.thinned(path, 5).frames] == [0, 3, 4, 6, 8]
    assert path_aware.thinned(path, None) is path
    assert path_aware.thinned(path, 9) is path


def test_images_travel_as_arguments(rich):
    """Two runs with other labels share one compilation."""
    traces = []

    @jax.jit
    def evaluated(penalty, trainable):
        traces.append(1)
        return penalty(trainable)

    for weight in (1.0, 2.0):
        made = recipe(rich, weight=weight)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(made.penalty))
        evaluated(made.penalty, made.trainable)
    assert len(traces) == 1
    assert jnp.issubdtype(made.penalty.args[1].relative.dtype, jnp.float64)


def test_what_is_missing_is_named(rich, hop):
    with pytest.raises(CompatibilityError, match="learns from the path 'hop', got none"):
        recipe(rich._replace(paths={}))
    bare = hop._replace(frames=tuple(f._replace(energy=None, forces=None) for f in hop.frames))
    with pytest.raises(CompatibilityError, match="'hop', whose images have no energies"):
        recipe(rich._replace(paths={"hop": bare}))
    mute = hop._replace(frames=tuple(f._replace(forces=None) for f in hop.frames))
    with pytest.raises(CompatibilityError, match="no forces"):
        recipe(rich._replace(paths={"hop": mute}), forces=1.0)
