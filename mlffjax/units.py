"""Factors from common units to the internal ones: Å, eV, u.

Multiply to come in, divide to go out: ``timestep_fs * FS`` is the time step in internal units,
``stress / GPA`` a stress in GPa. The internal unit of time is Å sqrt(u/eV), 10.18 fs; of stress
eV/Å³. The constants are CODATA 2014, doi:10.1103/RevModPhys.88.035009, because ASE uses that set
and a run must mean the same here and there; the 2018 values differ by 5e-7 at most.
"""

_CHARGE = 1.6021766208e-19  # C
_MASS = 1.660539040e-27  # kg in 1 u
_BOLTZMANN = 1.38064852e-23  # J/K

KB = _BOLTZMANN / _CHARGE
"""Boltzmann constant, eV/K."""

FS = 1e-15 * 1e10 * (_CHARGE / _MASS) ** 0.5
"""One femtosecond, Å sqrt(u/eV)."""

GPA = 1e9 * 1e-30 / _CHARGE
"""One gigapascal, eV/Å³."""

BAR = 1e5 * 1e-30 / _CHARGE
"""One bar, eV/Å³."""
