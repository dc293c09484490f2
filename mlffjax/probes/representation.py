"""How a potential represents structures, kept so that models can be compared later without them.

Mode ``like_for_like`` (the default): invariant node features, and forces, at the *same* structures
for every potential: frames of the data set, evenly spaced within each kind, and the images of
paths. A potential without features (a pair potential, another program's) gives its forces only.

Metrics, of the last layer (all of them are missing for a potential without features):

* ``drift`` = 1 - CKA between this potential and the foundation, ``cosine`` and ``displacement``:
  by element (``drift/Te``), and the mean over elements. All atoms at once would hide it: what tells
  elements apart is most of the variance, and every model has that in common. See
  ``mlffjax.representation.drift``: the last two mean nothing for a potential that did not start
  from the foundation.
* ``silhouette``: how separate the kinds of structures are in the mean and spread of features by
  element, with mean (``silhouette_null``) and p-value of permuted labels.

Mode ``paper``: the recipe of ``mlffjax.representation.descriptors`` on the potential's own
molecular dynamics (``md``), or on a given trajectory. It describes visited configurations, not what
was learned; ``survived`` says how much of the dynamics there was.

Arrays: ``layer1``, ``layer2`` ... and ``forces`` [rows], float32; ``means`` [frames, elements,
channels] of the last layer; ``row_number``, ``row_frame``; ``frame_kind``, ``frame_count`` [frames,
elements]; ``drift_dissimilarity``, ``drift_cosine``, ``drift_displacement`` [layers, groups] with
``drift_groups``; in mode ``paper`` ``recipe_<block>`` [frames, columns].
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pydantic

from mlffjax.analysis.inputs import symbol
from mlffjax.dynamics.config import MdConfig
from mlffjax.errors import ConfigError
from mlffjax.potential.base import Potential
from mlffjax.probes import _example, _recipe
from mlffjax.probes._dynamics import Start
from mlffjax.probes._probe import Context, Name, Probe, Section
from mlffjax.representation import features as representation
from mlffjax.representation.descriptors import Recipe
from mlffjax.representation.drift import Drift, drift
from mlffjax.representation.embedding import components, silhouette, standardised
from mlffjax.representation.features import NodeFeatures, Packed, from_arrays, pooled
from mlffjax.structures.system import System

DRIFT = ("drift", "cosine", "displacement")
SILHOUETTE = ("silhouette", "silhouette_null", "silhouette_p_value")
PATH = "path "  # before the name of a path, where frames have their config_type

Count = Annotated[int, pydantic.Field(ge=1)]


class Config(Section):
    """Which structures, and what is kept of them."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames", "paths", "trajectories", "foundation"})

    name: Name = "representation"
    mode: Literal["like_for_like", "paper"] = "like_for_like"
    config_types: tuple[str, ...] = ("*",)
    """Kinds of frames; patterns."""
    frames: int = pydantic.Field(default=100, ge=0)
    """At most, in equal parts of each kind, evenly spaced in time."""
    paths: tuple[str, ...] | None = None
    """Paths whose images are added; None: all of the study."""
    rows: int = pydantic.Field(default=3000, ge=4)
    """Atoms whose features are kept, at most, in equal parts of each element."""
    permutations: int = pydantic.Field(default=200, ge=1)
    """Of labels, for the null of silhouettes."""
    seed: int = pydantic.Field(default=0, ge=0)
    """Of the choice of rows, of permutations and of pictures."""
    start: Start = Start()
    """Mode paper: the structure to start from."""
    md: MdConfig | None = None
    """Mode paper: each potential's own trajectory."""
    trajectory: str | None = None
    """Mode paper: name of one trajectory for all potentials, instead of ``md``."""
    samples: int = pydantic.Field(default=100, ge=2)
    """Mode paper: configurations of a trajectory, evenly spaced."""
    recipe: Recipe = Recipe()

    @pydantic.model_validator(mode="after")
    def _one_source(self) -> "Config":
        given = (self.md is not None) + (self.trajectory is not None)
        if self.mode == "paper" and given != 1:
            raise ValueError("mode paper: expected either 'md' or 'trajectory'")
        if self.mode != "paper" and given:
            raise ValueError("'md' and 'trajectory' belong to mode paper; set mode: paper")
        return self


