import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pathways.argon import crystal
from scipy.stats import rankdata

from mlffjax import trees
from mlffjax.active import influence as module
from mlffjax.active.influence import InfluenceConfig, influence, leave_one_out, tracin
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.graphs.batching import Shape, build
from mlffjax.pathways import sensitivity
from mlffjax.pathways.profiles import band
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import predict
from mlffjax.potential.pair import lennard_jones
from mlffjax.potential.sources import mace
from mlffjax.probes._example import migration
from mlffjax.structures import bundled, paths
from mlffjax.structures.files import read_frames
from mlffjax.structures.system import Frame
from mlffjax.training import reference_energies
from mlffjax.training.config import LossConfig, ScheduleConfig, TrainingConfig
from mlffjax.training.fit import fit
from mlffjax.training.recipe import all_weights, standard

CUTOFF = 5.5
LOSS = LossConfig(energy=100.0, forces=100.0, stress=0.0)
TRAINING = TrainingConfig(
    epochs=120,
    patience=120,
    batch=24,
    learning_rate=5e-3,
    ema=None,
    clip=None,
    keep="last",
    precision="float64",
    loss=LOSS,
    schedule=ScheduleConfig(kind="cosine", floor=1e-3),
    buckets=1,
)
path_gradient = jax.jit(sensitivity.path_gradient)
answer = jax.jit(predict)


def rank_correlation(one, other):
    """Spearman's."""
    return np.corrcoef(rankdata(one), rankdata(other))[0, 1]


def argon(epsilon=0.0104, sigma=3.40):
    made = lennard_jones((18,), epsilon=epsilon, sigma=sigma, cutoff=CUTOFF)
    return trees.cast(made, np.float64)


def frame(index, rng, *, atoms=4):
    """Rattled argon with noisy labels: without noise every frame would ask for the same."""
    made = crystal(1 if atoms <= 4 else 2)
    cell = made.cell * rng.uniform(0.98, 1.02)
    positions = made.positions[:atoms] + rng.normal(scale=0.1, size=(atoms, 3))
    system = made._replace(positions=positions, numbers=made.numbers[:atoms], cell=cell)
    labels = answer(argon(), build([system], (18,), CUTOFF, dtype=np.float64))
    energy = float(labels.energy[0]) + 0.001 * atoms * rng.normal()
    forces = np.asarray(labels.forces) + 0.01 * rng.normal(size=(atoms, 3))
    stress = np.asarray(labels.stress[0])
    name = f"argon {index}"
    return Frame(system, energy, forces, stress, "argon", "argon", float(index), name, name, {})


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(3)
    return tuple(frame(index, rng) for index in range(24))


@pytest.fixture(scope="module")
def images():
    return band([f.system for f in migration().paths["hop"].frames], (18,), CUTOFF)


@pytest.fixture(scope="module")
def recipe():
    return standard(*all_weights(argon(0.0095, 3.38)), TRAINING)


@pytest.fixture(scope="module")
def trained(recipe, frames):
    return fit(recipe, frames, frames[:2], TRAINING, seed=0).potential


@pytest.fixture(scope="module")
def gradient(trained, images):
    return path_gradient(trained, images).params


def test_prediction_agrees_with_training_again(recipe, trained, frames, images, gradient):
    """24 frames, each left out once: ranks, signs and sizes."""
    found = influence(trained, frames, gradient, InfluenceConfig(loss=LOSS, damping=1e-6))
    again = leave_one_out(
        recipe,
        frames,
        frames[:2],
        TRAINING,
        lambda p: float(path_gradient(p, images).value),
        seed=0,
    )
    assert found.residual < 1e-3
    assert np.abs(again.change).max() > 1e-4  # eV; there is something to predict
    # Measured: 0.999; two parameters leave hardly anything beyond first order.
    assert rank_correlation(found.left_out, again.change) > 0.98
    slope = (found.left_out @ again.change) / (found.left_out @ found.left_out)
    assert slope == pytest.approx(1.0, abs=0.2)  # 1 + O(1 / frames)
    simple = tracin([trained], [1.0], frames, [gradient], InfluenceConfig(loss=LOSS))
    assert rank_correlation(simple.left_out, again.change) > 0.7  # measured: 0.90


