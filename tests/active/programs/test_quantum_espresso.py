"""Outputs of pw.x: units, spins, and what is no label."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import quantum_espresso as qe
from mlffjax.errors import ConfigError
from mlffjax.structures.system import from_ase

CELL = np.array([[4.3, 0, 0], [0, 5.0, 0], [0, 0.2, 6.0]])
ATOMS = Atoms("TeCrTe", positions=[[0.1, 0, 0], [2, 2.1, 0.3], [0.2, 2, 3]], cell=CELL, pbc=True)
FORCES = np.array([[0.01, 0, -0.02], [0.003, 0.01, 0], [-0.013, -0.01, 0.02]])  # Ry/bohr
STRESS = np.array([[1e-4, 0, 2e-5], [0, 3e-4, 0], [2e-5, 0, -1e-4]])  # Ry/bohr³, as printed
BOHR, RY = 0.529177211, 13.605693


def table(moments):
    rows = [f"     atom{i + 1:4d} (R=0.411)  charge= 11.2000  magn={m:8.4f}"
            for i, m in enumerate(moments)]  # fmt: skip
    head = "\n     Magnetic moment per site  (integrated on atomic sphere of radius R)\n"
    return head + "\n".join(rows) + "\n"


def output(converged=True, ended=True):
    """Layout of pw.x 7.2, numbers made up."""
    alat = CELL[0, 0]
    lines = ["", "     Program PWSCF v.7.2 starts on 24Nov2026 at  8: 0: 0 ", "",
             "     bravais-lattice index     =            0",
             f"     lattice parameter (alat)  = {alat / BOHR:11.4f}  a.u.",
             "     number of atoms/cell      =            3",
             "     number of atomic types    =            2",
             f"     celldm(1)= {alat / BOHR:10.6f}  celldm(2)=   0.000000  celldm(3)=   0.000000",
             "", "     crystal axes: (cart. coord. in units of alat)"]  # fmt: skip
    for i, row in enumerate(CELL / alat):
        lines.append(f"               a({i + 1}) = (" + "".join(f"{x:11.6f}" for x in row) + " )  ")
    lines += ["", "     PseudoPot. # 1 for Te read from file:", "     ./te.UPF",
              "     MD5 check sum: 0123456789abcdef0123456789abcdef", "",
              "   Cartesian axes", "",
              "     site n.     atom                  positions (alat units)"]  # fmt: skip
    for i, (symbol, place) in enumerate(
        zip(ATOMS.get_chemical_symbols(), ATOMS.positions / alat, strict=True)
    ):
        numbers = "".join(f"{x:12.7f}" for x in place)
        lines.append(f"        {i + 1:2d}           {symbol}  tau({i + 1:4d}) = ({numbers}  )")
    lines += ["", "     number of k points=     1  Fermi-Dirac smearing, width (Ry)=  0.0074",
              "                       cart. coord. in units 2pi/alat",
              "        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   1.0000000",
              "", "     iteration #  1     ecut=    29.40 Ry     beta= 0.30",
              table([0.1, 1.5, 0.1]), "     End of self-consistent calculation", ""]  # fmt: skip
    for spin in (" ------ SPIN UP ------------", " ------ SPIN DOWN ----------"):
        lines += [spin, "", "", "          k = 0.0000 0.0000 0.0000 (   501 PWs)   bands (ev):",
                  "", "   -10.1000  -5.2000   1.3000", ""]  # fmt: skip
    lines += ["     the Fermi energy is     5.1000 ev", ""]
    if not converged:
        lines += ["     convergence NOT achieved after 200 iterations: stopping", ""]
    else:
        lines += [
            "!    total energy              =    -100.50000000 Ry",
            "     total all-electron energy =  -20000.00000000 Ry",
            "     The total energy is F=E-TS. E is the sum of the following terms:",
            "", table([0.01, 3.25, -0.02]),
            "     convergence has been achieved in  21 iterations", "",
            "     Forces acting on atoms (cartesian axes, Ry/au):", "",
        ]  # fmt: skip
        for i, row in enumerate(FORCES):
            numbers = "".join(f"{x:14.8f}" for x in row)
            lines.append(f"     atom {i + 1:4d} type  1   force = {numbers}")
        lines += [
            "",
            "     Total force =     0.040000     Total SCF correction =     0.0001",
            "",
            "     Computing stress (Cartesian axis) and pressure",
            "",
            "          total   stress  (Ry/bohr**3)             (kbar)     P=       14.71",
        ]
        for row in STRESS:
            pressures = "".join(f"{x * 147105.08:12.2f}" for x in row)
            lines.append("".join(f"{x:14.8f}" for x in row) + pressures)
        lines += [""]
    if ended:
        lines += ["   JOB DONE.", ""]
    return "\n".join(lines)


def read(folder, text) -> Any:
    (folder / "espresso.pwo").write_text(text)
    return qe.said(qe.example(), folder, from_ase(ATOMS))


def test_output_is_read_in_our_units(tmp_path):
    found = read(tmp_path, output())
    # Constants of CODATA 2006, which the program uses, differ in the eighth digit.
    assert found.energy == pytest.approx(-100.5 * RY, rel=1e-7)
    np.testing.assert_allclose(found.forces, FORCES * RY / BOHR, rtol=1e-7)
    # Positive as printed is compression: ASE's stress has the other sign. 1 kbar = 0.1 GPa.
    np.testing.assert_allclose(found.stress, -STRESS * RY / BOHR**3, rtol=1e-6)
    assert found.stress[0, 0] == pytest.approx(-14.7105 * 0.1 * 0.00624150907, rel=1e-5)
    np.testing.assert_allclose(found.moments, [0.01, 3.25, -0.02])
    np.testing.assert_allclose(found.system.positions, ATOMS.positions, atol=1e-5)
    np.testing.assert_allclose(found.system.cell, CELL, atol=1e-5)
    assert found.system.numbers.tolist() == [52, 24, 52]
    assert found.about["program"] == "Quantum ESPRESSO 7.2"
    assert found.about["pseudopotentials"] == ["0123456789abcdef0123456789abcdef"]


def test_old_tables_of_moments_are_read(tmp_path):
    """Until 6.7 the last number of a row is a constraint."""
    rows = [f"     atom:  {i + 1:3d}    charge:   11.2000    magn:   {m:7.4f}    constr:    0.0000"
            for i, m in enumerate([0.0, 3.3, 0.0])]  # fmt: skip
    old = "\n     Magnetic moment per site:\n" + "\n".join(rows) + "\n"
    found = read(tmp_path, output().replace(table([0.01, 3.25, -0.02]), old))
    np.testing.assert_allclose(found.moments, [0.0, 3.3, 0.0])


def test_what_is_no_label(tmp_path):
    assert qe.said(qe.example(), tmp_path, from_ase(ATOMS)) is None
    assert read(tmp_path, output(ended=False)) is None
    with pytest.raises(LabelError, match="not self-consistent"):
        read(tmp_path, output(converged=False))
    crash = " %%%%%%\n     Error in routine readpp (1):\n     file te.UPF not found\n %%%%%%\n"
    with pytest.raises(LabelError, match=r"te\.UPF not found"):
        read(tmp_path, output(ended=False) + crash)


def config(**changes: Any):
    entries = {"pseudopotentials": {"Te": "a", "Cr": "b"}} | changes
    return qe.Config(**{**qe.example().model_dump(), **entries})


def test_entries_that_cannot_be_written_are_refused():
    magnetic = ATOMS.copy()
    magnetic.set_initial_magnetic_moments([0, 4, 0])
    with pytest.raises(ConfigError, match="got none for Cr"):
        qe.inputs(qe.example(), ATOMS)
    with pytest.raises(ConfigError, match="valence electrons of Cr"):
        qe.inputs(config(), magnetic)
    with pytest.raises(ValueError, match="sistem"):
        config(input_data={"sistem": {"ecutwfc": 30}})
    with pytest.raises(ValueError, match="calculation: scf"):
        config(input_data={"control": {"calculation": "relax"}})
    with pytest.raises(ConfigError, match="ibrav"):
        qe.inputs(config(input_data={"system": {"ibrav": 4}}), ATOMS)
    with pytest.raises(LabelError, match="three cell vectors"):
        qe.inputs(config(), Atoms("Te", positions=[[0, 0, 0]]))