class Given(NamedTuple):
    """What another program computed at the structures of ``structures``, atom by atom in order.

    Attributes:
        layers: features [atoms, channels] by layer, first to last; may be empty.
        forces: eV/Å [atoms, 3], or None.
    """

    layers: tuple[np.ndarray, ...]
    forces: np.ndarray | None


class _Data(NamedTuple):
    systems: tuple[System, ...]
    kinds: tuple[str, ...]  # of the structures
    elements: tuple[int, ...]  # that occur
    numbers: np.ndarray  # [atoms]
    frame: np.ndarray  # [atoms]
    rows: np.ndarray
    foundation: NodeFeatures | None


def example() -> tuple[Config, Context]:
    """Argon of one kind, without a foundation: all that a pair potential can be asked."""
    context = _example.frames()
    kept = tuple(frame for frame in context.frames if frame.config_type == "kind1")
    return Config(), context._replace(frames=kept)


def build(config: Config, context: Context) -> Probe:
    """Choose structures and atoms, and evaluate the foundation.

    Raises:
        ConfigError: there are no structures, or no such path, trajectory or frame.
    """
    if config.mode == "paper":
        return _recipe.build(config, context)
    data, why = _data(config, context)
    packed = representation.packed(data.systems, context.elements, context.cutoff)
    return _probe(config, data, why, functools.partial(_measure, config, data, packed))


def build_given(config: Config, context: Context, given: Given) -> Probe:
    """The probe of a potential whose features another program computed; it measures nothing else.

    Raises:
        ConfigError: as ``build``, or the mode is ``paper``.
        InputError: arrays do not fit the structures, or are not finite.
    """
    if config.mode == "paper":
        raise ConfigError(
            f"probe {config.name}: mode paper needs a potential that can be run, got arrays"
        )
    data, why = _data(config, context)
    forces = None if given.forces is None else from_arrays([given.forces], data.systems).layers[0]
    found = from_arrays(given.layers, data.systems) if given.layers else None
    kept = _kept(config, data, found, forces)
    return _probe(config, data, why, lambda potential: kept)


def _data(config: Config, context: Context) -> tuple[_Data, str]:
    """Structures, atoms and the foundation at them, and why that may be missing."""
    kinds, systems = structures(config, context)
    numbers = np.concatenate([system.numbers for system in systems])
    frame = np.repeat(np.arange(len(systems)), [len(system.numbers) for system in systems])
    elements = tuple(int(number) for number in np.unique(numbers))
    foundation, why = _foundation(context, systems, elements)
    rows = _rows(numbers, config.rows, config.seed)
    return _Data(systems, kinds, elements, numbers, frame, rows, foundation), why


def _probe(
    config: Config, data: _Data, why: str, measure: Callable[[Potential], dict[str, Any]]
) -> Probe:
    names = _names(data.elements)
    reasons = dict.fromkeys(names, why) if why else {}
    if len(set(data.kinds)) < 2:
        only = f"there is one kind of structure only, {data.kinds[0]}"
        reasons |= dict.fromkeys(SILHOUETTE, only)
    return Probe(
        name=config.name,
        measure=measure,
        units=dict.fromkeys((*names, *SILHOUETTE), ""),
        compiled=False,
        constants=_constants(data),
        reasons=reasons,
    )


def structures(config: Config, context: Context) -> tuple[tuple[str, ...], tuple[System, ...]]:
    """Kinds and structures: frames of the data set, then images of paths.

    Raises:
        ConfigError: there is none, or no such path.
    """
    chosen = _recipe.evenly(context.frames, config.config_types, config.frames)
    kinds = [frame.config_type for frame in chosen]
    systems = [frame.system for frame in chosen]
    for name in context.paths if config.paths is None else config.paths:
        images = context.path(name).frames
        kinds += [PATH + name] * len(images)
        systems += [image.system for image in images]
    if not systems:
        raise ConfigError(
            f"probe {config.name}: expected structures to compare models at, got none; ask for "
            "frames or paths"
        )
    return tuple(kinds), tuple(systems)


