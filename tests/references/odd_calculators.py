"""Calculators that go wrong in every way we know, for tests of the pipes to another process.

Imported there by name; only ASE and NumPy are needed. The element of an atom says what happens.
"""

import os
import signal
import sys
import time

import numpy as np
from ase.calculators.lj import LennardJones

print("this module prints while it is imported")  # noqa: T201
DEATH, ERROR, SHAPE, NOTHING, SLOW, LEAVE = 36, 10, 2, 54, 86, 1


class Odd(LennardJones):
    """Lennard-Jones that prints, and that some elements upset."""

    def __init__(self, marker=None, wait=0.0, **arguments):
        time.sleep(wait)
        os.write(1, b"MLFX raw bytes on what was standard output\n")
        self.marker = marker
        super().__init__(**arguments)

    def calculate(self, atoms=None, *arguments, **choices):
        print("a model that prints")  # noqa: T201
        os.write(1, b"\x00\x01\x02")
        super().calculate(atoms, *arguments, **choices)
        found = set(self.atoms.numbers.tolist())
        if DEATH in found:
            self.die()
        if ERROR in found:
            raise ZeroDivisionError("neon is too noble")
        if SLOW in found:
            time.sleep(100)
        if LEAVE in found:
            sys.exit("the model left")
        if SHAPE in found:
            self.results["forces"] = np.zeros((2, 3))
        if NOTHING in found:
            self.results["energy"] = self.results["free_energy"] = np.nan

    def die(self):
        """Each time, or the first time only if there is a file to remember by."""
        if self.marker and os.path.exists(self.marker):
            return
        if self.marker:
            open(self.marker, "w").close()
        sys.stderr.write("segmentation of everything\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGKILL)


class Curious(LennardJones):
    """Says what it can see of our environment."""

    def __init__(self):
        ours = [name for name in ("PYTHONPATH", "PYTHONHOME") if name in os.environ]
        folder = [place for place in sys.path if place.endswith("remote")]
        raise ValueError(f"leaked: {ours}, {folder}; prefix {sys.prefix}")
