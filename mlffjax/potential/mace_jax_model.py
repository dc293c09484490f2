"""The MACE of mace-jax behind our interface: its flax modules, our graphs and derivatives.

mace-jax (https://github.com/ACEsuit/mace-jax) is a second implementation of the same networks. This
module hands it edge vectors and takes one energy per atom, so that training, probes and dynamics
run on it as on any other model. It gathers from neighbours in its own way, hence no heat fluxes;
and it is several times slower than ``kind: mace`` on a CPU. Needs the extra ``mace-jax``.
"""

import functools
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from e3nn_jax import Irreps
from flax import nnx

from mlffjax import trees
from mlffjax.arrays import Array, Float, PRNGKey, PyTree
from mlffjax.errors import CompatibilityError, MissingExtra
from mlffjax.graphs.graph import Graph, edge_vectors
from mlffjax.potential.mace.config import MaceConfig
from mlffjax.potential.mace.radial import radial_constants

PINNED = {
    "atomic_energies_fn/atomic_energies": "atomic_energies",
    "scale_shift/scale": "scale",
    "scale_shift/shift": "shift",
    "radial_embedding/basis_fn/_bessel_weights": "bessel_frequencies",
}
"""Arrays of mace-jax that training leaves alone, by the names of our constants."""
UNSUPPORTED = ("edge_irreps_first", "apply_cutoff", "use_so3", "readout", "radial_type")
"""Hyper-parameters that must have their default: mace-jax 0.2.0 lacks or cannot compile others."""
FIXED = re.compile(r".*/act_scale")
"""Parameters of mace-jax that follow from the hyper-parameters."""


class MaceJaxConfig(MaceConfig):
    """Hyper-parameters of a MACE, and how mace-jax stores its product basis."""

    use_reduced_cg: bool = True


class Built(NamedTuple):
    """What mace-jax makes of hyper-parameters: a module taken apart, and what may be trained."""

    definition: Any  # nnx.GraphDef
    state: dict[tuple[Any, ...], Any]  # all variables by path
    trainable: dict[str, tuple[Any, ...]]  # paths of the weights by '/'-joined name


def require() -> None:
    """Make sure that mace-jax can be imported.

    Raises:
        MissingExtra: it cannot.
    """
    try:
        with _quiet():
            import mace_jax.tools.model_builder  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra(
            f"this needs mace-jax, which cannot be imported ({error}); "
            "pip install 'mlffjax[mace-jax]'"
        ) from error


@dataclass(frozen=True)
class MaceJaxModel:
    """A MACE of mace-jax for a set of elements; the static part of a ``Potential``.

    ``params["weights"]`` holds mace-jax's trainable parameters under its names, and
    ``params["constants"]`` the same constants as ``MaceModel``.
    """

    elements: tuple[int, ...]
    config: MaceJaxConfig
    supports = frozenset({"atomic_energies", "hessian", "features"})

    @property
    def cutoff(self) -> float:
        """Longest edge, Å."""
        return self.config.r_max

    @property
    def reach(self) -> float:
        """Receptive field, Å."""
        return self.config.r_max * self.config.num_interactions

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and hyper-parameters."""
        return {"kind": "mace_jax", **self.config.model_dump(mode="json")}

    def init(self, *, key: PRNGKey) -> PyTree:
        """Weights drawn as mace-torch draws them; neutral constants, all float32."""
        found = self.built()
        names = sorted(found.trainable)
        draws = jax.random.split(key, len(names))
        weights = {}
        for name, draw in zip(names, draws, strict=True):
            value = found.state[found.trainable[name]].get_value()
            # As mace-torch: the weights of the product basis are divided by their number.
            deviation = 1 / value.shape[1] if "symmetric_contractions" in name else 1.0
            weights[name] = jax.random.normal(draw, value.shape, jnp.float32) * deviation
        constants = {
            "atomic_energies": jnp.zeros(len(self.elements), jnp.float32),
            "scale": jnp.ones((), jnp.float32),
            "shift": jnp.zeros((), jnp.float32),
            "average_neighbors": jnp.ones((), jnp.float32),
            "bessel_frequencies": jnp.asarray(
                radial_constants(self.config)["bessel_frequencies"], jnp.float32
            ),
        }
        return {"weights": trees.from_names(weights), "constants": constants}

    def atomic_energies(self, params: PyTree, graph: Graph) -> Float[Array, "atoms"]:
        """Interaction energy of each atom, eV, without reference energies."""
        return self._outputs(params, graph)["node_energy"].astype(graph.positions.dtype)

    def features(self, params: PyTree, graph: Graph) -> tuple[Float[Array, "atoms channels"], ...]:
        """Invariant (scalar) node features after every layer."""
        joined, channels = self._outputs(params, graph)["node_feats"], self.config.channels
        last = joined.shape[1] - channels
        width = last // max(self.config.num_interactions - 1, 1)
        starts = [k * width for k in range(self.config.num_interactions - 1)] + [last]
        return tuple(joined[:, k : k + channels].astype(graph.positions.dtype) for k in starts)

    def reference_energies(self, params: PyTree) -> Float[Array, "elements"]:
        """E0 of each element, eV."""
        return params["constants"]["atomic_energies"]

    def built(self) -> Built:
        """The module of mace-jax, made once in each precision of jax."""
        return _build(self, str(jnp.zeros(()).dtype))

    def _outputs(self, params: PyTree, graph: Graph) -> dict[str, Array]:
        if graph.tilt is not None:
            raise CompatibilityError(
                "a heat flux needs a model that passes everything along our edges, which mace-jax "
                "does not; convert the potential to kind: mace"
            )
        _use_activation_scale(self.config.activation_scale)
        module = self._module(params)
        atoms, slots = graph.neighbors.shape
        # mace-jax points from sender to receiver, we from receiver to sender.
        vectors = -edge_vectors(graph, outside=2 * self.cutoff).reshape(atoms * slots, 3)
        receivers = jnp.repeat(jnp.arange(atoms), slots, total_repeat_length=atoms * slots)
        data = {
            "vectors": vectors,
            "edge_index": jnp.stack([graph.neighbors.reshape(-1), receivers]),
            "node_attrs": jax.nn.one_hot(graph.species, len(self.elements), dtype=vectors.dtype),
            "node_attrs_index": graph.species,
            "batch": jnp.zeros(atoms, jnp.int32),
        }
        return module._energy_fn(data, lammps_mliap=True)  # edges come as vectors, as from LAMMPS

    def _module(self, params: PyTree) -> Any:
        """mace-jax's module with the given parameters; E0 are zero in it."""
        found, constants = self.built(), params["constants"]
        weights = trees.names(params["weights"])
        values = {path: weights[name] for name, path in found.trainable.items()}
        state = {}
        for path, variable in found.state.items():
            name = _name(path)
            if name in PINNED:
                value = constants[PINNED[name]]
                zero = PINNED[name] == "atomic_energies"
                values[path] = jnp.zeros_like(value) if zero else value
            value = values.get(path)
            is_variable = isinstance(variable, nnx.Variable)
            new = variable.replace(value) if is_variable and value is not None else value
            state[path] = variable if value is None else new
        module = nnx.merge(found.definition, nnx.from_flat_state(state))
        for block in module.interactions:
            object.__setattr__(block, "avg_num_neighbors", constants["average_neighbors"])
        return module


