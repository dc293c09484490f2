"""What converged is told from what did not."""

from mlffjax.structures import conversion

STEP = "<calculation>{}</calculation>"
ENERGY = '<scstep><energy><i name="e_fr_energy">{}</i></energy></scstep>'
HEAD = '<parameters><i name="NELM">3</i><i name="EDIFF">0.001</i></parameters>'


def test_vasprun_steps(tmp_path):
    loops = ([-1.0, -2.0], [-1.0, -2.0, -3.0], [-1.0, -2.0, -2.0001])
    steps = [STEP.format("".join(map(ENERGY.format, loop))) for loop in loops]
    path = tmp_path / "vasprun.xml"
    path.write_text(f"<modeling>{HEAD}{''.join(steps)}</modeling>")
    assert conversion.JUDGES["vasp-xml"](path) == [True, False, True]


def test_outcar_steps(tmp_path):
    path = tmp_path / "OUTCAR"
    free = "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n"
    path.write_text(f"--- aborting loop because EDIFF is reached ---\n{free}\n{free}")
    assert conversion.JUDGES["vasp-out"](path) == [True, False]
