"""Inputs of CP2K, and what its output says about the structure that was asked for."""

import numpy as np
import pytest
from ase import Atoms

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import cp2k
from mlffjax.errors import ConfigError
from mlffjax.structures.system import from_ase

CELL = np.array([[4.3, 0, 0], [0, 5.0, 0], [0, 0.2, 6.0]])
ATOMS = Atoms("TeCrTe", positions=[[0.1, 0, 0], [2, 2.1, 0.3], [0.2, 2, 3]], cell=CELL, pbc=True)
# Layout of CP2K 2025.1, numbers made up; more of it is read in the tests of the reader.
OUTPUT = """
 CP2K| version string:                 CP2K version 2025.1
 CELL| Vector a [angstrom]:       4.300     0.000     0.000   |a| =     4.300000
 CELL| Vector b [angstrom]:       0.000     5.000     0.000   |b| =     5.000000
 CELL| Vector c [angstrom]:       0.000     0.200     6.000   |c| =     6.003332

 MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM

   Atom Kind Element         X             Y             Z       Z(eff)     Mass
      1    1 Te   52      0.100000      0.000000      0.000000   6.0000 127.6000
      2    2 Cr   24      2.000000      2.100000      0.300000  14.0000  51.9961
      3    1 Te   52      0.200000      2.000000      3.000000   6.0000 127.6000

  *** SCF run converged in    21 steps ***
 #  Atom  Element  Kind  Atomic population (alpha,beta) Net charge  Spin moment
       1     Te       1          3.010000     3.000000    -0.010000     0.010000
       2     Cr       2          8.600000     5.350000     0.050000     3.250000
       3     Te       1          2.990000     3.010000    -0.000000    -0.020000

 ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]             -100.500000000000000

 FORCES| Atomic forces [hartree/bohr]
 FORCES|   Atom     x               y               z               |f|
 FORCES|      1  1.00000000E-02  0.00000000E+00  0.00000000E+00   1.00000000E-02
 FORCES|      2 -1.00000000E-02  0.00000000E+00  0.00000000E+00   1.00000000E-02
 FORCES|      3  0.00000000E+00  0.00000000E+00  0.00000000E+00   0.00000000E+00
"""
END = "  **** **** ******  **  PROGRAM ENDED AT            2026-11-24 08:00:00.000\n"


def test_output_is_read_with_its_spins(tmp_path):
    system = from_ase(ATOMS)
    assert cp2k.said(cp2k.example(), tmp_path, system) is None
    (tmp_path / "cp2k.out").write_text(OUTPUT)
    assert cp2k.said(cp2k.example(), tmp_path, system) is None
    (tmp_path / "cp2k.out").write_text(OUTPUT + END)
    found = cp2k.said(cp2k.example(), tmp_path, system)
    assert found is not None
    assert found.energy == pytest.approx(-100.5 * 27.211386, rel=1e-7)
    assert found.forces[0, 0] == pytest.approx(0.01 * 27.211386 / 0.529177211, rel=1e-7)
    assert found.stress is None
    assert found.moments is not None
    assert found.moments.tolist() == [0.01, 3.25, -0.02]
    np.testing.assert_allclose(found.system.positions, ATOMS.positions)
    assert found.about == {"program": "CP2K 2025.1"}
    (tmp_path / "cp2k.out").write_text(OUTPUT.replace("run converged", "run NOT converged") + END)
    with pytest.raises(LabelError, match="not self-consistent"):
        cp2k.said(cp2k.example(), tmp_path, system)


def test_entries_that_cannot_be_written_are_refused():
    text = cp2k.example().input
    with pytest.raises(ConfigError, match="got none for Cr"):
        cp2k.inputs(cp2k.example(), ATOMS)
    with pytest.raises(ValueError, match="as many &END"):
        cp2k.Config(input=text + "&GLOBAL\n")
    with pytest.raises(ValueError, match="RUN_TYPE ENERGY_FORCE, got MD"):
        cp2k.Config(input=text + "&GLOBAL\n RUN_TYPE MD\n&END GLOBAL\n")
    with pytest.raises(ValueError, match="no section CELL"):
        cp2k.Config(input=text.replace("&SUBSYS\n", "&SUBSYS\n&CELL\n&END CELL\n"))
    magnetic = Atoms("Te", positions=[[0, 0, 0]], cell=CELL, pbc=True, magmoms=[1.0])
    spoken = text.replace("POTENTIAL GTH-PBE-q6", "POTENTIAL GTH-PBE-q6\nMAGNETIZATION 2")
    with pytest.raises(ConfigError, match="no MAGNETIZATION of Te"):
        cp2k.inputs(cp2k.Config(input=spoken), magnetic)
