"""What candidates make of structures, as figures and tables (the paper's Fig. 4).

Drawn from ``representation.json``, where the study has compared its runs, and from the drifts in
the records of each.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from mlffjax.report import alignment, embeddings
from mlffjax.report.figures import Looks
from mlffjax.report.panels import Figure
from mlffjax.report.tables import Cell, Column, Table, number
from mlffjax.report.texts import Text
from mlffjax.study.compared import FILE, KIND, fingerprint
from mlffjax.study.records import StudyRecords, read_json

Evidence = Mapping[str, Any]
Blocks = tuple[Figure | Table | Text, ...]


def blocks(study: StudyRecords, looks: Looks) -> Blocks:
    """Everything about representations; nothing if the study has no such probe."""
    asked = {section.get("kind") for section in study.info.config.get("probes", ())}
    if KIND not in asked:
        return ()
    known = read_json(study.directory / FILE, []) or {}
    made: dict[str, Evidence] = known.get("probes", {})
    paper = {name: one for name, one in made.items() if one.get("mode") == "paper"}
    alike = {name: one for name, one in made.items() if name not in paper}
    shown: list[Figure | Table | Text] = [*_notes(study, known)]
    if alike or not paper:
        shown += [
            alignment.alignment_figure(study, alike, "linear"),
            alignment.alignment_figure(study, alike, "rbf"),
            alignment.drift_figure(study, looks),
            alignment.drift_table(study),
            embeddings.overlay_figure(study, alike, looks),
            embeddings.kinds_figure(study, alike),
            link_table(study, alike),
        ]
    if paper:
        shown.append(embeddings.recipe_figure(study, paper, looks))
    return (*shown, embeddings.silhouette_table(study, made))


def _notes(study: StudyRecords, known: Evidence) -> Iterator[Text]:
    """What is missing, and whether the comparison is of the records shown here."""
    lines = [f"{name}: {note}" for name, one in known.get("probes", {}).items()
             for note in one.get("notes", ())]  # fmt: skip
    if known and known.get("fingerprint") != fingerprint(study):
        lines.append(
            "Runs were compared before the records were completed or changed; run the study to its "
            "end to compare them again."
        )
    if lines:
        yield Text("list", tuple(lines), "What the comparison leaves out")


def link_table(study: StudyRecords, made: Mapping[str, Evidence]) -> Table:
    """Whether candidates that drifted farther do worse elsewhere."""
    table = Table(
        "table-drift-links",
        "Drift and errors",
        "Spearman's rank correlation between the drift of trained runs that began with the "
        "foundation and their errors (magnitudes; the forgetting index with its sign), with the "
        "number of runs n. Runs of one candidate differ by their seed only, so n overstates what "
        "is known; below 4 runs nothing is said. A correlation is no cause.",
    )
    links = [(probe, link) for probe, one in made.items() for link in one.get("links", ())]
    if not links:
        why = "No other probe of this study measures errors that drifts could be compared with."
        return table._replace(missing=why)
    rows = tuple(
        (
            Cell(probe, probe),
            Cell(link["drift"], link["drift"]),
            Cell(f"{link['probe']}: {link['metric'].replace('_', ' ')}", link["probe"]),
            number(link["runs"], Column("", "", digits=0)),
            number(link["rho"], Column("", "", digits=2, signed=True)),
            number(link["p_value"], Column("", "", digits=3)),
        )
        for probe, link in links
    )
    return table._replace(columns=("Probe", "Drift", "Error", "n", "ρ", "p"), rows=rows)
