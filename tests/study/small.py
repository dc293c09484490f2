"""A study that takes seconds: Lennard-Jones argon, labelled by one set of parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from mlffjax import trees
from mlffjax.graphs.batching import build
from mlffjax.potential import derivatives, store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _example
from mlffjax.structures.files import write_frames
from mlffjax.structures.system import Frame

CUTOFF = 5.5
TRUTH = trees.cast(lennard_jones((18,), epsilon=0.02, sigma=3.3, cutoff=CUTOFF), jnp.float64)
FOUNDATION = lennard_jones((18,), epsilon=0.015, sigma=3.35, cutoff=CUTOFF)
E0 = -7.0  # eV, of the free atom in the reference method

_label = jax.jit(derivatives.energies_and_forces)


def labelled(system, kind, index, **info):
    graph = build([system], (18,), CUTOFF, dtype=np.float64)
    energy, forces = _label(TRUTH, graph)
    energy = float(energy[0]) + E0 * len(system.numbers)
    return Frame(
        system,
        energy,
        np.asarray(forces),
        None,
        kind,
        kind,
        float(index),
        f"{kind}{index}",
        "",
        info,
    )


def write_inputs(folder):
    """Data, paths and a foundation below ``folder``."""
    rng = np.random.default_rng(3)
    ideal = _example.migration().paths["hop"].frames[0].system
    frames = []
    for kind, scale in (("cold", 0.05), ("hot", 0.15)):
        for index in range(8):
            moved = ideal.positions + rng.normal(scale=scale, size=ideal.positions.shape)
            frames.append(labelled(ideal._replace(positions=moved), kind, index))
    write_frames(folder / "frames.xyz", frames)
    for name, context in (("hop", _example.migration()), ("slide", _example.slide())):
        images = [frame.system for frame in context.paths[name].frames]
        write_frames(
            folder / f"{name}.xyz",
            [labelled(image, name, index, image=index) for index, image in enumerate(images)],
        )
    card = Card(
        name="soft argon",
        elements=("Ar",),
        model=FOUNDATION.model.settings,
        reference="another method",
        functional="none",
        dispersion=None,
        provenance={},
        checksum="",
    )
    store.save(folder / "foundation", FOUNDATION, card)


def settings(**changes):
    """Plain data of the study's configuration."""
    return {
        "name": "argon",
        "data": {"files": ["frames.xyz"], "reference": "Lennard-Jones", "functional": "none"},
        "splits": {"validation": 0.15, "test": 0.25},
        "model": {"kind": "lennard_jones", "cutoff": CUTOFF},
        "foundation": "foundation",
        "training": {"epochs": 3, "buckets": 1, "learning_rate": 1e-3},
        "runs": [
            {"name": "scratch",
             "strategy": {"kind": "scratch", "reference_energies": "least_squares"}},
            {"name": "zero", "strategy": {"kind": "zero_shot"}},
            {"name": "tuned", "strategy": {"kind": "finetune"}, "seeds": [0, 1],
             "data": {"config_types": ["hot"], "count": 4}},
        ],
        "paths": {"hop": {"file": "hop.xyz"}, "slide": {"file": "slide.xyz", "closed": True}},
        "probes": [
            {"kind": "accuracy", "name": "accuracy"},
            {"kind": "fixed_path", "name": "hop", "path": "hop"},
            {"kind": "sliding", "name": "slide", "path": "slide"},
        ],
    } | changes  # fmt: skip


def forces_of(potential, system):
    """eV/Å, in double precision."""
    graph = build([system], (18,), CUTOFF, dtype=np.float64)
    return np.asarray(_label(trees.cast(potential, jnp.float64), graph)[1])


def stretched(frame):
    """The same crystal with a larger cell, labelled anew: another material."""
    system = frame.system._replace(
        positions=1.03 * frame.system.positions, cell=1.03 * frame.system.cell
    )
    return labelled(system, f"generic_{frame.identifier}", 0)
