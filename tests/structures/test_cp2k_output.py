"""Outputs of CP2K in both layouts of its tables: units, spins, and what is no label."""

import numpy as np
import pytest
from ase import Atoms

from mlffjax.errors import InputError
from mlffjax.structures import conversion, cp2k_output
from mlffjax.structures.labels import read_labels

CELL = np.array([[4.3, 0, 0], [0, 5.0, 0], [0, 0.2, 6.0]])
ATOMS = Atoms("TeCrTe", positions=[[0.1, 0, 0], [2, 2.1, 0.3], [0.2, 2, 3]], cell=CELL, pbc=True)
FORCES = np.array([[0.01, 0, -0.02], [0.003, 0.01, 0], [-0.013, -0.01, 0.02]])  # hartree/bohr
STRESS = np.array([[1.0, 0, 0.2], [0, 3.0, 0], [0.2, 0, -1.0]])  # GPa, as printed
BOHR, HARTREE = 0.529177211, 27.211386


def output(new=True, converged=True, ended=True):
    """Layouts of CP2K 2025.1 and of 8.1 to 2024, numbers made up."""
    lines = [f" CP2K| version string:                 CP2K version {'2025.1' if new else '2023.1'}"]
    for name, row in zip("abc", CELL, strict=True):
        lines += [f" CELL_REF| Vector {name} [angstrom]:       9.000     9.000     9.000"]
        numbers = "".join(f"{x:10.3f}" for x in row)
        length = f"   |{name}| = {np.linalg.norm(row):12.6f}"
        lines += [f" CELL| Vector {name} [angstrom]: {numbers}{length}"]
    lines += ["", " MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM", ""]
    lines += ["   Atom Kind Element         X             Y             Z       Z(eff)     Mass"]
    for i, (symbol, number, place) in enumerate(
        zip(ATOMS.get_chemical_symbols(), ATOMS.numbers, ATOMS.positions, strict=True)
    ):
        numbers = "".join(f"{x:14.6f}" for x in place)
        lines.append(f"{i + 1:7d}    1 {symbol:2s}{number:5d}{numbers}   6.0000 127.6000")
    lines += ["", " SCF WAVEFUNCTION OPTIMIZATION", ""]
    lines += ["  *** SCF run converged in    21 steps ***" if converged else
              "  *** SCF run NOT converged ***", "",
              "                     Mulliken Population Analysis", "",
              " #  Atom  Element  Kind  Atomic population (alpha,beta) Net charge  Spin moment",
              "       1     Te       1          3.010000     3.000000    -0.010000     0.010000",
              "       2     Cr       2          8.600000     5.350000     0.050000     3.250000",
              "       3     Te       1          2.990000     3.010000    -0.000000    -0.020000",
              " # Total charge and spin        14.600000    11.360000     0.040000     3.240000",
              ""]  # fmt: skip
    unit = "[hartree]" if new else "[a.u.]:"
    lines += [f" ENERGY| Total FORCE_EVAL ( QS ) energy {unit}          -100.500000000000000", ""]
    if new:
        lines += [" FORCES| Atomic forces [hartree/bohr]"]
        lines += [" FORCES|   Atom     x               y               z               |f|"]
        for i, row in enumerate(FORCES):
            numbers = "".join(f"{x:16.8E}" for x in row)
            lines.append(f" FORCES|{i + 1:7d}{numbers}{np.linalg.norm(row):17.8E}")
        lines += [" FORCES| Sum      0.00000000E+00  0.00000000E+00  0.00000000E+00"]
    else:
        lines += [" ATOMIC FORCES in [a.u.]", "",
                  " # Atom   Kind   Element          X              Y              Z"]  # fmt: skip
        for i, (symbol, row) in enumerate(zip(ATOMS.get_chemical_symbols(), FORCES, strict=True)):
            numbers = "".join(f"{x:15.8f}" for x in row)
            lines.append(f"{i + 1:7d}{1:7d}      {symbol:2s}     {numbers}")
        lines += [" SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000"]
    name, factor = ("bar", 1e4) if new else ("GPa", 1.0)
    lines += ["", f" STRESS| Analytical stress tensor [{name}]"]
    lines += [" STRESS|                        x                   y                   z"]
    for axis, row in zip("xyz", STRESS * factor, strict=True):
        lines.append(f" STRESS|      {axis} " + "".join(f"{x:20.11E}" for x in row))
    lines += [f" STRESS| 1/3 Trace {factor:40.11E}", ""]
    if ended:
        lines += ["  **** **** ******  **  PROGRAM ENDED AT            2026-11-24 08:00:00.000", ""]
    return "\n".join(lines)


def read(folder, text):
    (folder / "cp2k.out").write_text(text)
    return cp2k_output.read(folder / "cp2k.out")


@pytest.mark.parametrize("new", [True, False], ids=["2025", "2023"])
def test_output_is_read_in_our_units(tmp_path, new):
    found = read(tmp_path, output(new))
    assert found is not None
    assert found.calc is not None
    labels = read_labels(found, "a")
    # Digits of the constants above.
    assert labels.energy == pytest.approx(-100.5 * HARTREE, rel=1e-7)
    np.testing.assert_allclose(np.asarray(labels.forces), FORCES * HARTREE / BOHR, rtol=1e-7)
    # Positive as printed is compression: ASE's stress has the other sign.
    np.testing.assert_allclose(np.asarray(labels.stress), -STRESS * 0.00624150907, rtol=1e-6)
    np.testing.assert_allclose(found.calc.results["magmoms"], [0.01, 3.25, -0.02])
    np.testing.assert_allclose(found.positions, ATOMS.positions, atol=1e-6)
    np.testing.assert_allclose(found.cell.array, CELL, atol=1e-3)
    assert found.numbers.tolist() == [52, 24, 52]
    assert found.pbc.all()
    assert found.info["version"] == ("2025.1" if new else "2023.1")


def test_what_is_no_result(tmp_path):
    assert read(tmp_path, output(ended=False)) is None
    with pytest.raises(cp2k_output.NoResult, match="not self-consistent"):
        read(tmp_path, output(converged=False))
    with pytest.raises(cp2k_output.NoResult, match="CP2K gave up"):
        read(tmp_path, output(ended=False) + "\n *   [ABORT]   *\n")
    with pytest.raises(InputError, match="only some of them"):
        read(tmp_path, output().replace("FORCES|", "FORCE|"))
    with pytest.raises(InputError, match="expected forces on 3 atoms"):
        read(tmp_path, output().replace(" FORCES|      3", " FORCES|      x"))
    with pytest.raises(InputError, match="got furlong"):
        read(tmp_path, output().replace("[bar]", "[furlong]"))
    with pytest.raises(InputError, match="one single point, got 2"):
        read(tmp_path, output() * 2)
    stressless = read(tmp_path, output().replace("Analytical stress tensor", ""))
    assert read_labels(stressless, "a").stress is None  # type: ignore[arg-type]


def test_outputs_are_converted_and_what_is_no_result_is_listed(tmp_path):
    path = tmp_path / "run.out"
    path.write_text(output())
    found = conversion.convert(path, label="run")
    assert found.judged
    assert [frame.energy for frame in found.frames] == [pytest.approx(-100.5 * HARTREE, rel=1e-7)]
    for text, reason in (
        (output(converged=False), "self-consistent"),
        (output(ended=False), "end"),
    ):
        path.write_text(text)
        found = conversion.convert(path, label="run")
        assert not found.frames
        assert reason in found.dropped[0]
