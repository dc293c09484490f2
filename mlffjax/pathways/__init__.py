"""Energies along paths: sequences of images between two states of one system.

A path of ``structures.paths`` becomes a *band*: a ``Graph`` with a leading axis of images, built
once on the host (``profiles.band``). ``profiles.profile`` gives energies and forces of all images
in one call, for one potential; map it over stacked potentials for many. ``hermite`` turns energies
and forces along the path into a curve: height and position of the transition state between images,
and the number of extrema.

Conventions: arclength is the norm over all 3N coordinates, Å; the tangent points forward and has
unit norm over 3N; the slope of the curve is dE/ds = -F·tangent, eV/Å. All numbers are
differentiable by the parameters of the potential.

Example
    >>> graphs = profiles.band(systems, potential.elements, potential.cutoff)      # doctest: +SKIP
    >>> energy, forces = profiles.profile(potential, graphs)                    # doctest: +SKIP
    >>> slope = profiles.slopes(forces, profiles.tangents(path))                 # doctest: +SKIP
    >>> top = hermite.highest(hermite.Curve(arclength(path), energy, slope))   # doctest: +SKIP
"""