def _foundation(
    context: Context, systems: Sequence[System], elements: Sequence[int]
) -> tuple[NodeFeatures | None, str]:
    """Its features, or why there are none."""
    if context.foundation is None:
        return None, "the study names no foundation to compare with"
    unknown = set(elements) - set(context.foundation.elements)
    if unknown:
        return None, f"the foundation does not know {', '.join(map(symbol, sorted(unknown)))}"
    if "features" not in context.foundation.model.supports:
        return None, "the foundation has no node features"
    return representation.node_features(context.foundation, systems), ""


def _rows(numbers: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Atoms to keep, as many of each element as there can be, ascending."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(numbers == number) for number in np.unique(numbers)]
    counts = _recipe.shares([len(group) for group in groups], most)
    parts = [
        rng.choice(group, count, replace=False) for group, count in zip(groups, counts, strict=True)
    ]
    return np.sort(np.concatenate(parts))


def _names(elements: Sequence[int]) -> list[str]:
    """Metrics of the drift."""
    tails = ("", *(f"/{symbol(number)}" for number in elements))
    return [f"{name}{tail}" for name in DRIFT for tail in tails]


def _measure(config: Config, data: _Data, packed: Packed, potential: Potential) -> dict[str, Any]:
    forces = representation.outputs_of(potential, packed).forces
    # Forces are checked as if they were features: both say where a potential has diverged.
    from_arrays([forces], data.systems)
    found = None
    if "features" in potential.model.supports:
        found = from_arrays(representation.layers_of(potential, packed), data.systems)
    return _kept(config, data, found, forces)


def _kept(
    config: Config, data: _Data, found: NodeFeatures | None, forces: np.ndarray | None
) -> dict[str, Any]:
    """Metrics, and arrays at the atoms that are kept."""
    kept: dict[str, Any] = {} if forces is None else {"forces": _single(forces[data.rows])}
    if found is None:
        nothing = (*_names(data.elements), *SILHOUETTE)
        return kept | dict.fromkeys(nothing, np.asarray(np.nan))
    for place, layer in enumerate(found.layers, start=1):
        kept[f"layer{place}"] = _single(layer[data.rows])
    means = pooled(found, data.elements, spread=False)
    kept["means"] = _single(means.reshape(len(means), len(data.elements), -1))
    kept |= _silhouette(config, data, found)
    if data.foundation is not None:
        kept |= _drift(drift(found, data.foundation, data.elements), data.elements)
    return {name: np.asarray(value) for name, value in kept.items()}


def _single(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _silhouette(config: Config, data: _Data, found: NodeFeatures) -> dict[str, float]:
    space = standardised(pooled(found, data.elements))
    if not space.shape[1] or len(space) < 2:
        return dict.fromkeys(SILHOUETTE, float("nan"))
    said = silhouette(
        components(space).scores, data.kinds, permutations=config.permutations, seed=config.seed
    )
    return dict(zip(SILHOUETTE, (said.score, said.null, said.p_value), strict=True))


def _drift(found: Drift, elements: Sequence[int]) -> dict[str, Any]:
    last = np.array([part[-1, 1:] for part in found])  # [drift, cosine, displacement; elements]
    known = np.isfinite(last)
    counts = np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    mean = np.where(known, last, 0).sum(axis=1) / counts
    every = np.column_stack([mean, last])
    metrics = dict(zip(_names(elements), map(float, every.ravel()), strict=True))
    return metrics | {f"drift_{name}": part for name, part in found._asdict().items()}


def _constants(data: _Data) -> dict[str, np.ndarray]:
    """What the arrays belong to; ``structures`` tells whether other records have the same rows."""
    digest = hashlib.sha256(data.rows.tobytes())
    for system in data.systems:
        digest.update(system.numbers.tobytes() + system.positions.tobytes() + system.cell.tobytes())
    counts = np.stack(
        [
            np.bincount(data.frame[data.numbers == z], minlength=len(data.systems))
            for z in data.elements
        ],
        axis=1,
    )
    return {
        "structures": np.array([digest.hexdigest()[:16]]),
        "elements": np.array([symbol(z) for z in data.elements]),
        "drift_groups": np.array(["all", *(symbol(z) for z in data.elements)]),
        "row_number": data.numbers[data.rows],
        "row_frame": data.frame[data.rows],
        "frame_kind": np.array(data.kinds),
        "frame_count": counts,
    }
