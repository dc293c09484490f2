import itertools

import numpy as np
import pytest

from mlffjax.structures import geometry


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, False, True)])
def test_minimum_image_beats_every_other_image_in_a_skewed_cell(rng, pbc):
    cell = np.array([[4.0, 0.0, 0.0], [-1.9, 3.4, 0.0], [1.7, 1.1, 5.0]])
    steps = rng.normal(scale=6.0, size=(2, 20, 3))
    found = geometry.minimum_image(steps, cell, np.array(pbc))
    ranges = [range(-6, 7) if periodic else (0,) for periodic in pbc]
    images = np.array(list(itertools.product(*ranges))) @ cell
    shortest = np.linalg.norm(steps[..., None, :] + images, axis=-1).min(axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), shortest, atol=1e-9)
    integers = (found - steps) @ np.linalg.inv(cell)
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-9)


def test_radii_are_covalent_and_have_a_value_for_every_element():
    found = geometry.radii(np.array([6, 51, 118]))
    # Cordero et al., Dalton Trans. 2832 (2008), table 2: C sp3 0.76 Å, Sb 1.39 Å; none for Og.
    assert found[:2] == pytest.approx([0.76, 1.39])
    assert 1.0 < found[2] <= 2.0
