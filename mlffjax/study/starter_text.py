"""The words of a first configuration: YAML with the reason of every choice beside it."""

import json
import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any, NamedTuple

from mlffjax.potential.mace.config import MaceConfig
from mlffjax.structures.splits import SplitConfig
from mlffjax.structures.survey import Survey

WIDTH = 98
PLAIN = re.compile(r"^(?!(null|true|false|yes|no|on|off|y|n)$)[A-Za-z][\w./-]*$", re.IGNORECASE)
UNSTATED = "not stated"
STEPS = 20_000  # of the optimizer, which the number of epochs aims at
EPOCHS = (50, 1000)
BATCH = 4
SIMILAR = 1.1  # frames that differ less in size are padded to one
LIGHT, MEDIUM = 2.5, 15.0  # u; below these masses bonds need shorter time steps
FINETUNED = (0.05, 12)  # the paper's share of the frames, and the fewest that are taken
FRACTIONS = (0.25, 0.5, 1.0)
FEWEST = 3  # frames of the smallest part of a learning curve
SEEDS = "[0, 1, 2]"
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_bessel": 6,
        "max_ell": 1,
        "correlation": 2,
        "num_interactions": 2,
        "hidden_irreps": "8x0e + 8x1o",
        "radial_mlp": [16, 16],
    },
    "small": {
        "num_bessel": 8,
        "max_ell": 2,
        "correlation": 3,
        "num_interactions": 2,
        "hidden_irreps": "32x0e + 32x1o",
        "radial_mlp": [32, 32],
    },
    "medium": {
        "num_bessel": 10,
        "max_ell": 3,
        "correlation": 3,
        "num_interactions": 2,
        "hidden_irreps": "128x0e + 128x1o",
        "radial_mlp": [64, 64, 64],
    },
}
SHOWN = ("r_max", *ARCHITECTURES["small"])
SIZES = {
    "tiny": "to try things out; too small for results",
    "small": "minutes to hours on a CPU",
    "medium": "that of MACE-MP-0 medium; for a GPU",
}


class PathFile(NamedTuple):
    """A path of the configuration."""

    name: str
    file: str
    closed: bool
    labelled: bool


class Choices(NamedTuple):
    """Everything that the text says."""

    name: str
    files: tuple[str, ...]
    reference: str | None
    functional: str | None
    survey: Survey
    splits: SplitConfig
    train: int
    foundation: str | None
    architecture: Mapping[str, Any] | None
    """Of the foundation, if it is a MACE."""
    cutoff: float
    neighbors: float
    size: str
    paths: tuple[PathFile, ...]

    @property
    def atoms_known(self) -> bool:
        """Whether every element has the energy of its free atom."""
        return set(self.survey.elements) <= set(self.survey.isolated)

    @property
    def hottest(self) -> tuple[str, float]:
        """Kind of frame and temperature of dynamics, K; 300 K where none is told."""
        known = self.survey.temperatures | {k: high for k, (_, high) in self.survey.mixed.items()}
        if not known:
            return next(iter(self.survey.kinds)), 300.0
        kind = max(known, key=known.__getitem__)
        return kind, known[kind]


def write(choices: Choices) -> str:
    """The whole configuration."""
    sections = (_head, _data, _splits, _model, _training, _runs, _paths, _probes, _verdict)
    return "\n".join("\n".join([*section(choices), ""]) for section in sections)


def notes(choices: Choices) -> tuple[str, ...]:
    """What the user should know or mend."""
    found, said = choices.survey, []
    if choices.reference is None or choices.functional is None:
        said.append(
            "data.reference or data.functional is not stated: write down code, functional and "
            "pseudopotentials of the labels; total energies of different methods must not be mixed"
        )
    if not choices.atoms_known:
        missing = ", ".join(s for s in found.elements if s not in found.isolated)
        said.append(
            f"no energy of the isolated atom of {missing}: reference energies are fitted to the "
            "frames by least squares, which tells elements apart only if compositions differ"
        )
    if not found.stressed:
        said.append("no frame has a stress: cells and pressures are not learned from labels")
    elif found.stressed < found.frames:
        said.append(
            f"{found.frames - found.stressed} of {found.frames} frames have no stress, which is "
            "learned from the others only"
        )
    said += [
        f"frames of kind {kind!r} are of {low:g} to {high:g} K: they are cut as one sequence and "
        "selected as one kind; a config_type for each temperature (md_300K, ...) tells them apart"
        for kind, (low, high) in found.mixed.items()
    ]
    said += [
        f"path {path.name!r} has no reference energies: barriers are given but not judged; "
        "label its images with your reference method"
        for path in choices.paths
        if not path.labelled
    ]
    if not choices.paths:
        said.append("no path: forces alone rarely decide; give --path or --ends, if you have any")
    return tuple(said)


