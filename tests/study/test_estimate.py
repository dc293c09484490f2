"""Estimates are counted from measured paces; what cannot be counted is named."""

import pytest
from study import small

from mlffjax.config import validate
from mlffjax.dynamics.config import MdConfig
from mlffjax.probes import _dynamics
from mlffjax.study import estimate
from mlffjax.study.config import StudyConfig
from mlffjax.study.estimate import Pace, Span, memory_peak, of_study, pace_of_dynamics, times
from mlffjax.study.plan import make_plan


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("estimate")
    small.write_inputs(folder)
    return folder


def plan(base, **changes):
    return make_plan(validate(small.settings(**changes), StudyConfig, where="test"), base)


def test_steps_and_structures_are_counted(base, monkeypatch):
    monkeypatch.setattr(estimate, "_pace_of_steps", lambda *_: Pace((1.0, 2.0, 3.0), 10.0))
    monkeypatch.setattr(estimate, "pace_of_atoms", lambda *_: Pace((1e-3, 1e-3, 4e-3), 1.0))
    probes = [
        *small.settings()["probes"],
        {"kind": "relaxed_neb", "name": "band", "path": "hop", "lattice": "none", "images": 5,
         "relaxation": {"max_steps": 7, "retry": False}},
        {"kind": "strain", "name": "strain"},
    ]  # fmt: skip
    planned = plan(base, probes=probes)
    found = of_study(planned)
    # 3 epochs of 10 frames in batches of 4 and one batch of validation: 3 (3 + 1/3) = 10 steps;
    # 3 (1 + 1/3) = 4 for each of two runs on 4 frames; two kinds to compile; none for zero shot.
    assert tuple(found.training) == pytest.approx((18 + 20, 36 + 20, 54 + 20))
    parts = (planned.dataset.frames, *(path.frames for path in planned.paths.values()))
    atoms = [len(frame.system.numbers) for part in parts for frame in part]
    work = 4 * (sum(atoms) + 7 * 5 * len(planned.paths["hop"].frames[0].system.numbers))  # 4 runs
    assert tuple(found.probes) == pytest.approx((1e-3 * work, 1e-3 * work, 4e-3 * work))
    assert found.counted == ("accuracy", "hop", "slide", "band")
    assert found.uncounted == ("strain",)


def test_dynamics_count_all_stages_and_replicas(base):
    md = {"temperature_k": 20, "ensemble": {"kind": "nve"}, "steps": 60, "replicas": 3,
          "equilibration": [{"ensemble": {"kind": "nve"}, "steps": 40}]}  # fmt: skip
    section = {"kind": "stability", "name": "cold", "md": md, "start": {"config_type": "cold"}}
    planned = plan(base, probes=[section])
    atoms = len(planned.dataset.frames[0].system.numbers)
    assert estimate._counts(planned) == {"cold": 100 * 3 * atoms}


def test_paces_are_measured_and_nothing_is_left_behind(base, tmp_path, monkeypatch):
    """One real measurement: a step of each kind, structures, dynamics."""
    monkeypatch.chdir(tmp_path)
    found = of_study(plan(base))
    assert set(found.paces) == {"scratch, batches of 4, float32", "finetune, batches of 4, float32"}
    for pace in found.paces.values():
        assert len(pace.seconds) == estimate.EPOCHS - 1
        assert 0 < min(pace.seconds) <= pace.typical <= max(pace.seconds)
        assert pace.compilation > 0
    low, likely, high = found.training
    assert 0 < low <= likely <= high
    assert found.probes.low > 0
    assert 1e7 < found.memory == memory_peak()
    system = _dynamics.starting_system(*_dynamics.example_start())
    md = {"temperature_k": 20, "ensemble": {"kind": "nve"}, "steps": 10**7,
          "equilibration": [{"ensemble": {"kind": "nve"}, "steps": 10**7}],
          "intervals": {"thermo": 1000}}  # fmt: skip
    pace = pace_of_dynamics(small.FOUNDATION, system, validate(md, MdConfig, where="test"))
    assert len(pace.seconds) == estimate.CHUNKS - 1
    assert min(pace.seconds) > 0
    assert list(tmp_path.iterdir()) == []


def test_times_keep_the_spread():
    assert times(Pace((2.0, 1.0, 4.0), 9.0), 10) == Span(10.0, 20.0, 40.0)
    assert Span(1, 2, 3) + Span(1, 1, 1) == Span(2, 3, 4)
