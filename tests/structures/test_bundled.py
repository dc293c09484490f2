import re

import numpy as np
import pytest

from mlffjax.errors import InputError
from mlffjax.structures import bundled
from mlffjax.structures.checks import require_distinct, require_elements, require_labels
from mlffjax.structures.datasets import isolated_energies
from mlffjax.structures.files import read_frames


def frames_of(name):
    return [frame for file in bundled.files(name) for frame in read_frames(file)]


def test_every_file_belongs_to_exactly_one_part():
    files = [file for name in bundled.names() for file in bundled.files(name)]
    assert sorted(files) == sorted(bundled.root().glob("*.xyz"))


def test_frames_are_fit_for_training():
    frames = frames_of("frames")
    require_labels(frames, stress=True)
    require_distinct(frames)
    require_elements(frames, isolated_energies(frames_of("isolated")))
    assert {"md_300K", "md_600K", "md_1200K", "strain"} <= {f.config_type for f in frames}


def test_snapshots_come_in_order_of_time():
    for file in bundled.files("frames"):
        if file.name.startswith("md_"):
            places = [(frame.trajectory, frame.order) for frame in read_frames(file)]
            assert places == sorted(set(places))


def test_no_bookkeeping_is_left():
    for file in bundled.root().glob("*.xyz"):
        text = file.read_text()
        assert not re.search(r"label_cpu_s|labeller_restart|\bout=|_json=|/home|/work", text)


def test_net_forces_vanish():
    for frame in frames_of("frames"):
        # Each component is rounded to eight decimals.
        assert np.allclose(np.sum(np.asarray(frame.forces), axis=0), 0, atol=1e-6)


def test_pressure_is_the_slope_of_energy_under_isotropic_strain():
    frames = {f.identifier: f for f in frames_of("frames") if f.config_type == "strain"}
    for k in range(1, 6):
        below, here, above = (frames[f"strain_iso_{j}"] for j in (k - 1, k, k + 1))
        volume = abs(np.linalg.det(here.system.cell))
        # Strain counts from the unstrained cell: dE/ds = V tr(stress) / (1 + s).
        slope = (
            (np.asarray(above.energy) - np.asarray(below.energy))
            / 0.02
            * (1 + here.info["strain"])
            / volume
        )
        # A step of 1 % leaves a third-order error, a cut-off of 300 eV some Pulay stress.
        assert np.trace(np.asarray(here.stress)) == pytest.approx(slope, abs=6e-3)


@pytest.mark.parametrize("name", ["slide_bilayer_pristine", "neb_in_gap"])
def test_a_path_that_ends_where_it_began_closes(name):
    energies = [np.asarray(f.energy) for f in read_frames(bundled.root() / f"{name}.xyz")]
    # SCF noise: image 0 of the path made anew differs by 0.01 meV, equivalent images by 0.1 meV.
    assert energies[-1] == pytest.approx(energies[0], abs=2e-4)
    assert np.ptp(energies) > 0.5


@pytest.mark.parametrize(
    ("name", "loose"),
    # eV. A trapezium over so few images errs by 0.024, 0.104, 0.155 and 0.175 with these labels.
    [("slide_bilayer_pristine", 0.03), ("slide_bilayer_doped", 0.12), ("neb_deep", 0.18),
     ("neb_in_gap", 0.20)],
)  # fmt: skip
def test_forces_along_a_path_do_the_work_its_energies_say(name, loose):
    """A label of other settings, another spin state or another structure breaks a segment."""
    frames = read_frames(bundled.root() / f"{name}.xyz")
    energies = np.array([np.asarray(f.energy) for f in frames])
    forces = np.array([np.asarray(f.forces) for f in frames])
    cell = np.asarray(frames[0].system.cell)
    steps = np.diff([np.asarray(f.system.positions) for f in frames], axis=0) @ np.linalg.inv(cell)
    steps = (steps - np.round(steps)) @ cell
    work = -(0.5 * (forces[1:] + forces[:-1]) * steps).sum(axis=(1, 2))
    np.testing.assert_allclose(work, np.diff(energies), rtol=0, atol=loose)
    assert np.corrcoef(work, np.diff(energies))[0, 1] > 0.9


def test_readme_counts_the_frames():
    text = (bundled.root() / "README.md").read_text()
    for file in bundled.root().glob("*.xyz"):
        assert f"| `{file.name}` | {len(read_frames(file))} |" in text


def test_unknown_part():
    with pytest.raises(InputError, match="in_gap, deep"):
        bundled.files("in_gab")
