"""Every kind of strategy ends alike however its steps are executed: alone, in company, spread."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from contracts import noble

from mlffjax import registry
from mlffjax.training.fleet import fit_many
from mlffjax.training.members import groups

MODULES = {
    kind: registry.resolve("training.strategies", kind)
    for kind in registry.kinds("training.strategies")
}
TRAINED = [kind for kind, module in MODULES.items() if module.example().trains]
NETWORKS = [kind for kind in TRAINED if MODULES[kind].Config.needs_network]
PAIRS = [kind for kind in TRAINED if kind not in NETWORKS] + [noble.SCHEDULE_FREE]
# Networks take most of the time of compilation.
KINDS = PAIRS + [pytest.param(kind, marks=pytest.mark.slow) for kind in NETWORKS]
# Sums of float64 in another order, through two steps of Adam.
ROUNDING = 1e-9


@functools.cache
def runs(kind):
    """Two, which differ in what their keys draw and in the sequence of the frames."""
    return [noble.member(kind, seed=seed) for seed in (0, 1)]


@functools.cache
def alone(kind):
    return [noble.numbers(noble.trained(run)) for run in runs(kind)]


@pytest.fixture(scope="module")
def spread(request, tmp_path_factory):
    """Outcomes of a program with two devices, which share every batch."""
    kinds = PAIRS + (NETWORKS if request.config.getoption("--slow") else [])
    out = tmp_path_factory.mktemp("spread") / "out.json"
    flags = os.environ.get("XLA_FLAGS", "").split()
    flags = [flag for flag in flags if "device_count" not in flag and flag.startswith("--")]
    environment = dict(os.environ) | {
        "XLA_FLAGS": " ".join([*flags, "--xla_force_host_platform_device_count=2"])
    }
    command = [sys.executable, noble.__file__, str(out), *kinds]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        # Weights that start at zero and hardly move are compared with a step's length.
        np.testing.assert_allclose(ours[name], wanted, rtol=ROUNDING, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_runs_in_company_end_as_they_would_alone(kind):
    pair = runs(kind)
    assert groups(pair) == ((0, 1),)
    for together, single in zip(fit_many(pair), alone(kind), strict=True):
        same(noble.numbers(together), single)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_spread_over_devices_give_the_same(kind, spread):
    same(spread[kind], alone(kind)[0])
