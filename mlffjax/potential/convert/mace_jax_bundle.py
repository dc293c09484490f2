"""Bundles of mace-jax: hyper-parameters in a JSON file, parameters in one of msgpack beside it.

Both are plain data, so reading a bundle runs no code; checkpoints of mace-jax's training are
pickles, which are not read. Weights move both ways between ``kind: mace`` and ``kind: mace_jax``,
without loss but for the product basis, which changes to rounding. mace-jax adds 1e-9 Å to lengths
that it divides by, so energies and forces agree to about that. Needs the extra ``mace-jax``.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import serialization

import mlffjax
from mlffjax import trees
from mlffjax.arrays import PyTree
from mlffjax.config import validate
from mlffjax.durable import write_bytes
from mlffjax.errors import CompatibilityError, InputError
from mlffjax.potential import mace_jax_model
from mlffjax.potential.base import Potential
from mlffjax.potential.card import Card, numbers_of
from mlffjax.potential.convert.elements import keep_elements
from mlffjax.potential.convert.mace_jax_names import (
    fitting,
    from_mace,
    precision_of,
    require_mace_jax,
    to_mace,
)
from mlffjax.potential.mace.model import MaceModel
from mlffjax.potential.mace_jax_model import PINNED, MaceJaxConfig, MaceJaxModel
from mlffjax.structures.elements import symbols

CONFIG, PARAMS = "config.json", "params.msgpack"
SUFFIXES = (".json", ".msgpack", ".npz")
"""Of the configuration, and of parameters as mace-jax's training and its converter call them."""


class Bundle(NamedTuple):
    """Contents of the two files."""

    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    path: Path
    sha256: str  # of the parameters


def is_bundle(path: Path) -> bool:
    """Whether there is a bundle by the names of its files: a directory, or one of the two."""
    if path.is_dir():
        return (path / CONFIG).is_file()
    return path.suffix in SUFFIXES and path.is_file()


def read(path: str | Path) -> Bundle:
    """Read both files.

    Args:
        path: a directory with ``config.json`` and ``params.msgpack``, or either file.

    Raises:
        InputError: a file is missing, damaged, or a pickle.
    """
    config_path, params_path = _paths(Path(path))
    try:
        config = json.loads(config_path.read_bytes())
        data = params_path.read_bytes()
        tree = serialization.msgpack_restore(data)
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    except Exception as error:  # whatever the parsers give for damaged files
        raise InputError(
            f"{path} is no bundle of mace-jax (JSON and msgpack): {type(error).__name__}: {error}"
        ) from error
    if not isinstance(config, dict) or not isinstance(tree, dict):
        raise InputError(f"{path} is no bundle of mace-jax: expected entries by name in both files")
    arrays = {name: np.asarray(leaf) for name, leaf in trees.names(tree).items()}
    return Bundle(config, arrays, params_path, hashlib.sha256(data).hexdigest())


def load(path: str | Path) -> Potential:
    """The potential of a bundle, as ``kind: mace_jax``; weights keep their precision.

    Raises:
        MissingExtra: mace-jax is not installed.
        InputError: see ``read``.
        CompatibilityError: it holds a model that is not supported, or arrays that do not fit.
    """
    mace_jax_model.require()
    return _potential(read(path))


def convert(
    path: str | Path,
    *,
    reference: str,
    functional: str,
    dispersion: str | None = None,
    name: str | None = None,
    elements: Sequence[str] | None = None,
) -> tuple[Potential, Card]:
    """Import a bundle as ``kind: mace``; arguments and errors as ``importer.convert``."""
    mace_jax_model.require()
    numbers = None if elements is None else numbers_of(elements)
    bundle = read(path)
    whole = to_mace(_potential(bundle))
    potential = whole if numbers is None else keep_elements(whole, numbers)
    card = Card(
        name=name or bundle.path.stem,
        elements=symbols(potential.elements),
        model=potential.model.settings,
        reference=reference,
        functional=functional,
        dispersion=dispersion,
        description=f"Converted from the mace-jax bundle {bundle.path.name}.",
        provenance={
            "source": {
                "file": bundle.path.name,
                "sha256": bundle.sha256,
                "format": "bundle of mace-jax",
                "elements": list(symbols(whole.elements)),
            },
            "converted_by": f"mlffjax {mlffjax.__version__}",
        },
    )
    return potential, card