def _head(choices: Choices) -> list[str]:
    found = choices.survey
    kinds = ", ".join(f"{count} {kind}" for kind, count in found.kinds.items())
    low, high = found.atoms
    return [
        *_comment(
            f"Written by `mlffjax init` for {found.frames} frames of {', '.join(found.elements)} "
            f"({kinds}), {_range(low, high)} atoms each; sequences of frames: "
            f"{found.trajectories}. Change what you know better; `configs/quickstart.yaml` and "
            "`configs/paper.yaml` show more."
        ),
        "",
        f"name: {choices.name}",
    ]


def _data(choices: Choices) -> list[str]:
    return [
        "data:",
        "  files:",
        *(f"    - {_text(file)}" for file in choices.files),
        *_comment(
            "Code, functional, pseudopotentials: whatever fixes the zero of energies. Frames of "
            "another method must not be mixed in.",
            indent=2,
        ),
        f"  reference: {_text(choices.reference or UNSTATED)}",
        f"  functional: {_text(choices.functional or UNSTATED)}",
        "  dispersion: null      # or the correction that the labels contain, such as D3(BJ)",
    ]


def _splits(choices: Choices) -> list[str]:
    splits = choices.splits
    return [
        "splits:",
        *_comment(
            "Neighbouring snapshots are almost equal: every trajectory is cut in time, its end is "
            f"the test. {choices.train} frames are left to train on.",
            indent=2,
        ),
        f"  kind: {splits.kind}",
        f"  validation: {splits.validation}",
        f"  test: {splits.test}",
    ]


def _model(choices: Choices) -> list[str]:
    found = choices.survey
    if choices.architecture is not None:
        why = "The architecture of the foundation, for a fair race."
        fields = MaceConfig.model_fields
        entries = {
            name: value
            for name, value in choices.architecture.items()
            if name in SHOWN or (name in fields and value != fields[name].default)
        }
    else:
        why = (
            f"Size {choices.size!r}: {SIZES[choices.size]}. Nearest neighbours are "
            f"{found.spacing:.2f} Å apart; r_max is about twice that, between 5 and 6 Å."
        )
        entries = {"r_max": choices.cutoff, **ARCHITECTURES[choices.size]}
    lines = [
        *_comment(f"{why} An atom has {choices.neighbors:.0f} neighbours within r_max."),
        "model:",
        "  kind: mace",
        *(f"  {name}: {_text(value)}" for name, value in entries.items()),
        "",
    ]
    if choices.foundation is None:
        return [
            *lines,
            *_comment(
                "No foundation. `mlffjax convert medium-0b3 DIR --elements "
                f"{','.join(found.elements)}` makes one of a published MACE; then add runs with "
                "zero_shot and finetune."
            ),
            "foundation: null",
        ]
    return [*lines, f"foundation: {_text(choices.foundation)}"]


def _training(choices: Choices) -> list[str]:
    epochs = STEPS * BATCH // max(choices.train, 1)
    epochs = min(max(epochs, EPOCHS[0]), EPOCHS[1])
    low, high = choices.survey.atoms
    buckets = 1 if high <= SIMILAR * low else min(choices.survey.sizes, 3)
    stress = [] if choices.survey.stressed else ["  loss: {stress: 0}   # no frame has a stress"]
    return [
        "training:",
        *_comment(
            f"At most so many epochs, {STEPS} steps if the data are many; a training without "
            "progress on the validation frames stops before.",
            indent=2,
        ),
        f"  epochs: {epochs}",
        "  patience: 50",
        f"  batch: {BATCH}",
        "  learning_rate: 1e-3",
        f"  buckets: {buckets}            # compiled shapes, for {_range(low, high)} atoms",
        *stress,
    ]


