"""The report as one HTML file that opens anywhere, without a network."""

import base64
import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from plotly.offline import get_plotlyjs

import mlffjax
from mlffjax.durable import tidy, write_bytes
from mlffjax.report import interactive, panels, publication, structures, style, tables
from mlffjax.report.figures import Looks
from mlffjax.report.panels import Figure, Panel
from mlffjax.report.sections import Section, Text, sections
from mlffjax.report.structures import Structure
from mlffjax.report.tables import Table
from mlffjax.study.records import StudyRecords, load_study

REPORT = "report.html"
FIGURES = "figures"
PLAIN = " ,;:/?@$()*!+=[]|"  # may stand as they are in a data URI between double quotes


def write_report(out: Path, *, figures: bool = False) -> Path:
    """Write ``report.html`` from the records of a study.

    Args:
        out: output directory of a study; it may be unfinished, the report says what is missing.
        figures: also write each figure as PDF and PNG to ``out/figures``.

    Returns:
        The file written; an older one is replaced as a whole.

    Raises:
        InputError: ``out`` holds no study.
    """
    study = load_study(out)
    tidy(Path(out))
    looks = style.looks(list(study.by_name()))
    content = sections(study, looks)
    path = Path(out) / REPORT
    write_bytes(path, render(study, content, looks).encode())
    if figures:
        folder = Path(out) / FIGURES
        for block in (block for section in content for block in section.blocks):
            if isinstance(block, Figure) and block.panels:
                publication.save(block, folder)
    return path


def render(study: StudyRecords, content: Sequence[Section], looks: Looks) -> str:
    """The document as HTML text."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    drawn: list[Panel] = []
    built: list[Structure] = []
    shown = [
        {
            "key": s.key,
            "title": s.title,
            "blocks": [_block(block, drawn, built) for block in s.blocks],
        }
        for s in content
    ]
    scripts = {
        "plotly": get_plotlyjs(),
        "script": _asset("report.js"),
        "viewer": _asset("viewer.js"),
    }
    return environment.get_template("report.html.j2").render(
        title=f"Study {study.info.name}",
        subtitle=study.info.data.get("reference") or "",
        sections=shown,
        looks=looks,
        strokes=style.STROKES,
        css=_asset("report.css"),
        policy=_policy(scripts.values()),
        payload=_payload(drawn, built),
        version=mlffjax.__version__,
        **scripts,
    )


def _asset(name: str) -> str:
    return resources.files("mlffjax.report").joinpath("templates", name).read_text("utf-8")


def _policy(scripts: Iterable[str]) -> str:
    """A content security policy: these scripts may run, nothing else may, nothing is loaded.

    Escaping already keeps names from becoming markup; this is the second lock. Styles stay open
    because plotly writes its own.
    """
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _block(
    block: Text | Table | Figure | Structure, drawn: list[Panel], built: list[Structure]
) -> dict[str, Any]:
    """One block as the template wants it.

    What scripts draw is appended to ``drawn`` and ``built`` and named by its place there.
    """
    if isinstance(block, Text):
        return block._asdict()
    if isinstance(block, Table):
        uri = _data_uri(panels.csv_text(*tables.numbers_of(block)))
        return {"shape": "table", "uri": uri, **block._asdict()}
    if isinstance(block, Structure):
        built.append(block)
        uri = _data_uri(block.xyz, "chemical/x-xyz")
        return {"shape": "structure", "uri": uri, "index": len(built) - 1, **block._asdict()}
    first = len(drawn)
    drawn += block.panels
    shown = [
        {"index": first + place, "note": panel.note, "alt": _spoken(panel)}
        for place, panel in enumerate(block.panels)
    ]
    return {
        "shape": "figure",
        "uri": _data_uri(panels.table_of(block)),
        "legend": tuple(panels.series_of(block).items()),
        **block._asdict(),
        "panels": shown,
    }


def _spoken(panel: Panel) -> str:
    """What a screen reader says of a panel."""
    bars = [
        f"{t.series} {t.y[0]:+.3g}" for t in panel.traces if t.form == "bar" and t.y[0] is not None
    ]
    if bars:
        return f"{panel.title}: {panel.y_label}: {', '.join(bars)}."
    names = ", ".join(dict.fromkeys(t.series for t in panel.traces if t.form != "guide"))
    axes = f"{panel.y_label} against {panel.x_label}" if panel.x_label else panel.y_label
    return f"{panel.title}: {axes}, of {names}. The numbers are in the CSV file below."


def _payload(drawn: Sequence[Panel], built: Sequence[Structure]) -> str:
    """All panels and structures as JSON that cannot end the script element it stands in."""
    described = {
        "config": interactive.CONFIG,
        "figures": [interactive.describe(panel) for panel in drawn],
        "structures": [structures.describe(structure) for structure in built],
    }
    text = json.dumps(described, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data_uri(text: str, media: str = "text/csv") -> str:
    """Text that a link saves; percent signs only where needed, a quarter shorter than base64."""
    return f"data:{media};charset=utf-8,{quote(text, safe=PLAIN)}"