def test_silencing_a_frame_is_leaving_it_out(recipe, frames, images):
    """With all frames in one batch, Adam does not see the factor (n - 1) / n of the loss."""

    def value(potential):
        return float(path_gradient(potential, images).value)

    short = TRAINING.model_copy(update={"epochs": 30})
    few = frames[:6]
    silenced = leave_one_out(recipe, few, few[:2], short, value, seed=0, leave=[4])
    assert len(silenced.change) == 1
    without = fit(recipe, few[:4] + few[5:], few[:2], short, seed=0).potential
    assert silenced.value + silenced.change[0] == pytest.approx(value(without), abs=1e-7)
    complete = fit(recipe, few, few[:2], short, seed=0).potential
    assert silenced.value == pytest.approx(value(complete), abs=1e-12)


MOST = 16  # atoms


@jax.jit
def residuals(potential, graph, labels, factors):
    """All residuals of one frame, their squares adding up to its loss, and their derivatives."""
    energy, forces, stress, atoms = labels
    by_energy, by_forces, by_stress = factors

    def each(weights):
        moved = dataclasses.replace(potential, params=potential.params | {"weights": weights})
        found = predict(moved, graph)
        parts = [
            jnp.sqrt(by_energy) * (found.energy - energy) / atoms,
            jnp.sqrt(by_forces / (3 * atoms)) * (found.forces - forces).reshape(-1),
            jnp.sqrt(by_stress / 9) * (found.stress[0] - stress).reshape(-1),
        ]
        return (jnp.concatenate(parts),) * 2

    rows, values = jax.jacfwd(each, has_aux=True)(potential.params["weights"])
    return values, jnp.stack([rows[name] for name in ("epsilon", "sigma")], axis=1)


def written_out(potential, made, loss):
    """Residuals of a frame and their derivatives by epsilon and sigma."""
    atoms = len(made.system.numbers)
    graph = build([made.system], (18,), CUTOFF, shape=Shape(MOST, 40, 1), dtype=np.float64)
    forces = np.zeros((MOST, 3))
    forces[:atoms] = made.forces
    labels = made.energy, forces, made.stress, float(atoms)
    values, jacobian = residuals(potential, graph, labels, (loss.energy, loss.forces, loss.stress))
    return np.asarray(values), np.asarray(jacobian)


def test_influence_is_that_of_the_written_out_matrix(trained, gradient):
    """Two sizes of frame, so two array shapes; energies, forces and stresses."""
    rng = np.random.default_rng(8)
    mixed = [frame(index, rng, atoms=4 if index % 2 else MOST) for index in range(5)]
    loss = LossConfig(energy=3.0, forces=20.0, stress=1e4)
    matrix, slopes = np.zeros((2, 2)), []
    for made in mixed:
        values, jacobian = written_out(trained, made, loss)
        matrix += 2 * jacobian.T @ jacobian / len(mixed)
        slopes.append(2 * jacobian.T @ values)
    found = influence(
        trained, mixed, gradient, InfluenceConfig(loss=loss, damping=1e-3, tolerance=1e-10)
    )
    assert found.damping == pytest.approx(1e-3 * np.linalg.eigvalsh(matrix)[-1], rel=1e-3)
    target = np.array([gradient["weights"][name] for name in ("epsilon", "sigma")])
    pull = np.linalg.solve(matrix + found.damping * np.eye(2), target)
    np.testing.assert_allclose(found.left_out, np.array(slopes) @ pull / len(mixed), rtol=1e-6)
    # Only one of the weights: a matrix of one number.
    one = influence(
        trained, mixed, gradient, InfluenceConfig(loss=loss, damping=1e-3, weights=("eps*",))
    )
    pull = target[0] / (matrix[0, 0] + one.damping)
    np.testing.assert_allclose(one.left_out, np.array(slopes)[:, 0] * pull / len(mixed), rtol=1e-6)


