"""Energies along paths: sequences of images between two states of one system.

Fixed paths. The images of ``structures.paths`` become a ``Graph`` with a leading axis, built once
on the host (``profiles.band``). ``profiles.profile`` gives energies and forces of all images in one
call, for one potential; map it over stacked potentials for many. ``hermite`` turns energies and
forces along the path into a curve: height and position of the transition state between images, and
the number of extrema. ``lattice`` brings a path to the lattice of a potential first.

Relaxed paths. ``bands`` checks images or interpolates them (``interpolate``: straight lines,
image-dependent pair potential); ``elastic.relax_bands`` relaxes ends and bands, many at a time, and
says in an ``outcome.Outcome`` what became of each: barriers only if it converged, otherwise a
reason, a cause and the last sound images. ``relax`` relaxes single structures, with their cell if
asked. Below them: ``neb`` (forces of a band), ``optimizers``, ``monitor`` (what counts as an
explosion), ``descent`` (the compiled loop), ``listing`` and ``driver`` (neighbour lists and the
queue of jobs on the host). Relaxations take potentials of any kind, also those behind callbacks.

Conventions: arclength is the norm over all 3N coordinates, Å; the tangent points forward and has
unit norm over 3N; the slope of the curve is dE/ds = -F·tangent, eV/Å. Positions are unwrapped along
a path; a periodic image is chosen once, when ends are joined. All numbers of fixed paths are
differentiable by the parameters of the potential; relaxations are not differentiated through
(evaluate at what they return).

Example
    >>> graphs = profiles.band(systems, potential.elements, potential.cutoff)      # doctest: +SKIP
    >>> energy, forces = profiles.profile(potential, graphs)                    # doctest: +SKIP
    >>> slope = profiles.slopes(forces, profiles.tangents(path))                 # doctest: +SKIP
    >>> top = hermite.highest(hermite.Curve(arclength(path), energy, slope))   # doctest: +SKIP

    >>> band = bands.from_ends(first, last, 9, method="idpp")                  # doctest: +SKIP
    >>> outcome = elastic.relax_bands([potential], [band])[0][0]                 # doctest: +SKIP
    >>> outcome.status, outcome.barrier, outcome.cause                          # doctest: +SKIP
"""
