"""Commands killed at random moments come to the same end as undisturbed ones.

Equal to the bit where that is promised (``commands.Command.rtol``). Whatever is there after a kill
is whole, and nothing that was finished is written again.
"""

import dataclasses
import os
import sys
import time

import numpy as np
import pytest
from faults import commands, harness
from faults.commands import COMMANDS

LONG = int(os.environ.get("MLFFJAX_FAULT_KILLS", "120"))
"""Kills of the long run in all."""
EACH = 4


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return harness.Harness(tmp_path_factory.mktemp("kills"))


@pytest.mark.slow
def test_killed_dynamics_ends_as_if_undisturbed(site):
    command, tally = COMMANDS["md"], harness.Tally()
    undisturbed = site.complete(command, site.folder / "md-undisturbed")
    harness.campaign(
        site, command, undisturbed, np.random.default_rng(1), kills=2, each=2, tally=tally
    )
    assert tally.kills == 2


def test_killed_training_ends_as_if_undisturbed(site):
    command, tally = COMMANDS["train"], harness.Tally()
    undisturbed = site.complete(command, site.folder / "train-undisturbed")
    harness.campaign(
        site, command, undisturbed, np.random.default_rng(2), kills=2, each=2, tally=tally
    )
    assert tally.kills == 2


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_many_kills_change_nothing(site, name, record_property):
    command, tally = COMMANDS[name], harness.Tally()
    whole = site.folder / f"{name}-whole"
    harness.prepare(command, site, whole)
    undisturbed = site.complete(command, whole)
    start = time.monotonic()
    harness.campaign(
        site, command, undisturbed, np.random.default_rng(7),
        kills=-(-LONG // len(COMMANDS)), each=EACH, tally=tally,
    )  # fmt: skip
    found = dataclasses.asdict(tally) | {"seconds": round(time.monotonic() - start)}
    record_property("tally", str(found))
    sys.stderr.write(f"{name}: {found}\n")
    assert tally.kills >= LONG // len(COMMANDS)


def test_the_comparison_sees_one_bit(tmp_path):
    one = {"a": [np.array([1.0, 2.0]), 1.0, "x"]}
    commands.assert_equal({"a": [np.array([1.0, 2.0]), 1.0, "x"]}, one, 0.0)
    for other in ([np.array([1.0, np.nextafter(2.0, 3)]), 1.0, "x"], [one["a"][0], 1.0, "y"],
                  [one["a"][0], np.nextafter(1.0, 2), "x"]):  # fmt: skip
        with pytest.raises(AssertionError):
            commands.assert_equal({"a": other}, one, 0.0)
