"""Errors of energy and forces on the frames of the data set, by split and kind of frame.

Every frame of the context is evaluated, those that the run did not use as well: potentials of one
model then share one compilation, and a report can show what a run makes of frames it never saw.
Energies are totals per atom, reference energies (E0) of the potential included. A potential whose
E0 stem from another method than the data is off by a constant per element; whether its E0 were
estimated anew is decided, and stated, by the strategy of the run.

Frames that would fill the memory together are evaluated as they come, a few at a time; the probe
is then not compiled as a whole and not differentiable.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax.arrays import Array, Bool, Float, Int
from mlffjax.errors import InputError
from mlffjax.graphs.batching import species_of
from mlffjax.graphs.graph import Graph
from mlffjax.pathways.mapping import lanes
from mlffjax.pathways.profiles import band, profile
from mlffjax.potential.base import Potential
from mlffjax.probes._example import frames as example_frames
from mlffjax.probes._probe import SPLITS, Context, Metrics, Name, Probe, Section, bound
from mlffjax.structures.checks import require_labels
from mlffjax.structures.system import Frame
from mlffjax.training.batches import Sample, plan
from mlffjax.training.feed import Passing
from mlffjax.training.metrics import predict
from mlffjax.training.storage import GRAPH_NEIGHBOR, lists_bytes, room

BATCH = 16
"""Structures evaluated at once on an accelerator if they do not all fit into memory."""
SHAPES = 3
"""Array shapes for them; one compilation each."""

UNITS = {
    "energy_mae": "eV/atom",
    "energy_rmse": "eV/atom",
    "force_mae": "eV/Å",
    "force_rmse": "eV/Å",
}


class Config(Section):
    """Accuracy on the data set; there is nothing to choose."""

    uses: ClassVar[frozenset[str]] = frozenset({"frames", "splits"})

    name: Name = "accuracy"


class _Labels(NamedTuple):
    atom_frame: Int[Array, "atoms"]
    composition: Float[Array, "frames elements"]  # atoms of each element
    energy: Float[Array, "frames"]  # eV per atom
    forces: Float[Array, "atoms 3"]  # eV/Å
    groups: dict[str, Bool[Array, "frames"]]


class _Data(NamedTuple):
    buckets: tuple[Graph, ...]  # structures of similar size, stacked
    frame_rows: Int[Array, "frames"]  # where a frame is in the concatenated buckets
    atom_rows: Int[Array, "atoms"]  # where an atom is in the concatenated buckets
    labels: _Labels


def example() -> tuple[Config, Context]:
    """Six rattled crystals of argon of two sizes."""
    return Config(), example_frames()


def build(config: Config, context: Context) -> Probe:
    """Prepare graphs and labels of all frames of the context.

    Raises:
        InputError: there are no frames, or one has no energy or forces.
        CompatibilityError: a frame contains an element that the potential does not know.
    """
    frames = context.frames
    if not frames:
        raise InputError("expected frames to measure the accuracy on, got none; add data files")
    require_labels(frames)
    types = sorted({frame.config_type for frame in frames})
    groups = _groups(frames, context.splits, types)
    names = [(group, measure) for group in groups for measure in UNITS]
    reasons = {
        _metric(group, measure): f"no frames in {group.replace('/', ' of type ')}"
        for group, measure in names
        if not groups[group].any()
    }
    labels = _labels(frames, context, groups)
    systems = [frame.system for frame in frames]
    small = lists_bytes(systems, context.cutoff, each=GRAPH_NEIGHBOR) <= room()
    return Probe(
        name=config.name,
        measure=bound(_measure, _prepare(frames, context, labels))
        if small
        else functools.partial(_measure_passing, frames, labels),
        compiled=small,
        units={_metric(group, measure): UNITS[measure] for group, measure in names},
        constants=_constants(labels, frames, types, context.splits),
        reasons=reasons,
    )


def _labels(frames: Sequence[Frame], context: Context, groups: Mapping[str, np.ndarray]) -> _Labels:
    counts = np.array([len(frame.system.numbers) for frame in frames])
    species = [species_of(frame.system, context.elements) for frame in frames]
    composition = [np.bincount(s, minlength=len(context.elements)) for s in species]
    return _Labels(
        atom_frame=jnp.asarray(np.repeat(np.arange(len(frames)), counts)),
        composition=jnp.asarray(np.array(composition, float)),
        energy=jnp.asarray(np.array([frame.energy for frame in frames]) / counts),
        forces=jnp.asarray(np.concatenate([np.asarray(frame.forces) for frame in frames])),
        groups={name: jnp.asarray(members) for name, members in groups.items()},
    )


def _prepare(frames: Sequence[Frame], context: Context, labels: _Labels) -> _Data:
    counts = np.array([len(frame.system.numbers) for frame in frames])
    members: dict[int, list[int]] = defaultdict(list)
    for index, count in enumerate(counts):
        members[int(count).bit_length()].append(index)  # padding at most doubles a structure
    buckets, frame_rows, first_atom = [], np.empty(len(frames), int), np.empty(len(frames), int)
    frames_before = atoms_before = 0
    for _, indices in sorted(members.items()):
        systems = [frames[index].system for index in indices]
        buckets.append(band(systems, context.elements, context.cutoff))
        padded = buckets[-1].species.shape[1]
        places = np.arange(len(indices))
        frame_rows[indices] = frames_before + places
        first_atom[indices] = atoms_before + places * padded
        frames_before, atoms_before = (
            frames_before + len(indices),
            atoms_before + places.size * padded,
        )
    atom_rows = [start + np.arange(n) for start, n in zip(first_atom, counts, strict=True)]
    return _Data(
        buckets=tuple(buckets),
        frame_rows=jnp.asarray(frame_rows),
        atom_rows=jnp.asarray(np.concatenate(atom_rows)),
        labels=labels,
    )


def _groups(
    frames: Sequence[Frame], splits: Mapping[str, Sequence[int]], types: Sequence[str]
) -> dict[str, np.ndarray]:
    """Which frames a metric averages over, for all splits and types, empty ones included.

    Equal names for all runs keep the compiled function the same.
    """
    kinds = np.array([frame.config_type for frame in frames])
    groups = {}
    for split in SPLITS:
        members = np.zeros(len(frames), bool)
        members[list(splits.get(split, ()))] = True
        groups[split] = members
        groups |= {f"{split}/{kind}": members & (kinds == kind) for kind in types}
    return groups


def _metric(group: str, measure: str) -> str:
    split, slash, kind = group.partition("/")
    return f"{split}_{measure}{slash}{kind}"


def _measure(data: _Data, potential: Potential) -> Metrics:
    profiles = [profile(potential, bucket) for bucket in data.buckets]
    energy = jnp.concatenate([p.energy for p in profiles])[data.frame_rows]
    forces = jnp.concatenate([p.forces.reshape(-1, 3) for p in profiles])[data.atom_rows]
    return _errors(data.labels, energy, forces, potential)


def _measure_passing(frames: Sequence[Frame], labels: _Labels, potential: Potential) -> Metrics:
    """The same, with few structures in memory at any time."""
    systems = [frame.system for frame in frames]
    members = [Sample(system, None, np.zeros_like(system.positions), None) for system in systems]
    shapes = plan(systems, potential.cutoff, most=SHAPES)
    feed = Passing(members, potential.elements, potential.cutoff, shapes, dtype=np.float64)
    energies, forces = predict(potential, feed, batch=lanes(BATCH))
    return _compiled_errors(labels, energies, np.concatenate(forces), potential)


def _errors(
    data: _Labels,
    energy: Float[Array, "frames"],
    forces: Float[Array, "atoms 3"],
    potential: Potential,
) -> Metrics:
    """All metrics and arrays from interaction energies (eV) and forces (eV/Å)."""
    references = potential.model.reference_energies(potential.params)
    atoms = data.composition.sum(axis=1)
    energy = (energy + (data.composition * references).sum(axis=1)) / atoms
    energy_error, force_error = energy - data.energy, forces - data.forces

    def per_frame(values: Float[Array, "atoms 3"]) -> Float[Array, "frames"]:
        return jax.ops.segment_sum(values.sum(axis=1), data.atom_frame, len(energy))

    sums = jnp.stack(
        [
            jnp.abs(energy_error),
            energy_error**2,
            jnp.ones_like(energy),
            per_frame(jnp.abs(force_error)),
            per_frame(force_error**2),
            3 * atoms,
        ]
    )
    members = jnp.stack(list(data.groups.values()))
    absolute, square, count = jnp.moveaxis(
        jnp.where(members[:, None], sums, 0.0).sum(axis=-1).reshape(-1, 2, 3), -1, 0
    )
    # An empty group has no error; without the guard it would read zero.
    count = jnp.where(count > 0, count, jnp.nan)
    errors = {"mae": absolute / count, "rmse": jnp.sqrt(square / count)}
    metrics: Metrics = {"energy_model": energy, "forces_model": forces}
    for row, group in enumerate(data.groups):
        for column, quantity in enumerate(("energy", "force")):
            for measure, values in errors.items():
                metrics[_metric(group, f"{quantity}_{measure}")] = values[row, column]
    return metrics


_compiled_errors = jax.jit(_errors)


def _constants(
    data: _Labels, frames: Sequence[Frame], types: list[str], splits: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
    frame_split = np.full(len(frames), -1)
    for code, split in enumerate(SPLITS):
        frame_split[list(splits.get(split, ()))] = code
    return {
        "energy_reference": np.asarray(data.energy),
        "forces_reference": np.asarray(data.forces),
        "frame_split": frame_split,
        "frame_config_type": np.array([types.index(frame.config_type) for frame in frames]),
        "atom_frame": np.asarray(data.atom_frame),
        "config_types": np.array(types, dtype=str),
    }