def bundle_config(
    elements: tuple[int, ...], config: MaceConfig, constants: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Hyper-parameters as the JSON file of a bundle of mace-jax states them.

    Args:
        elements: atomic numbers.
        config: hyper-parameters.
        constants: those of the parameters; neutral ones if absent.

    Raises:
        CompatibilityError: mace-jax has no such model.
    """
    _check_supported(config)
    neutral = {"atomic_energies": np.zeros(len(elements)), "average_neighbors": 1.0}
    values = {**neutral, "scale": 1.0, "shift": 0.0, **(constants or {})}
    return {
        "torch_model_class": "ScaleShiftMACE",
        "r_max": config.r_max,
        "num_bessel": config.num_bessel,
        "num_polynomial_cutoff": config.num_polynomial_cutoff,
        "max_ell": config.max_ell,
        "interaction_cls": f"{config.interactions[-1]}InteractionBlock",
        "interaction_cls_first": f"{config.interactions[0]}InteractionBlock",
        "num_interactions": config.num_interactions,
        "hidden_irreps": config.hidden_irreps,
        "MLP_irreps": config.mlp_irreps,
        "radial_MLP": list(config.radial_mlp),
        "correlation": config.correlation,
        "radial_type": config.radial_type,
        "distance_transform": config.distance_transform or "None",
        "pair_repulsion": config.pair_repulsion,
        "edge_irreps": config.edge_irreps,
        "use_agnostic_product": config.use_agnostic_product,
        "use_last_readout_only": config.use_last_readout_only,
        "gate": "silu",
        "atomic_numbers": list(elements),
        "atomic_energies": np.asarray(values["atomic_energies"], float).tolist(),
        "avg_num_neighbors": float(values["average_neighbors"]),
        "atomic_inter_scale": float(values["scale"]),
        "atomic_inter_shift": float(values["shift"]),
        "use_reduced_cg": getattr(config, "use_reduced_cg", True),
        "normalize2mom_consts": {
            "silu": config.activation_scale,
            "swish": config.activation_scale,
        },
        "heads": ["Default"],
    }


@functools.lru_cache(maxsize=32)
def _build(model: MaceJaxModel, dtype: str) -> Built:
    del dtype  # only a key: the module's own arrays have jax's default precision
    require()
    from mace_jax.tools import model_builder  # pyright: ignore[reportMissingImports]

    # Arrays of the module must outlive a trace.
    with _quiet(), jax.ensure_compile_time_eval():
        module = model_builder._build_jax_model(
            bundle_config(model.elements, model.config), rngs=nnx.Rngs(0)
        )
        definition, state = nnx.split(module)
    flat = dict(nnx.to_flat_state(state))
    trainable = {
        _name(path): path
        for path, variable in flat.items()
        if isinstance(variable, nnx.Param)
        and _name(path) not in PINNED
        and not FIXED.fullmatch(_name(path))
    }
    return Built(definition, flat, trainable)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of what mace-jax imports in turn, some of it late."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _use_activation_scale(value: float) -> None:
    """mace-jax keeps this number in one place for all modules of the process."""
    from mace_jax.adapters.e3nn.math import (  # pyright: ignore[reportMissingImports]
        register_normalize2mom_const,
    )

    with jax.ensure_compile_time_eval():
        for name in ("silu", "swish"):
            register_normalize2mom_const(name, value)


def _check_supported(config: MaceConfig) -> None:
    """Refuse what mace-jax 0.2.0 cannot build or computes otherwise."""
    plain = MaceConfig.model_fields
    odd = [name for name in UNSUPPORTED if getattr(config, name) != plain[name].default]
    if "RealAgnosticResidualNonLinear" in config.interactions:
        odd.append("interaction")
    if "0o" in Irreps(config.hidden_irreps):
        odd.append("hidden_irreps")
    if config.distance_transform == "Soft":
        odd.append("distance_transform")
    if odd:
        raise CompatibilityError(
            f"mace-jax does not have a MACE with {odd[0]} = {getattr(config, odd[0])}; "
            "use kind: mace"
        )


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(map(str, path))