def export(path: str | Path, potential: Potential, *, dtype: str | None = None) -> Path:
    """Write a potential of kind mace or mace_jax as a bundle.

    Args:
        path: the JSON file; parameters go beside it with the suffix ``.msgpack``. Of a directory,
            the files in it.
        potential: what to write.
        dtype: ``"float64"`` or ``"float32"``; by default that of the weights.

    Raises:
        MissingExtra: mace-jax is not installed.
        CompatibilityError: mace-jax has no such model.
    """
    mace_jax_model.require()
    if dtype not in (None, "float32", "float64"):
        raise InputError(f"expected dtype 'float64' or 'float32', got {dtype!r}")
    path = Path(path)
    path = path if path.suffix == ".json" else path / CONFIG
    params_path = path.with_name(PARAMS if path.name == CONFIG else f"{path.stem}.msgpack")
    if isinstance(potential.model, MaceModel):
        potential = from_mace(potential)
    model = require_mace_jax(potential)
    precision = np.dtype(dtype or precision_of(potential.params["weights"]))
    constants = jax.tree.map(np.asarray, potential.params["constants"])
    content = serialization.msgpack_serialize(
        trees.from_names(_state(model, potential.params, precision))
    )
    config = mace_jax_model.bundle_config(model.elements, model.config, constants)
    write_bytes(params_path, content)
    write_bytes(path, json.dumps(config, indent=2).encode())
    return path


def _paths(path: Path) -> tuple[Path, Path]:
    """Where mace-jax looks for the two files, given a directory or one of them."""
    if path.is_dir():
        return path / CONFIG, path / PARAMS
    if path.suffix in (".ckpt", ".pkl"):
        raise InputError(
            f"{path} is a pickle, which may run any code and is not read; let mace-jax load it and "
            "write a bundle"
        )
    if path.suffix != ".json":
        return path.with_suffix(".json"), path
    found = [path.with_suffix(suffix) for suffix in SUFFIXES[1:]]
    return path, next((each for each in found if each.exists()), found[0])


def _potential(bundle: Bundle) -> Potential:
    settings, elements = _settings(bundle)
    model = MaceJaxModel(elements, settings)
    # A plain MACE has neither scale nor shift.
    neutral = {"scale_shift/scale": np.ones(()), "scale_shift/shift": np.zeros(())}
    arrays, built = {**neutral, **bundle.arrays}, model.built()
    missing = [name for name in (*built.trainable, *PINNED) if name not in arrays]
    if missing:
        raise CompatibilityError(f"{bundle.path} has no array {missing[0]!r}; it is not supported")
    weights = {name: arrays[name] for name in built.trainable}
    neighbors = np.array(float(bundle.config["avg_num_neighbors"]))
    constants = {ours: arrays[theirs] for theirs, ours in PINNED.items()}
    for name in ("atomic_energies", "scale", "shift"):  # the axis of the only head
        constants[name] = constants[name].reshape((-1,) if name == "atomic_energies" else ())
    params = {
        "weights": trees.from_names(weights),
        "constants": {**constants, "average_neighbors": neighbors},
    }
    _check_left_over(bundle, model)
    return Potential(fitting(params, model), model)


def _check_left_over(bundle: Bundle, model: MaceJaxModel) -> None:
    """Arrays that are no weights must be what mace-jax makes of the hyper-parameters."""
    state = _state(model, None, np.dtype(np.float64))
    used = {*model.built().trainable, *PINNED}
    for name, array in bundle.arrays.items():
        if name in used or name in REPEATED:
            continue
        expected = state.get(name)
        # Stored in single precision at worst.
        if (
            expected is None
            or expected.shape != array.shape
            or not np.allclose(expected, array, rtol=1e-6)
        ):
            raise CompatibilityError(
                f"{bundle.path} has {name!r} with another value than its hyper-parameters give, "
                "which is not supported"
            )


REPEATED = {
    "_atomic_energies": "atomic_energies",
    "atomic_energies": "atomic_energies",
    "atomic_energies_fn/atomic_energies_init": "atomic_energies",
    "atomic_inter_scale": "scale",
    "atomic_inter_shift": "shift",
}
"""Copies of constants, which mace-jax stores and does not use."""


