"""What every ensemble promises, tried with its own example."""

import jax
import numpy as np
import pytest

from mlffjax import registry
from mlffjax.config import dump, validate
from mlffjax.dynamics.config import MdConfig
from mlffjax.dynamics.run import run
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import System

KINDS = registry.kinds("dynamics.ensembles")


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_runs_and_is_what_it_says(kind):
    module = registry.resolve("dynamics.ensembles", kind)
    config = module.example()
    assert dump(config)["kind"] == kind
    basis = 5.3 * np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    system = System(basis, np.full(4, 18, np.int32), 5.3 * np.eye(3), np.ones(3, bool))
    settings = validate(
        {"temperature_k": 20, "ensemble": dump(config), "steps": 6, "intervals": {"thermo": 1}}
        | {"intervals": {"thermo": 1, "positions": 0}},
        MdConfig,
        where="test",
    )
    lane = run(lennard_jones((18,), cutoff=5.0), system, settings).lanes[0]
    assert lane.ok, lane.reason
    samples = lane.samples["production"]
    assert ("cell" in samples) == config.changes_cell
    conserved = samples["conserved"].values
    # 6 fs of an integrator that works.
    assert np.ptp(conserved) < 1e-5
    assert np.ptp(samples["temperature"].values) > 0
    assert ("cell" not in samples) or np.ptp(samples["cell"].values, axis=0).max() > 0
    leaves = jax.tree.leaves(module.parameters(config))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
