"""Energies of many bands with many potentials."""

import jax
import numpy as np
import pytest
from pathways.argon import CUTOFF, hop, system

from mlffjax.errors import CompatibilityError, ConfigError
from mlffjax.pathways import bands, fixed, profiles
from mlffjax.potential.pair import lennard_jones

POTENTIALS = [lennard_jones((18,), epsilon=e, cutoff=CUTOFF) for e in (0.0104, 0.02, 0.03)]


def band(*fractions):
    return bands.from_images([hop(fraction) for fraction in fractions])


def alone(potential, one):
    graphs = profiles.band(bands.systems(one), potential.elements, potential.cutoff)
    energies = np.asarray(jax.jit(profiles.profile)(potential, graphs).energy)
    return energies - energies[0]


def test_chosen_pairs_of_different_shapes_in_the_order_asked_for():
    long, short = band(0.0, 0.2, 0.5, 0.9), band(0.1, 0.4, 0.6)
    pair = system([[0, 0, 0], [3.8, 0, 0]])
    small = bands.from_images(
        [pair._replace(positions=pair.positions * scale) for scale in (1.0, 1.1, 1.2)]
    )
    pairs = [(long, 2), (short, 0), (small, 1), (long, 0), (short, 1)]
    found = fixed.heights(POTENTIALS, pairs)
    for (one, which), heights in zip(pairs, found, strict=True):
        # Sums in another order: rounding only.
        np.testing.assert_allclose(heights, alone(POTENTIALS[which], one), rtol=0, atol=1e-12)
    assert fixed.heights(POTENTIALS, []) == []


def test_64_bit_numbers_are_needed():
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(ConfigError, match="64-bit"):
            fixed.heights(POTENTIALS, [(band(0.0, 0.2, 0.5), 0)])
    finally:
        jax.config.update("jax_enable_x64", True)


def test_one_program_for_one_shape():
    fixed._energies.clear_cache()
    for shift in (0.0, 0.05):
        pairs = [(band(0.0, 0.3 + shift, 0.6), which) for which in (0, 1)]
        fixed.heights(POTENTIALS, pairs)
    assert fixed._energies._cache_size() == 1


def test_potentials_of_one_model_only():
    other = lennard_jones((18,), cutoff=5.0)
    with pytest.raises(CompatibilityError):
        fixed.heights([POTENTIALS[0], other], [(band(0.0, 0.5, 0.9), 0)])