def _state(
    model: MaceJaxModel, params: PyTree | None, precision: np.dtype
) -> dict[str, np.ndarray]:
    """All that mace-jax stores for a model, by name; its own values where there are no params."""
    found: dict[str, np.ndarray] = {}
    with jax.enable_x64(True):  # in this thread: numbers of the module are not rounded
        for path, variable in model.built().state.items():
            value = variable.get_value() if hasattr(variable, "get_value") else variable
            for name, leaf in _leaves(value, "/".join(map(str, path))):
                array = np.asarray(leaf)
                found[name] = array.astype(precision) if array.dtype.kind == "f" else array
    if params is not None:
        copies = {**PINNED, **REPEATED}.items()
        given = {name: params["constants"][ours] for name, ours in copies}
        given |= trees.names(params["weights"])
        found.update({name: np.asarray(leaf, precision) for name, leaf in given.items()})
    return found


def _leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    if hasattr(value, "items"):
        return [leaf for key, each in value.items() for leaf in _leaves(each, f"{name}/{key}")]
    return [(name, value)]


def _settings(bundle: Bundle) -> tuple[MaceJaxConfig, tuple[int, ...]]:
    """Hyper-parameters and elements of the JSON file."""
    config, where = bundle.config, str(bundle.path)
    scale = bundle.arrays.get("_normalize2mom_consts_var/silu")  # older files have it only here
    scales = {} if scale is None else {"silu": scale}
    try:
        elements = tuple(int(z) for z in config["atomic_numbers"])
        float(config["avg_num_neighbors"])  # used with the arrays
        constants = config.get("normalize2mom_consts") or scales
        found = {
            "r_max": float(config["r_max"]),
            "num_bessel": int(config["num_bessel"]),
            "num_polynomial_cutoff": int(config["num_polynomial_cutoff"]),
            "max_ell": int(config["max_ell"]),
            "correlation": int(config["correlation"]),
            "num_interactions": int(config["num_interactions"]),
            "hidden_irreps": _irreps(config["hidden_irreps"]),
            "mlp_irreps": _irreps(config["MLP_irreps"]),
            "use_reduced_cg": bool(config.get("use_reduced_cg", True)),
            "interaction": _interaction(config["interaction_cls"]),
        }
        if (first := _interaction(config["interaction_cls_first"])) != found["interaction"]:
            found["interaction_first"] = first
        found |= {name: config[name] for name in SAME if config.get(name)}
        if config.get("edge_irreps"):
            found["edge_irreps"] = _irreps(config["edge_irreps"])
        if config.get("distance_transform") not in NO_TRANSFORM:
            found["distance_transform"] = config["distance_transform"]
        if config.get("radial_MLP") is not None:
            found["radial_mlp"] = tuple(int(width) for width in config["radial_MLP"])
        if "silu" in constants:
            found["activation_scale"] = float(constants["silu"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{where}: the configuration beside it cannot be used: {error!r}"
        ) from error
    if len(heads := config.get("heads") or ["Default"]) > 1:
        raise CompatibilityError(
            f"{where} has the heads {', '.join(map(str, heads))}; bundles with one are supported"
        )
    for name, wanted in REQUIRED.items():
        if config.get(name) not in wanted:
            raise CompatibilityError(
                f"{where}: {name} = {config.get(name)!r} is not supported; "
                f"supported is {wanted[0]!r}"
            )
    return validate(found, MaceJaxConfig, where=where), elements


SAME = ("radial_type", "pair_repulsion", "use_agnostic_product", "use_last_readout_only")
"""Entries of the JSON file that mean what they mean here."""
NO_TRANSFORM = (None, "None", "NoneType")
OFF = (False, None)
REQUIRED: dict[str, tuple[Any, ...]] = {
    "torch_model_class": ("ScaleShiftMACE", "MACE", None),
    "gate": ("silu", None),
    "readout_cls": ("NonLinearReadoutBlock", None),
    "use_so3": OFF,
    "use_embedding_readout": OFF,
    "embedding_specs": (None, {}),
    "apply_cutoff": (True, None),
    "cue_conv_fusion": OFF,
    "collapse_hidden_irreps": (True, None),
}
"""Entries of the JSON file and what they may be."""


def _interaction(name: str) -> str:
    return name.removesuffix("InteractionBlock")


def _irreps(value: Any) -> str:
    """Irreps as text, from text or from lists as e3nn's classes become in JSON."""
    if isinstance(value, str):
        return value
    return " + ".join(
        f"{int(mul)}x{int(ir[0])}{'e' if int(ir[1]) > 0 else 'o'}" for mul, ir in value
    )
