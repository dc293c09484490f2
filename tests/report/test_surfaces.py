"""Maps and cuts of gamma surfaces."""

import numpy as np
import pytest

from mlffjax.report import interactive, publication, style, surfaces
from mlffjax.report.panels import rows_of, table_of
from mlffjax.study.records import load_study

PROBES = {"surface": ("gamma_surface", {"path": "slide"})}


@pytest.fixture
def relaxed(make_study):
    return make_study({"scratch": (0,), "FT-600K": (0, 1, 2), "foundation": (0,)}, PROBES)


def shown(out):
    records = load_study(out)
    looks = style.looks(list(records.by_name()))
    return {block.key: block for block in surfaces.blocks(records, looks)}


def test_a_map_in_the_plane_of_the_layers(relaxed):
    """The cell is a parallelogram of 4 Å by 3 Å, its second vector 2 Å along the first."""
    panels = shown(relaxed)["fig3-gamma-map"].panels
    assert [p.title for p in panels] == [
        "surface: scratch", "surface: FT-600K", "surface: foundation",
    ]  # fmt: skip
    for panel, height in zip(panels, (0.4, 0.5, 0.4), strict=True):  # the mean over seeds
        assert panel.square
        assert panel.z_window == (0.0, pytest.approx(0.5))
        drawn = next(t for t in panel.traces if t.form == "map")
        x, y, rows = rows_of(drawn)
        assert (x[0], x[-1], y[0], y[-1]) == pytest.approx((0.0, 6.0, 0.0, 3.0))
        assert np.shape(rows) == (len(y), len(x))
        second = np.array(drawn.y) / 3.0
        first = (np.array(drawn.x) - 2.0 * second) / 4.0
        expected = (np.sin(np.pi * first) ** 2 + np.sin(np.pi * second) ** 2) * height / 2
        # Linear interpolation between 24 points: (2 pi / 24)^2 / 8 of the amplitude, twice.
        np.testing.assert_allclose(drawn.z, expected, atol=0.02 * height)
        minima = next(t for t in panel.traces if t.series == "minimum")
        assert (minima.x, minima.y) == ((0.0,), (0.0,))


def test_an_oblique_plane_keeps_lengths_and_angle():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    plane = np.array([[4.0, 0.0, 0.0], [-1.0, 3.0, 0.0]]) @ turn
    np.testing.assert_allclose(surfaces._flat(plane), [[4.0, 0.0], [-1.0, 3.0]], atol=1e-12)


def test_interpolation_is_periodic_and_exact_on_the_grid(rng):
    surface = rng.normal(size=(4, 5))
    grid = np.stack(np.meshgrid(np.arange(4) / 4, np.arange(5) / 5, indexing="ij"), axis=-1)
    for shift in ((0, 0), (1, -2)):
        found = surfaces.between(surface, (grid + shift).reshape(-1, 2))
        np.testing.assert_allclose(found, surface.ravel(), atol=1e-12)


def test_maps_are_drawn_on_screen_and_paper_and_written_as_numbers(relaxed, tmp_path):
    figure = shown(relaxed)["fig3-gamma-map"]
    described = interactive.describe(figure.panels[0])
    drawn = described["data"][0]
    assert drawn["type"] == "contour"
    assert len(drawn["z"]) == len(drawn["y"])
    assert len(drawn["z"][0]) == len(drawn["x"])
    assert (drawn["zmin"], drawn["zmax"]) == (0.0, pytest.approx(0.5))
    assert drawn["colorbar"]["title"]["text"] == "energy above the minimum (eV)"
    lines = table_of(figure).splitlines()
    assert lines[0].endswith(",z")
    assert lines[1].startswith("surface: scratch,scratch,,map,0.0,0.0,,,")
    assert all(path.stat().st_size > 1000 for path in publication.save(figure, tmp_path))


def test_cuts_through_the_surface_close(relaxed):
    panels = shown(relaxed)["fig3-gamma-surface"].panels
    assert [panel.title for panel in panels] == [
        "surface: first lattice vector",
        "surface: second lattice vector",
        "surface: their sum",
    ]
    for panel, points in zip(panels, (25, 33, 9), strict=True):  # 24 x 32 share 8 on the diagonal
        curve = next(t for t in panel.traces if t.series == "foundation")
        assert (curve.x[0], curve.x[-1], len(curve.x)) == (0.0, 1.0, points)
        assert curve.y[0] == curve.y[-1]
    diagonal = next(t for t in panels[2].traces if t.series == "foundation")
    expected = 0.4 * np.sin(np.pi * np.array(diagonal.x)) ** 2
    np.testing.assert_allclose(diagonal.y, expected, atol=1e-12)  # rounding


def test_the_surface_has_a_table(relaxed):
    table = shown(relaxed)["table-gamma-surface"]
    row = dict(zip(table.columns, table.rows[-1], strict=True))
    assert row["Corrugation (eV)"].text == "0.400"
    assert "Not relaxed" not in table.columns  # rigid
