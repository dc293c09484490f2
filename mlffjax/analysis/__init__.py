"""Observables of a trajectory: arrays in, named tuples with error bars out.

The functions take plain arrays, whoever made them: the package's own dynamics, an H5MD file, or a
reference calculation. Frames run along the leading axis; positions are *unwrapped* (an atom that
leaves through a face goes on counting), cells hold lattice vectors in rows, either one for all
frames or one for each. Units are Å, fs, eV, u, K; a quantity in another unit says so in its name.

Everything runs on the host in float64 whatever the precision of jax: displacements are differences
of large sums, float32 loses them, and the frames come from a file anyway. Work is done in chunks of
frames or of atoms, so that memory does not grow with the product of the two.

An error bar is one standard deviation of the mean. Frames are correlated, so it is never
std/sqrt(frames): averages are blocked with a length found from the series (``uncertainty``),
diffusion is fitted with the covariance between lags (``diffusion``). Where a trajectory is too
short to say how large the error is, the result says so instead of giving a small one.

Example
    >>> g = structure.radial_distribution(positions, numbers, cell, r_max=10.0)   # doctest: +SKIP
    >>> g.pair("Cr", "Te").g, g.pair("Cr", "Te").error                            # doctest: +SKIP
    >>> host = diffusion.centre(positions, masses, host_atoms)                  # doctest: +SKIP
    >>> msd = diffusion.mean_square_displacement(
    ...     positions[:, cr], times_fs, relative_to=host)                       # doctest: +SKIP
    >>> diffusion.diffusion_coefficient(msd, axes="xy", hop_length=2.5)          # doctest: +SKIP
"""
