"""Pictures of representations, and how separate candidates are in them (the paper's Fig. 4)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlffjax.report import style
from mlffjax.report.figures import FEW, Looks, absence, filled
from mlffjax.report.panels import Figure, Form, Panel, Trace, cleaned, finite
from mlffjax.report.style import Look
from mlffjax.report.tables import DASH, Cell, Column, Table, number
from mlffjax.study.compared import KIND
from mlffjax.study.records import RunInfo, StudyRecords

ALONE = 2  # candidates with a picture of their own, as in the paper
PICTURES = {"pca": "principal components", "tsne": "t-SNE", "umap": "UMAP"}
AXES = {
    "pca": ("component 1", "component 2"),
    "tsne": ("t-SNE 1", "t-SNE 2"),
    "umap": ("UMAP 1", "UMAP 2"),
}
SPACES = {"features": "all dimensions", "tsne": "the t-SNE picture"}
SCORE = Column("score", "Silhouette", digits=3, signed=True)
LIMITS = (
    "The paper's recipe describes the configurations that each candidate's own trajectory visited: "
    "distances and SOAP know nothing of the model, so clusters say where a trajectory went, not "
    "what was learned. Distances between clusters and their sizes mean nothing in t-SNE. The null "
    "permutes labels as if frames were independent, which those of a trajectory are not."
)

Evidence = Mapping[str, Any]


def overlay_figure(study: StudyRecords, made: Mapping[str, Evidence], looks: Looks) -> Figure:
    """All candidates at the same structures in one picture."""
    figure = Figure(
        "fig4-overlay",
        "Features of all candidates at the same structures",
        "Every point is one structure as one candidate represents it: features of the last layer, "
        "averaged by element, rotated and scaled onto one candidate, because the basis of a layer "
        "is free. What still lies apart is not a matter of the basis. Pictures only: the "
        "silhouettes below are measured before the projection.",
        columns=3,
    )
    panels = [
        _picture_panel(f"{probe}: {PICTURES[kind]}", kind, picture, _candidates(study, picture),
                       looks)
        for probe, picture, kind in _pictures(made)
    ]  # fmt: skip
    return filled(figure, panels, study, KIND)


def kinds_figure(study: StudyRecords, made: Mapping[str, Evidence]) -> Figure:
    """The same pictures by kind of structure."""
    figure = Figure(
        "fig4-kinds",
        "The same pictures by kind of structure",
        "Points as above, coloured by kind of frame or by path: whether candidates tell structures "
        "apart, and where images of paths lie beside the frames.",
        columns=3,
    )
    kinds = dict.fromkeys(kind for one in made.values() for kind in one.get("picture", {}).get(
        "kind", ()))  # fmt: skip
    if len(kinds) < 2:
        return figure._replace(missing=absence(study, KIND) if not made else "There is one kind.")
    looks = style.looks(list(kinds))
    panels = [
        _picture_panel(f"{probe}: {PICTURES[kind]}", kind, picture, picture["kind"], looks)
        for probe, picture, kind in _pictures(made)
    ]
    return filled(figure, panels, study, KIND)


def _pictures(made: Mapping[str, Evidence]) -> Iterator[tuple[str, Evidence, str]]:
    for probe, one in made.items():
        picture = one.get("picture") or {}
        for kind in PICTURES:
            if picture.get(kind):
                yield probe, picture, kind


def _candidates(study: StudyRecords, picture: Evidence) -> list[str]:
    """Names of the candidates of all points; empty for runs that are no longer there."""
    names = {run.info.id: run.info.name for run in study.runs}
    return [names.get(run, "") for run in picture["run"]]


def _picture_panel(
    title: str, kind: str, picture: Evidence, labels: Sequence[str], looks: Mapping[str, Look]
) -> Panel:
    points = picture[kind]
    traces = [
        _cloud(name, look, [p for p, label in zip(points, labels, strict=True) if label == name])
        for name, look in looks.items()
    ]
    drawn = tuple(trace for trace in traces if trace.x)
    note = ""
    if kind == "pca" and picture.get("explained"):
        parts = " and ".join(f"{100 * part:.0f} %" for part in finite(picture["explained"]))
        note = f"The components hold {parts} of the variance."
    return Panel(title, *AXES[kind], drawn, note=note)


def _cloud(name: str, look: Look, points: Sequence[Sequence[float]]) -> Trace:
    form: Form = "cloud" if len(points) > FEW else "marks"
    x, y = (cleaned(point[axis] for point in points) for axis in (0, 1))
    return Trace(name, form, look, x, y)


def recipe_figure(study: StudyRecords, made: Mapping[str, Evidence], looks: Looks) -> Figure:
    """The paper's Fig. 4: some candidates alone, all overlaid, silhouettes."""
    figure = Figure(
        "fig4-recipe",
        "The paper's recipe on trajectories (the paper's Fig. 4)",
        "t-SNE (perplexity 30, learning rate 200) of energies, forces, distances, SOAP and force "
        "responses of configurations of molecular dynamics, all candidates projected together: "
        "first single candidates, then all, then the mean silhouette of each candidate's points "
        "against the nearest other, in all dimensions; the dotted line is the mean of permuted "
        f"labels. {LIMITS}",
    )
    panels = [
        panel for probe, one in made.items() for panel in _recipe_panels(study, probe, one, looks)
    ]
    return filled(figure, panels, study, KIND)


