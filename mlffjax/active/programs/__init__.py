"""Programs of electronic structure: each file writes the inputs of one and reads its output.

A module has

* ``Config`` (a ``_program.Section``): the settings in the program's own words, and ``command``,
  which computes the structure of the current directory;
* ``example()``: such a section;
* ``inputs(config, atoms)``: the files of one structure, by name. Initial moments are those of
  ``atoms``. It raises ``ConfigError`` if the settings cannot be written, rather than leave one
  out;
* ``said(config, place, system)``: what the output in a directory says, as ``_program.Said``; None
  if there is no output or it has not come to its end; ``LabelError`` if it says that there is no
  label, above all where the density did not become self-consistent.

To add a program, add a file; its name is its ``kind``. Where ASE reads its output, ``said`` has to
find only what ASE passes over: whether it converged, the moments, the version. ``labelers.files``
does what is common to all: directories, claims, spins, and the check that an output belongs to the
structure that was asked for.

Units and signs of Quantum ESPRESSO 6.7 and CP2K 2023.1 were checked by differences of energies of
hydrogen in two cells: forces agree to 0.5 %, stresses to 2 %, the error of the steps and of a basis
that changes with the cell. GPAW 22.8 is compared with a direct call in the tests. VASP was not run.

The energy is the one that forces are derivatives of: with smeared occupations the free energy
E - TS, never its extrapolation to zero width.
"""