def test_tracin_is_the_effect_of_one_gradient_step(frames, images):
    """q after a small step without a frame, minus q after a step with it."""
    potential, few = argon(0.0100, 3.39), frames[:4]
    weights, rate = potential.params["weights"], 1e-9
    gradient = path_gradient(potential, images).params
    pairs = [written_out(potential, made, LOSS) for made in few]
    slopes = [
        dict(zip(("epsilon", "sigma"), 2 * jacobian.T @ values, strict=True))
        for values, jacobian in pairs
    ]
    total = jax.tree.map(lambda *parts: sum(parts) / 4, *slopes)

    def after(step):
        moved = jax.tree.map(lambda w, s: w - rate * s, weights, step)
        return float(
            path_gradient(
                dataclasses.replace(potential, params=potential.params | {"weights": moved}), images
            ).value
        )

    found = tracin([potential, potential], [rate / 8] * 2, few, [gradient] * 2,
                   InfluenceConfig(loss=LOSS))  # fmt: skip
    for index, slope in enumerate(slopes):
        without = jax.tree.map(lambda t, s: t - s / 4, total, slope)
        expected = after(without) - after(total)
        # Rounding of energies near 1 eV, over changes of 1e-7 eV.
        assert found.left_out[index] == pytest.approx(expected, rel=1e-4, abs=1e-13)


def test_bad_input_is_told(trained, frames, gradient):
    with pytest.raises(InputError, match="got none"):
        influence(trained, [], gradient)
    with pytest.raises(InputError, match=r"no weight is called readout\* or x; there are epsilon"):
        influence(trained, frames, gradient, InfluenceConfig(weights=("readout*", "x")))
    with pytest.raises(InputError, match="tree of the parameters"):
        influence(trained, frames, gradient["weights"])
    with pytest.raises(InputError, match="NaN or infinity; is the point stationary"):
        influence(trained, frames, jax.tree.map(lambda leaf: leaf * jnp.nan, gradient))
    with pytest.raises(InputError, match="2 checkpoints, 1 rates and 2 gradients"):
        tracin([trained] * 2, [1.0], frames, [gradient] * 2)
    bare = dataclasses.replace(trained, params=trained.params["constants"])
    with pytest.raises(CompatibilityError, match="potential with weights"):
        module._chosen(bare.params, bare, InfluenceConfig())


def test_a_number_that_does_not_care_gives_zeros(trained, frames, gradient):
    found = influence(trained, frames[:3], jax.tree.map(jnp.zeros_like, gradient))
    np.testing.assert_array_equal(found.left_out, 0)


@pytest.mark.slow
def test_ranks_of_a_small_mace_trained_on_pbe_frames():
    """20 frames of doped Sb2Te3, the barrier of the in-gap path, all 3296 weights.

    The network is trained for 400 steps only and its loss is not convex, so first order does not
    tell all: measured Spearman 0.80 at this damping, less at others.
    """
    frames = read_frames(bundled.root() / "md_doped_600K.xyz")[:20]
    settings = mace.example().model_copy(
        update={"r_max": 4.5, "hidden_irreps": "8x0e+8x1o", "max_ell": 2, "correlation": 2,
                "num_bessel": 6, "radial_mlp": (16,), "mlp_irreps": "8x0e"}
    )  # fmt: skip
    model = mace.energy_model(settings, (24, 51, 52))
    potential = Potential(model.init(key=jax.random.key(0)), model)
    references = reference_energies.estimate("least_squares", frames, potential, isolated={})
    potential = reference_energies.with_constants(
        potential, {"atomic_energies": references.energies}
    )
    scale, shift = reference_energies.scale_and_shift(frames, potential)
    density = reference_energies.average_neighbors(frames, 4.5)
    potential = reference_energies.with_constants(
        potential, {"scale": scale, "shift": shift, "average_neighbors": density}
    )
    loss = LossConfig(energy=10.0, forces=10.0, stress=0.0)
    training = TRAINING.model_copy(
        update={"epochs": 100, "patience": 100, "batch": 5, "precision": "float32", "loss": loss}
    )
    path = paths.read_path(bundled.files("in_gap")[0], "in_gap")
    images = band([image.system for image in path.frames], (24, 51, 52), 4.5)

    def gradient_of(potential):
        return path_gradient(trees.cast(potential, np.float64), images)

    recipe = standard(*all_weights(potential), training)
    trained = fit(recipe, frames, frames[:2], training, seed=0).potential
    found = influence(
        trained, frames, gradient_of(trained).params, InfluenceConfig(loss=loss, damping=1e-3)
    )
    again = leave_one_out(
        recipe, frames, frames[:2], training, lambda p: float(gradient_of(p).value), seed=0
    )
    assert rank_correlation(found.left_out, again.change) > 0.5
