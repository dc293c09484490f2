"""Generate the 5-electron Sb data set (4d frozen) with GPAW's own generator.

GPAW ships Sb with 15 valence electrons, which needs 99 instead of 59 occupied bands here. This one
is made as the shipped 6-electron Te is (core ``[Kr]4d``). Writes ``Sb.5e.PBE`` into the current
directory; put that directory into ``GPAW_SETUP_PATH``.
"""

from gpaw.atom.generator import Generator

generator = Generator("Sb", xcname="PBE", scalarrel=True, txt="sb5e.log")
generator.run(core="[Kr]4d", rcut=[2.23, 2.30, 2.34], name="5e", exx=False, logderiv=False)
