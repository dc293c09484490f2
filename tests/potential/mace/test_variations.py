"""What holds for every kind of MACE: invariances, a smooth end, old cards, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from mlffjax import trees
from mlffjax.config import fingerprint, validate
from mlffjax.errors import ConfigError
from mlffjax.graphs.batching import Shape, build
from mlffjax.potential.base import Potential
from mlffjax.potential.derivatives import energies, hessian_vector_product, predict
from mlffjax.potential.mace.config import INTERACTIONS, MaceConfig
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace.radial_mlp import Edges, NormalisedMlp, edge_features
from mlffjax.potential.sources import mace as source
from mlffjax.structures.system import from_ase

GATED = "RealAgnosticResidualNonLinear"
TINY = {
    "r_max": 4.0, "num_bessel": 4, "max_ell": 1, "correlation": 2, "mlp_irreps": "3x0e",
    "hidden_irreps": "4x0e + 4x1o", "radial_mlp": [5],
}  # fmt: skip
VARIATIONS = {
    "gated": {
        "interaction": GATED, "apply_cutoff": False, "edge_irreps": "3x0e + 2x1o + 1x2e",
        "edge_irreps_first": "2x0e + 2x1o", "readout": "NonLinearBias",
        "use_agnostic_product": True, "use_last_readout_only": True,
    },
    "density": {
        "interaction_first": "RealAgnosticDensity", "interaction": "RealAgnosticDensityResidual",
        "distance_transform": "Agnesi", "pair_repulsion": True,
    },
    "chebyshev": {
        "interaction": "RealAgnostic", "radial_type": "chebyshev", "distance_transform": "Soft",
    },
    "gaussian": {"radial_type": "gaussian", "apply_cutoff": False, "interaction_first": GATED},
}  # fmt: skip
ELEMENTS, SHAPE = (24, 51, 52), Shape(8, 64, 2)
evaluate = jax.jit(predict)


@pytest.fixture(scope="module", params=VARIATIONS)
def potential(request):
    model = MaceModel(ELEMENTS, MaceConfig.model_validate(TINY | VARIATIONS[request.param]))
    return trees.cast(Potential(model.init(key=jax.random.key(1)), model), np.float64)


def of(potential, atoms, shape=SHAPE):
    graph = build([from_ase(atoms)], ELEMENTS, potential.cutoff, shape=shape, dtype=np.float64)
    return jax.tree.map(np.asarray, evaluate(potential, graph))


def crystal():
    """Thinner than the cutoff in one direction."""
    atoms = Atoms("CrTeSbTe", cell=[[4.6, 0.2, 0], [-0.9, 3.8, 0.3], [0.4, -0.6, 7.1]], pbc=True,
                  scaled_positions=[[0, 0, 0], [0.5, 0.4, 0.35], [0.1, 0.6, 0.7], [0.6, 0.1, 0.8]],
                  )  # fmt: skip
    atoms.rattle(0.05, seed=0)
    return atoms


def test_rotation_and_permutation(potential):
    atoms, rotation = crystal(), Rotation.from_rotvec([0.4, 1.0, -0.3]).as_matrix()
    order = [2, 0, 3, 1]
    turned = atoms[order]
    turned.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    turned.positions += [5.0, -3.0, 1.0]
    plain, moved = of(potential, atoms), of(potential, turned)
    scale = np.abs(plain.forces).max()
    assert scale > 0
    np.testing.assert_allclose(moved.energy, plain.energy, rtol=1e-11)
    np.testing.assert_allclose(
        moved.forces[:4], plain.forces[order] @ rotation.T, atol=1e-11 * max(scale, 1)
    )
    expected = rotation @ plain.stress[0] @ rotation.T
    np.testing.assert_allclose(moved.stress[0], expected, atol=1e-11 * np.abs(expected).max())


def test_forces_are_slopes(potential, rng):
    atoms, step = crystal(), 1e-5
    direction = rng.normal(size=atoms.positions.shape)
    energies = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        energies.append(of(potential, moved).energy[0])
    slope = (energies[0] - energies[1]) / (2 * step)
    forces = of(potential, atoms).forces[:4]
    # step^2 times a third derivative, large for polynomials of high degree; rounding over the step.
    np.testing.assert_allclose(-(forces * direction).sum(), slope, rtol=1e-5, atol=1e-8)


def test_the_energy_ends_smoothly_at_the_cutoff(potential):
    lone = of(potential, Atoms("Cr")).energy[0] + of(potential, Atoms("Te")).energy[0]
    for distance in (potential.cutoff * (1 - 1e-4), potential.cutoff * (1 + 1e-4)):
        found = of(potential, Atoms("CrTe", positions=[[0, 0, 0], [0, 0, distance]]))
        np.testing.assert_allclose(found.energy[0], lone, atol=1e-6)
        np.testing.assert_allclose(found.forces, 0, atol=1e-6)


def test_padding_and_a_wider_list_change_nothing(potential):
    """Edges beyond the cutoff, as a skin has them, count for nothing."""
    expected = of(potential, crystal())
    graph = build([from_ase(crystal())], ELEMENTS, potential.cutoff + 1.5, dtype=np.float64)
    found = evaluate(potential, graph)
    np.testing.assert_allclose(found.energy[0], expected.energy[0], rtol=1e-12)
    np.testing.assert_allclose(found.forces, expected.forces[:4], atol=1e-11)


def test_energies_follow_every_weight(potential):
    """What training needs: a derivative by each weight, none of which is left without effect."""
    graph = build([from_ase(crystal())], ELEMENTS, potential.cutoff, dtype=np.float64)

    def total(weights):
        return energies(potential.replace(params={**potential.params, "weights": weights}), graph)

    gradient = jax.jit(jax.jacrev(total))(potential.params["weights"])
    slopes = {name: np.abs(leaf).max(initial=0) for name, leaf in trees.names(gradient).items()}
    assert np.isfinite(list(slopes.values())).all()
    zero = {name for name, slope in slopes.items() if slope == 0}
    assert not {name for name in zero if not without_effect(name, potential.model)}


def without_effect(name, model):
    """Irreps that are sent but not there, the density's line that starts flat, empty maps."""
    layer = model.plans[int(name.split("_")[1][0])] if "layer_" in name else None
    if layer is None or "/interaction/" not in name:
        return False
    dead = {f"own_{ir}" for ir in layer.sent if ir not in layer.alive}
    flat = layer.kind.is_gated and "/density/" in name
    return flat or name.rpartition("/")[2] in dead


