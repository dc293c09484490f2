import json

import numpy as np
import pytest

from mlffjax.config import assemble
from mlffjax.errors import CompatibilityError, ConfigError, InputError
from mlffjax.pathways import gamma_surface
from mlffjax.potential import store
from mlffjax.potential.card import Card
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures import builders
from mlffjax.structures.files import read_frames, write_frames
from mlffjax.structures.system import Frame
from mlffjax.study.lock import locked
from mlffjax.study.slide import SlideConfig, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A structure and a potential, as a user has them."""
    place = tmp_path_factory.mktemp("slide")
    frame = Frame(builders.bilayer(1), None, None, None, "", "", 0.0, "a", "a", {})
    write_frames(place / "bilayer.extxyz", [frame])
    potential = lennard_jones((51, 52), epsilon=0.05, sigma=2.9, cutoff=7.0)
    for name, dispersion in (("model", None), ("model_d3", "D3(BJ)")):
        card = Card(name=name, elements=("Sb", "Te"), model=potential.model.settings,
                    reference="none", functional="PBE", dispersion=dispersion)  # fmt: skip
        store.save(place / name, potential, card)
    return place


def settings(*overrides, **entries):
    data = {"structure": "bilayer.extxyz", "potential": "model", "images": 5, **entries}
    return assemble(data, SlideConfig, overrides, where="test")


def test_what_is_written(folder, tmp_path):
    said = []
    outcome = run(
        settings(surface=[3, 3], relaxation="gap", direction=[1, -1, 0]), folder, tmp_path,
        observe=lambda *event: said.append(event),
    )  # fmt: skip
    assert outcome.failures == ()
    report = json.loads((tmp_path / "slide.json").read_text())
    assert report == json.loads(json.dumps(outcome.report))
    assert report["layers"]["atoms"] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    line = report["line"]
    assert line["closed"]
    assert line["closure_error"] < 1e-9
    assert line["barrier_j_per_m2"] == pytest.approx(
        line["barrier"] * 16.0217662 / report["layers"]["area"], rel=1e-8
    )
    assert line["barrier_mev_per_atom"] == pytest.approx(100 * line["barrier"])
    arrays = np.load(tmp_path / "slide.npz")
    assert arrays["surface_energy"].shape == (3, 3)
    assert arrays["line_energy"].shape == (5,)
    frames = read_frames(tmp_path / "line.extxyz")
    assert [frame.info["image"] for frame in frames] == list(range(5))
    assert all(frame.energy is None for frame in frames)  # a model's energies are no labels
    np.testing.assert_allclose(
        [frame.system.positions for frame in frames], arrays["line_positions"], atol=1e-7
    )
    assert said[-1][0] == "surface"


def test_what_failed_is_said_and_no_number_is_given(folder, tmp_path):
    outcome = run(settings(relaxation="gap", steps=2), folder, tmp_path)
    (failure,) = outcome.failures
    assert "did not relax (max_steps" in failure
    assert outcome.report["line"]["barrier"] is None
    assert outcome.report["line"]["barrier_j_per_m2"] is None


def test_two_cannot_write_into_one_directory(folder, tmp_path):
    with locked(tmp_path), pytest.raises(InputError, match="another process"):
        run(settings(), folder, tmp_path)
    assert not (tmp_path / "slide.json").exists()


def test_no_old_report_stands_beside_new_arrays(folder, tmp_path, monkeypatch):
    run(settings(), folder, tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mlffjax.study.slide.write_frames", killed)
    with pytest.raises(KeyboardInterrupt):
        run(settings("images=7"), folder, tmp_path)
    assert not (tmp_path / "slide.json").exists()


def test_failed_closure_is_a_failure(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(gamma_surface, "closure_error", lambda potential, along: 1e-3)
    outcome = run(settings(), folder, tmp_path)
    assert any("a defect of cell" in failure for failure in outcome.failures)


def test_calculator_of_ase_in_place_of_a_potential(folder, tmp_path):
    section = {"kind": "ase", "factory": "ase.calculators.lj:LennardJones", "cutoff": 6.0,
               "arguments": {"epsilon": 0.05, "sigma": 2.9, "rc": 6.0, "smooth": True}}  # fmt: skip
    data = {"structure": "bilayer.extxyz", "images": 3, "calculator": section}
    outcome = run(assemble(data, SlideConfig, where="test"), folder, tmp_path)
    assert outcome.failures == ()
    assert outcome.report["line"]["closure_error"] < 1e-9
    assert outcome.report["potential"]["factory"] == section["factory"]


def test_dispersion_is_added_once(folder, tmp_path):
    pytest.importorskip("dftd3")
    outcome = run(settings(dispersion="d3bj", images=3), folder, tmp_path)
    assert outcome.report["dispersion"] == "D3(BJ), parameters of PBE"
    with pytest.raises(CompatibilityError, match="twice"):
        run(settings(dispersion="d3bj", potential="model_d3"), folder, tmp_path)


@pytest.mark.parametrize(
    ("entries", "message"),
    [({"direction": [1, 0, 0], "vector": [1, 0, 0]}, "got both"),
     ({"surface": [2, 2]}, "3 x 3"),
     ({"calculator": {"kind": "lennard_jones"}}, "needs no weights"),
     ({"calculator": {"kind": "ase", "factory": "a:B"}}, "excludes 'potential'")],
)  # fmt: skip
def test_contradictions_are_refused(entries, message):
    with pytest.raises(ConfigError, match=message):
        settings(**entries)


def test_frame_that_does_not_exist(folder, tmp_path):
    with pytest.raises(InputError, match="below 1, got 3"):
        run(settings(frame=3), folder, tmp_path)