def _recipe_panels(study: StudyRecords, probe: str, one: Evidence, looks: Looks) -> Iterator[Panel]:
    picture = one.get("picture") or {}
    if picture.get("tsne"):
        labels = _candidates(study, picture)
        whole = _picture_panel(f"{probe}: all candidates", "tsne", picture, labels, looks)
        for name in _alone(study, set(labels)):
            kept = tuple(trace for trace in whole.traces if trace.series == name)
            yield whole._replace(title=f"{probe}: {name}", traces=kept)
        yield whole
    for said in one.get("silhouettes", ()):
        if said["space"] == "features" and said["labels"] == "candidate" and said["groups"]:
            yield _silhouette_panel(probe, said, looks)


def _alone(study: StudyRecords, drawn: set[str]) -> list[str]:
    """The fine-tuned candidates, as in the paper; without any, the first ones."""
    groups = {name: runs[0].info for name, runs in study.by_name().items() if name in drawn}
    tuned = [name for name, info in groups.items() if _is_tuned(info)]
    return (tuned or [*groups])[:ALONE]


def _is_tuned(info: RunInfo) -> bool:
    return info.starts_from == "foundation" and info.steps > 0


def _silhouette_panel(probe: str, said: Evidence, looks: Looks) -> Panel:
    names = [name for name in looks if name in said["groups"]]
    bars = [
        Trace(name, "bar", looks[name], (float(place),), cleaned([said["groups"][name]]))
        for place, name in enumerate(names)
        if said["groups"][name] is not None
    ]
    null = said.get("null")
    if null is not None:
        ends = (-0.5, len(names) - 0.5)
        bars.append(Trace("permuted labels", "guide", style.GUIDE, ends, (null, null)))
    title = f"{probe}: silhouettes"
    return Panel(title, "", "mean silhouette", tuple(bars), ticks=tuple(names))


def silhouette_table(study: StudyRecords, made: Mapping[str, Evidence]) -> Table:
    """How separate candidates and kinds of structures are, beside what chance gives."""
    table = Table(
        "table-silhouettes",
        "Silhouettes",
        "Mean silhouette, from -1 to 1, of points labelled by candidate or by kind of structure; "
        "null: mean ± standard deviation over permutations of the labels; p: part of them that "
        "score at least as high. Candidates at the same structures that are one representation up "
        "to a rotation score at the null; the null supposes independent points.",
    )
    said = [(probe, s) for probe, one in made.items() for s in one.get("silhouettes", ())]
    if not said:
        return table._replace(missing=absence(study, KIND))
    rows = tuple(
        (
            Cell(probe, probe),
            Cell(SPACES[s["space"]], s["space"]),
            Cell(s["labels"], s["labels"]),
            number(s["score"], SCORE),
            number(s["null"], SCORE, spread=s["null_spread"]),
            number(s["p_value"], Column("", "", digits=3)),
            Cell(_groups(s) or s.get("reason") or DASH, _groups(s)),
        )
        for probe, s in said
    )
    heads = ("Probe", "Measured in", "Labels", "Silhouette", "Null", "p", "By label")
    return table._replace(columns=heads, rows=rows)


def _groups(said: Evidence) -> str:
    known = {name: value for name, value in said["groups"].items() if value is not None}
    return ", ".join(f"{name} {value:+.3f}" for name, value in known.items())
