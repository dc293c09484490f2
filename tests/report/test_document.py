"""The finished document: self-contained, safe, complete, and the same for the same records."""

import base64
import hashlib
import html.parser
import io
import json
import re
import shutil
import time
import urllib.parse

import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.report.document import write_report
from mlffjax.study.records import load_study, write_json
from mlffjax.study.verdict import VerdictConfig, judge

LOADS = {"src", "srcset", "data", "poster", "background", "action", "formaction", "xlink:href"}
LARGEST_MB = 15
LONGEST_S = 20


class Page(html.parser.HTMLParser):
    """Elements with their attributes, texts of scripts and rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.tables = [], [], {}
        self._table = self._row = None
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag == "script":
            self.scripts.append("")
            self._in_script = True
        if tag == "div" and str(attributes.get("id")).startswith("table"):
            self._table = self.tables.setdefault(attributes["id"], [])
        if tag == "tr" and self._table is not None:
            self._row = []
            self._table.append(self._row)
        if tag in ("td", "th") and self._row is not None:
            self._row.append("")

    def handle_endtag(self, tag):
        if tag == "script":
            self._in_script = False
        if tag == "tr":
            self._row = None
        if tag == "table":
            self._table = None

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1] += data
        elif self._row:
            self._row[-1] += data.strip()

    def attributes(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(study):
    return Page(write_report(study).read_text("utf-8"))


def test_nothing_is_loaded_from_elsewhere(page):
    for tag, attributes in page.elements:
        assert not LOADS & set(attributes), f"<{tag}> loads {attributes}"
        assert attributes.get("href", "#")[:5] in ("#", "data:") or attributes["href"][0] == "#"
    styles = re.findall(r"<style>(.*?)</style>", str(page.rawdata), flags=re.DOTALL)
    assert not any("url(" in style or "@import" in style for style in styles)


def test_the_security_policy_lets_exactly_the_own_scripts_run(page):
    policy = next(a["content"] for a in page.attributes("meta") if "http-equiv" in a)
    data, *programs = page.scripts
    assert len(programs) == 3  # plotly, the page, the viewer
    for program in programs:
        digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.split("style-src")[0]
    json.loads(data)


def test_a_hostile_name_stays_text(study, page, hostile):
    text = (study / "report.html").read_text("utf-8")
    assert hostile not in text
    assert "<img" not in text.replace(page.scripts[1], "")
    assert page.tables["table1-accuracy"][-1][0] == hostile  # shown, as it was written
    # plotly reads some HTML in texts, so names are escaped in its data, too.
    assert "<img" not in json.dumps(json.loads(page.scripts[0])["figures"]).replace(
        f'"meta": {json.dumps(hostile)}', ""
    )


def test_the_file_is_small_enough_to_mail(study):
    assert write_report(study).stat().st_size < LARGEST_MB * 1e6


def test_equal_records_give_equal_bytes(study, tmp_path):
    other = tmp_path / "elsewhere"
    shutil.copytree(study, other, ignore=shutil.ignore_patterns("elsewhere"))
    first = write_report(study).read_bytes()
    assert write_report(study).read_bytes() == first
    assert write_report(other).read_bytes() == first


def test_table_1_repeats_the_records(study, page):
    heads, *rows = page.tables["table1-accuracy"]
    assert heads[2:] == [
        "Train RMSE F (meV/Å)",
        "Valid RMSE F (meV/Å)",
        "Test RMSE F (meV/Å)",
        "Test RMSE E (meV/atom)",
    ]
    row = next(row for row in rows if row[0] == "FT-600K")
    values = [
        1e3 * run.probes["held-out"].metrics["test_force_rmse"]  # type: ignore[operator]
        for run in load_study(study).runs
        if run.info.name == "FT-600K" and run.info.status == "ok"
    ]
    assert row[1] == "3 of 4"
    assert row[4] == f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def test_every_block_offers_its_numbers(page):
    links = [a for a in page.attributes("a") if a.get("class") == "download"]
    assert len(links) == 12  # five figures, seven tables
    for link in links:
        head, _, body = link["href"].partition(",")
        assert head == "data:text/csv;charset=utf-8"
        assert not set(body) & set('<>"#&')  # would end the attribute, the text or the address
        lines = io.StringIO(urllib.parse.unquote(body)).readlines()
        assert len(lines) > 1
        assert link["download"].endswith(".csv")


def test_anchors_lead_somewhere(page):
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(set(identifiers)) == len(identifiers)
    links = [a["href"] for a in page.attributes("a") if a["href"].startswith("#")]
    assert {link[1:] for link in links} <= set(identifiers)


def test_panels_are_described_for_those_who_do_not_see_them(page):
    panels = [a for a in page.attributes("div") if a.get("class") == "panel"]
    drawn = json.loads(page.scripts[0])["figures"]
    assert len(panels) == len(drawn) > 0
    assert [int(panel["data-panel"]) for panel in panels] == list(range(len(drawn)))
    assert all(panel["role"] == "img" and panel["aria-label"] for panel in panels)


def test_missing_probes_are_explained(make_study):
    text = write_report(make_study({"scratch": (0,)}, probes={})).read_text("utf-8")
    for kind in ("accuracy", "fixed_path", "sliding"):
        assert f"The configuration asks for no {kind} probe" in text


def test_a_study_without_runs_still_has_a_report(make_study):
    out = make_study({"scratch": (0, 1)})
    shutil.rmtree(out / "runs")
    text = write_report(out).read_text("utf-8")
    assert "Preliminary: 3 of 3 planned runs are not finished." in text
    assert "No verdict" in text


def test_damaged_files_are_reported(study):
    run = load_study(study).runs[0].directory
    (run / "records" / "in-gap.json").write_text("{")
    (run / "records" / "deep.npz").write_bytes(b"no archive")
    text = write_report(study).read_text("utf-8")
    assert "in-gap.json" in text
    assert "Probe deep, scratch, seed 0: its arrays are missing or damaged" in text
    assert "treated as missing" in text


def test_an_output_without_a_study_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"study\.json"):
        write_report(tmp_path)


def test_figures_for_print_are_optional(study):
    write_report(study)
    assert not (study / "figures").exists()
    write_report(study, figures=True)
    names = {path.name for path in (study / "figures").iterdir()}
    keys = ("fig2-barrier-errors", "fig2-profiles", "fig3-sliding", "fig5-parity")
    assert {f"{key}.{kind}" for key in keys for kind in ("pdf", "png")} < names


def test_twenty_runs_are_reported_quickly(make_study):
    out = make_study({f"candidate-{place}": tuple(range(4)) for place in range(5)})
    info = load_study(out).info
    assert len(info.runs) == 21
    start = time.perf_counter()
    write_report(out)
    assert time.perf_counter() - start < LONGEST_S


def test_the_stored_verdict_is_shown(study):
    first = write_report(study).read_text("utf-8")
    assert "The least bad is FT-600K" in first
    verdict = judge(load_study(study), VerdictConfig.model_validate({"barrier_error_ev": 0.5}))
    write_json(study / "summary.json", {"verdict": verdict.model_dump(mode="json")})
    assert verdict.headline not in html.unescape(first)
    assert verdict.headline in html.unescape(write_report(study).read_text("utf-8"))


def test_a_verdict_that_cannot_be_read_is_judged_anew(study):
    expected = write_report(study).read_bytes()
    write_json(study / "summary.json", {"verdict": {"winner": "of another version"}})
    assert write_report(study).read_bytes() == expected
