"""Crystals of argon, whose forces are cheap, and settings for short runs of them."""

import numpy as np
import pytest
from ase.build import bulk

from mlffjax.dynamics.config import MdConfig
from mlffjax.potential.pair import lennard_jones
from mlffjax.structures.system import from_ase


@pytest.fixture(scope="session")
def argon():
    """A potential for argon and krypton and a crystal of 32 atoms; thinner than two cutoffs."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat(2)
    return lennard_jones((18, 36), cutoff=6.5), from_ase(atoms)


@pytest.fixture(scope="session")
def mixture(argon):
    """The same with atoms of two masses."""
    potential, system = argon
    numbers = np.where(np.arange(32) % 3 == 0, 36, 18).astype(np.int32)
    return potential, system._replace(numbers=numbers)


@pytest.fixture(scope="session")
def settings():
    """Settings with defaults that suit argon."""

    def make(kind="nve", steps=100, **changes):
        ensemble = changes.pop("ensemble", {"kind": kind})
        plain = {
            "temperature_k": 40,
            "timestep_fs": 4.0,
            "intervals": {"thermo": 1, "positions": 5, "velocities": 5},
            "skin": 0.3,
            "checkpoint_every": 40,
        }
        return MdConfig.model_validate({"ensemble": ensemble, "steps": steps, **plain, **changes})

    return make