@pytest.mark.slow
def test_second_derivatives_are_finite(potential, rng):
    graph = build([from_ase(crystal())], ELEMENTS, potential.cutoff, dtype=np.float64)
    product = jax.jit(hessian_vector_product)(potential, graph, rng.normal(size=(4, 3)))
    assert np.isfinite(product).all()

    def loss(weights):
        params = {**potential.params, "weights": weights}
        return (predict(potential.replace(params=params), graph).forces ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(potential.params["weights"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_gated_networks_see_both_elements(rng):
    """Multiplied out to tables, they are the network of the joined inputs."""
    network = NormalisedMlp(radial=3, embedding=2, widths=(6, 5), outputs=4)
    tables = rng.normal(size=(2, 3, 2))
    declared = network.init(jax.random.key(0), *tables, method=NormalisedMlp.fold)["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), declared)
    folded = network.apply({"params": params}, *tables, method=NormalisedMlp.fold)
    radial, receivers = rng.normal(size=(4, 7, 3)), rng.integers(0, 3, 4)
    senders, cutoff = rng.integers(0, 3, (4, 7)), rng.uniform(size=(4, 7))
    edges = Edges(jnp.zeros((4, 7, 1)), radial, cutoff, senders, receivers)
    found = edge_features(folded, edges, 1.0) @ folded.weights[-1]

    own = np.broadcast_to(tables[1][receivers][:, None], (4, 7, 2))
    x = np.concatenate([radial, tables[0][senders], own], axis=-1)
    for k in range(3):
        x = x @ params[f"layer_{k}"] + params[f"bias_{k}"]
        if k < 2:
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = x * params[f"gain_{k}"] + params[f"offset_{k}"]
            x = x / (1 + np.exp(-x))
    np.testing.assert_allclose(found, x * cutoff[..., None], rtol=1e-10, atol=1e-12)


def test_settings_of_the_first_generation_are_what_they_were():
    """Cards, and names of finished runs, must not change because a variation was added."""
    settings = MaceConfig().model_dump(mode="json")
    assert list(settings) == [
        "r_max", "num_bessel", "num_polynomial_cutoff", "max_ell", "correlation",
        "num_interactions", "hidden_irreps", "mlp_irreps", "radial_mlp", "activation_scale",
    ]  # fmt: skip
    assert fingerprint(source.Config()) == "b818f0359958"


@pytest.mark.parametrize("variation", VARIATIONS)
def test_settings_lead_back_to_the_model(variation):
    model = MaceModel(ELEMENTS, MaceConfig.model_validate(TINY | VARIATIONS[variation]))
    settings = dict(model.settings)
    assert settings.pop("kind") == "mace"
    assert settings.keys() >= VARIATIONS[variation].keys()
    config = validate(settings, source.Config, where="settings")
    assert source.energy_model(config, ELEMENTS) == model


def test_every_kind_of_interaction_is_named():
    names = {f"{name}InteractionBlock" for name in INTERACTIONS}
    assert "RealAgnosticResidualInteractionBlock" in names
    assert len(names) == len(INTERACTIONS) == 5


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"edge_irreps": "4x1o"}, "edge_irreps must contain 0e"),
        ({"edge_irreps_first": "4x0e + 2x0e"}, "list every irrep once"),
        ({"radial_type": "gaussian", "num_bessel": 1}, "at least 2"),
        ({"use_last_readout_only": True, "num_interactions": 1}, "at least 2"),
        ({"interaction": GATED, "hidden_irreps": "4x0e + 4x0o"}, "pseudoscalars"),
        ({"interaction": "RealAgnosticAtt"}, "RealAgnosticDensity"),
        ({"distance_transform": "agnesi"}, "'Agnesi' or 'Soft'"),
    ],
)
def test_impossible_variations_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        validate(TINY | entries, MaceConfig, where="model")
