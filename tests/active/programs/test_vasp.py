"""Outputs of VASP: units, the order of atoms, spins, and what is no label."""

from typing import Any

import numpy as np
import pytest
from ase import Atoms

from mlffjax.active.labelers._labeler import LabelError
from mlffjax.active.programs import vasp
from mlffjax.errors import ConfigError
from mlffjax.structures.system import from_ase

CELL = np.array([[4.3, 0, 0], [0, 5.0, 0], [0, 0.2, 6.0]])
ATOMS = Atoms("TeCrTe", positions=[[0.1, 0, 0], [2, 2.1, 0.3], [0.2, 2, 3]], cell=CELL, pbc=True)
ORDER = [0, 2, 1]  # Te, Te, Cr in POSCAR
FORCES = np.array([[0.1, 0, -0.2], [0.03, 0.1, 0], [-0.13, -0.1, 0.2]])  # of ATOMS, eV/Å
STRESS = np.array([[10.0, 0, 2], [0, 30, 0], [2, 0, -10]])  # kbar, as printed


def rows(array, tag="v"):
    return "".join(f"<{tag}> {x:.8f} {y:.8f} {z:.8f} </{tag}>\n" for x, y, z in array)


def structure(name=""):
    scaled = ATOMS.get_scaled_positions()[ORDER]
    return (f'<structure{name}><crystal><varray name="basis">\n{rows(CELL)}</varray></crystal>\n'
            f'<varray name="positions">\n{rows(scaled)}</varray></structure>\n')  # fmt: skip


def vasprun(steps=12, runs=1, change=0.01):
    """Layout of vasprun.xml of VASP 6.4, cut to what is read, numbers made up."""
    energy = ('<energy><i name="e_fr_energy"> -12.50000000 </i><i name="e_wo_entrp"> -12.3 </i>'
              '<i name="e_0_energy"> -12.40000000 </i></energy>\n')  # fmt: skip
    before = energy.replace("-12.500", f"-{12.5 + change:.3f}")
    calculation = (
        "<calculation>\n" + f"<scstep>{before}</scstep>\n" * (steps - 1)
        + f"<scstep>{energy}</scstep>\n" + structure()
        + f'<varray name="forces">\n{rows(FORCES[ORDER])}</varray>\n'
        + f'<varray name="stress">\n{rows(STRESS)}</varray>\n' + energy + "</calculation>\n"
    )  # fmt: skip
    atoms = "".join(f"<rc><c>{ATOMS.symbols[i]} </c><c> 1</c></rc>\n" for i in ORDER)
    types = "".join(
        f"<rc><c> {n}</c><c>{s} </c><c> {m} </c><c> {z} </c><c>  PAW_PBE {s} 01Jan2000 </c></rc>\n"
        for n, s, m, z in ((2, "Te", 127.6, 6.0), (1, "Cr", 51.996, 12.0))
    )
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?>\n<modeling>\n<generator>\n'
        '<i name="program" type="string">vasp </i>\n<i name="version" type="string">6.4.2  </i>\n'
        '</generator>\n<kpoints><generation param="Gamma"><v type="int" name="divisions"> 4 4 1 '
        '</v></generation><varray name="kpointlist"><v> 0.0 0.0 0.0 </v></varray>'
        '<varray name="weights"><v> 1.0 </v></varray></kpoints>\n'
        '<parameters><separator name="electronic"><i type="int" name="NELM">    60</i>'
        '<i name="EDIFF">      0.00000100</i>'
        '<i name="ENMAX">    400.0</i></separator></parameters>\n'
        "<atominfo><atoms> 3 </atoms><types> 2 </types>\n"
        f'<array name="atoms"><set>\n{atoms}</set></array>\n'
        f'<array name="atomtypes"><set>\n{types}</set></array></atominfo>\n'
        + structure(' name="initialpos"') + calculation * runs + "</modeling>\n"
    )  # fmt: skip


OUTCAR = """
 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1        0.000   0.001   0.000   0.001
    2        0.000   0.000   0.000   0.000
    3        0.001   0.001   0.998   1.000
--------------------------------------------------
tot          0.001   0.002   0.998   1.001

------------------------ aborting loop because EDIFF is reached -------------------


 magnetization (x)

# of ion       s       p       d       tot
------------------------------------------
    1       -0.004  -0.021   0.003  -0.022
    2        0.000   0.010   0.000   0.010
    3        0.030   0.035   3.190   3.255
--------------------------------------------------
tot          0.026   0.024   3.193   3.243

 General timing and accounting informations for this job:
"""


def read(folder, text) -> Any:
    (folder / "vasprun.xml").write_text(text)
    (folder / "OUTCAR").write_text(OUTCAR)
    return vasp.said(vasp.example(), folder, from_ase(ATOMS))


def test_output_is_read_in_our_order_and_units(tmp_path):
    found = read(tmp_path, vasprun())
    assert found.energy == -12.5  # the free energy, not its extrapolation
    np.testing.assert_allclose(found.forces, FORCES, atol=1e-12)
    # 1 kbar = 0.1 GPa = 0.000624150907 eV/Å³; ASE's sign is the other one.
    np.testing.assert_allclose(found.stress, -STRESS * 0.000624150907, rtol=1e-6)
    np.testing.assert_allclose(found.moments, [-0.022, 3.255, 0.010])
    np.testing.assert_allclose(found.system.positions, ATOMS.positions, atol=1e-7)
    assert found.system.numbers.tolist() == [52, 24, 52]
    assert found.about["program"] == "VASP 6.4.2"
    assert found.about["pseudopotentials"] == ["PAW_PBE Te 01Jan2000", "PAW_PBE Cr 01Jan2000"]


def test_without_outcar_there_are_no_moments(tmp_path):
    (tmp_path / "vasprun.xml").write_text(vasprun())
    found = vasp.said(vasp.example(), tmp_path, from_ase(ATOMS))
    assert found is not None
    assert found.moments is None


def test_what_is_no_label(tmp_path):
    assert vasp.said(vasp.example(), tmp_path, from_ase(ATOMS)) is None
    assert read(tmp_path, vasprun()[:-200]) is None  # still running
    with pytest.raises(LabelError, match="did not converge"):
        read(tmp_path, vasprun(steps=60))
    assert read(tmp_path, vasprun(steps=60, change=0)) is not None  # at the very last step
    with pytest.raises(LabelError, match="one single point, got 2"):
        read(tmp_path, vasprun(runs=2))


def test_entries_that_cannot_be_written_are_refused():
    def config(**incar):
        return vasp.Config(incar=incar, kpoints=(4, 4, 1), potentials={"Te": "Te", "Cr": "Cr"})

    with pytest.raises(ValueError, match="did you mean 'encut'"):
        config(encutt=400)
    with pytest.raises(ValueError, match="single point"):
        config(nsw=3)
    with pytest.raises(ValueError, match="other entries"):
        config(magmom=[1.0])
    with pytest.raises(ConfigError, match=r"1e-07 as 0\.000000"):
        vasp.inputs(config(sigma=1e-7), ATOMS)
    with pytest.raises(ConfigError, match="got none for Cr"):
        vasp.inputs(vasp.example(), ATOMS)
    text = vasp.inputs(config(custom={"NEWTAG": "1e-7"}), ATOMS)["INCAR"]
    assert "NEWTAG = 1e-7" in text
