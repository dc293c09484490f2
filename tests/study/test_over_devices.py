import os
import subprocess
import sys

import jax

from mlffjax.study.over_devices import width

SPREAD = """
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from mlffjax.potential.derivatives import energies_and_forces
from mlffjax.potential.pair import lennard_jones
from mlffjax.graphs.batching import build
from mlffjax.structures.system import System
from mlffjax.study import over_devices
from mlffjax import trees

assert jax.local_device_count() == 4
assert over_devices.width(6) == 4
positions = np.random.default_rng(0).uniform(size=(4, 3)) + 3.0 * np.arange(4)[:, None]
system = System(positions, np.full(4, 18, np.int32), 20.0 * np.eye(3), np.zeros(3, bool))
graph = build([system], (18,), 6.0, dtype=np.float64)
made = [
    trees.cast(lennard_jones((18,), epsilon=e, sigma=3.3, cutoff=6.0), jnp.float64)
    for e in (0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
]
swapped = lambda graph, potential: energies_and_forces(potential, graph)
measure = jax.tree_util.Partial(swapped, graph)
alone = [jax.jit(measure)(potential) for potential in made]
for count in (2, 4, 6):  # fewer than devices, as many, more with empty places
    found = over_devices.measured(measure, made[:count])
    assert len(found) == count
    for got, expected in zip(found, alone):
        for a, b in zip(got, expected):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)  # rounding of double
"""


def test_potentials_on_four_devices_equal_each_alone():
    environment = dict(os.environ) | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-c", SPREAD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_one_cpu_device_takes_one_at_a_time():
    assert jax.local_device_count() == 1
    assert width(8) == 1
