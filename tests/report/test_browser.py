"""The report as a browser shows it: it draws, it sorts, and no name of a study becomes markup."""

import json
from pathlib import Path

import numpy as np
import pytest
from report import browser

from mlffjax import durable
from mlffjax.report.document import write_report
from mlffjax.structures import bundled
from mlffjax.structures.paths import read_path
from mlffjax.study.path_records import write_paths
from mlffjax.study.records import write_arrays

CHROMIUM = browser.program()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium or Chrome on the PATH")

# Without a slash, because names of probes are names of files, too.
MARKUP = '"><img src=x onerror=hacked=1><a href=javascript:hacked=2>$x$'


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    assert CHROMIUM is not None
    with browser.started(CHROMIUM, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture(autouse=True)
def no_complaints(page):
    """Whatever a test does, the console stays empty."""
    page.complaints.clear()
    yield
    page.evaluate("new Promise((done) => setTimeout(done, 50))")  # what was refused is logged late
    assert page.complaints == []


def column(page, table: str, place: int) -> list[str]:
    cells = f"document.querySelectorAll('#{table} tbody tr > :nth-child({place + 1})')"
    return page.evaluate(f"[...{cells}].map((cell) => cell.dataset.value)")


def test_every_panel_is_drawn(page, study):
    page.open(write_report(study))
    marks = page.evaluate(
        "[...document.querySelectorAll('.panel')].map((panel) => panel.querySelectorAll("
        "'path.js-line, .points path, .point path, .bars path, .heatmaplayer image').length)"
    )
    assert len(marks) > 5
    assert min(marks) > 0
    sizes = page.evaluate(
        "[...document.querySelectorAll('.panel svg.main-svg')].map((drawn) => drawn.clientWidth)"
    )
    assert min(sizes) > 200


def test_tables_sort_and_legends_hide(page, study):
    page.open(write_report(study))
    before = column(page, "table1-accuracy", 4)
    known = [float(value) for value in before if value]
    assert len(set(known)) > 2
    click = "document.querySelector('#table1-accuracy th:nth-child(5) button').click()"
    for order in (sorted(known), sorted(known, reverse=True)):
        page.evaluate(click)
        after = column(page, "table1-accuracy", 4)
        assert [float(value) for value in after if value] == order
        assert after[len(order) :] == [""] * (len(before) - len(order))  # missing ones come last
    hidden = page.evaluate(
        "(() => { const button = document.querySelector('.legend button'); button.click();"
        "const panels = [...button.closest('figure').querySelectorAll('.panel')];"
        "return panels.flatMap((panel) => panel.data)"
        ".filter((trace) => trace.meta === button.dataset.series)"
        ".map((trace) => trace.visible); })()"
    )
    assert hidden
    assert not any(hidden)


def test_structures_are_drawn_turned_and_stepped_through(page, study):
    (file,) = bundled.files("in_gap")
    path = read_path(file, "in_gap")
    write_paths({f"path{MARKUP}": path}, study)
    page.open(write_report(study))
    canvas = "document.querySelector('.viewer canvas')"
    settled = "new Promise((done) => setTimeout(done, 100)).then(() => "
    assert page.evaluate(f"{canvas}.dataset.atoms") == str(len(path.frames[0].system.numbers))
    assert page.evaluate("typeof hacked") == "undefined"
    # Shaded circles of three elements: many colours, on a page that is else white and grey.
    pixels = page.evaluate(
        f"(() => {{ const c = {canvas}; const seen = new Set(); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data;"
        "for (let k = 0; k < d.length; k += 4)"
        " if (Math.abs(d[k] - d[k + 2]) > 60) seen.add(d[k] + ' ' + d[k + 1] + ' ' + d[k + 2]);"
        "return seen.size; })()"
    )
    assert pixels > 100
    start = page.evaluate(f"{settled}{canvas}.toDataURL())")
    page.evaluate(
        "(() => { const s = document.querySelector('.viewer input[type=range]'); s.value = 4;"
        " s.dispatchEvent(new Event('input')); })()"
    )
    stepped = page.evaluate(f"{settled}{canvas}.toDataURL())")
    assert stepped != start
    assert page.evaluate("document.querySelector('.viewer output').textContent").startswith(
        f"5 of {len(path.frames)}: "
    )
    x, y = page.evaluate(
        f"(() => {{ {canvas}.scrollIntoView({{block: 'center', behavior: 'instant'}});"
        f" const b = {canvas}.getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    page.drag((x, y), (x + 120, y + 40))
    assert page.evaluate(f"{settled}{canvas}.toDataURL())") != stepped
    page.evaluate("document.querySelector('.viewer input[type=checkbox]').click()")
    shown = int(page.evaluate(f"{settled}{canvas}.dataset.atoms)"))
    assert shown > len(path.frames[0].system.numbers)


def test_no_name_in_a_study_becomes_markup(page, make_study):
    probes = {
        "held-out": ("accuracy", {}),
        MARKUP: ("fixed_path", {"path": f"path{MARKUP}"}),
        f"slide{MARKUP}": ("sliding", {"path": MARKUP, "closure_tolerance": 1e-6}),
    }
    out = make_study({MARKUP: (0, 1), "foundation": (0,)}, probes)
    rename_everywhere(out, "md_doped_300K", f"kind{MARKUP}")
    page.open(write_report(out))
    # Plotly draws its marks as paths, so an image or a link can only come from a name.
    found = page.evaluate(
        "({images: document.querySelectorAll('main img').length,"
        " links: document.querySelectorAll('[href^=javascript]').length,"
        " svg: document.querySelectorAll('svg a, svg image').length,"
        " ran: typeof hacked, text: document.body.innerText})"
    )
    text = found.pop("text")
    assert found == {"images": 0, "links": 0, "svg": 0, "ran": "undefined"}
    for name in (MARKUP, f"path{MARKUP}", f"slide{MARKUP}", f"kind{MARKUP}"):
        assert name in text  # shown as it was written
    titles = page.evaluate(
        "[...document.querySelectorAll('.panel svg text')].map((text) => text.textContent)"
    )
    assert any(MARKUP in title for title in titles)


def rename_everywhere(out: Path, old: str, new: str) -> None:
    """Another name in every record of a study, keys and arrays included."""
    for path in out.rglob("*.json"):
        renamed = json.loads(path.read_text().replace(old, json.dumps(new)[1:-1]))
        if renamed.pop("seal", None):
            renamed = durable.sealed(renamed)
        path.write_text(json.dumps(renamed))
    for path in out.rglob("*.npz"):
        with np.load(path) as stored:
            arrays = {key: stored[key] for key in stored.files}
        for key, values in arrays.items():
            if values.dtype.kind == "U":
                arrays[key] = np.array([str(v).replace(old, new) for v in values])
        write_arrays(path, arrays)
