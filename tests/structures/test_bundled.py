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


def test_readme_counts_the_frames():
    text = (bundled.root() / "README.md").read_text()
    for file in bundled.root().glob("*.xyz"):
        assert f"| `{file.name}` | {len(read_frames(file))} |" in text


def test_unknown_part():
    with pytest.raises(InputError, match="in_gap, deep"):
        bundled.files("in_gab")