def _runs(choices: Choices) -> list[str]:
    isolated = "isolated" if choices.atoms_known else "least_squares"
    scratch = f"    strategy: {{kind: scratch, reference_energies: {isolated}}}"
    rate = "    training: {learning_rate: 5e-3}    # it has farther to go"
    if choices.foundation is None:
        return ["runs:", *_alone(choices, [scratch, rate])]
    count = min(choices.train, max(math.ceil(FINETUNED[0] * choices.train), FINETUNED[1]))
    lines = [
        "runs:",
        *_comment("The foundation as it is.", indent=2),
        "  - name: Foundation",
        "    strategy: {kind: zero_shot}",
        *_comment("The specialist: all training frames, random weights.", indent=2),
        "  - name: Scratch",
        scratch,
        rate,
        f"    seeds: {SEEDS}",
        *_comment(
            f"Fine-tuned on a representative part: 5 % of the frames, at least {FINETUNED[1]}.",
            indent=2,
        ),
        "  - name: Fine-tuned",
        "    strategy: {kind: finetune}",
        f"    data: {{count: {count}, method: farthest_point}}",
        f"    seeds: {SEEDS}",
    ]
    if len(choices.survey.kinds) > 1:
        lines += [
            *_comment("The same number in equal parts of every config_type.", indent=2),
            "  - name: Fine-tuned-equal",
            "    strategy: {kind: finetune}",
            f"    data: {{count: {count}, equal_by: config_type}}",
            f"    seeds: {SEEDS}",
        ]
    return lines


def _alone(choices: Choices, strategy: list[str]) -> list[str]:
    """A learning curve, if there are frames enough for its smallest part."""
    parts = [part for part in FRACTIONS if part * choices.train >= FEWEST]
    lines = ["  - name: Scratch", *strategy, f"    seeds: {SEEDS}"]
    if len(parts) < 2:
        return lines
    why = "How much data the specialist needs: the same training on growing parts of the frames."
    return [*_comment(why, indent=2), *lines, f"    fractions: {_text(parts)}"]


def _paths(choices: Choices) -> list[str]:
    if not choices.paths:
        return [
            *_comment(
                "Paths are what force errors do not tell: add files with the images in order, "
                "`hop: {file: hop.extxyz}`, and probes of the kinds fixed_path and relaxed_neb."
            ),
            "paths: {}",
        ]
    lines = ["paths:"]
    for path in choices.paths:
        closed = ", closed: true" if path.closed else ""
        lines.append(f"  {path.name}: {{file: {_text(path.file)}{closed}}}")
    return lines


def _probes(choices: Choices) -> list[str]:
    lines = ["probes:", "  - {kind: accuracy, name: accuracy}"]
    for path in choices.paths:
        if path.closed:
            lines.append(f"  - {{kind: sliding, name: {path.name}, path: {path.name}}}")
            continue
        lines.append(f"  - {{kind: fixed_path, name: {path.name}, path: {path.name}}}")
        lines += _comment("The band between each candidate's own minima.", indent=2)
        relaxed = f"kind: relaxed_neb, name: {path.name}_relaxed, path: {path.name}"
        lines.append(f"  - {{{relaxed}, lattice: none, relaxation: {{max_steps: 200}}}}")
    if choices.foundation == "bundled:generalist":
        lines += _comment("What was unlearned of other structures.", indent=2)
        lines.append("  - {kind: forgetting, name: forgetting}")
    return [*lines, *_dynamics(choices)]


def _dynamics(choices: Choices) -> list[str]:
    kind, kelvin = choices.hottest
    known = choices.survey.temperatures or choices.survey.mixed
    told = "the highest that the frames tell" if known else "for want of any"
    mass = choices.survey.lightest
    timestep = 0.5 if mass < LIGHT else 1.0 if mass < MEDIUM else 2.0
    return [
        *_comment(
            f"Whether candidates survive {kelvin:g} K ({told}). The time step suits the lightest "
            f"element ({mass:.0f} u).",
            indent=2,
        ),
        "  - kind: stability",
        "    name: dynamics",
        f"    start: {{config_type: {_text(kind)}}}",
        "    md:",
        f"      temperature_k: {kelvin:g}",
        f"      timestep_fs: {timestep}",
        "      ensemble: {kind: nvt_langevin, friction_per_fs: 0.01}",
        "      steps: 500",
        "      intervals: {thermo: 2, positions: 10}",
        "      precision: float32",
    ]


def _verdict(choices: Choices) -> list[str]:
    del choices
    return [
        *_comment("What is good enough for you; the verdict counts what passes."),
        "verdict:",
        "  force_rmse_ev_a: 0.1",
        "  energy_rmse_ev: 0.005     # per atom",
        "  barrier_error_ev: 0.1     # a factor 7 in a rate at 600 K",
        "  reference_uncertainty_ev: 0.0   # of your barriers, from converging your reference",
    ]


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _text(value: Any) -> str:
    """JSON is YAML; plain words stay plain where that is safe."""
    return value if isinstance(value, str) and PLAIN.match(value) else json.dumps(value)


def _comment(text: str, *, indent: int = 0) -> list[str]:
    """Lines of a comment, wrapped."""
    start = f"{' ' * indent}# "
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )
