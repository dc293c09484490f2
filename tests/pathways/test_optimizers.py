import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.optimize import FIRE
from ase.optimize.ode import ode12r

from mlffjax.pathways import optimizers

KINDS = ("fire", "ode12r", "lbfgs")


@pytest.fixture(scope="module")
def bowl():
    """A quadratic well with curvatures from 0.5 to 8 eV/Å², minimum at zero."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    return basis @ np.diag(np.linspace(0.5, 8.0, 12)) @ basis.T


@pytest.fixture(scope="module")
def start():
    return np.random.default_rng(4).normal(scale=0.5, size=(4, 3))


@functools.partial(jax.jit, static_argnames=("kind", "steps"))
def places(kind, matrix, start, reach, steps):
    """Every place at which the force is asked for."""

    def one(carry, _):
        state, place = carry
        force = -(matrix @ place.reshape(-1)).reshape(place.shape)
        state, new = optimizers.step(kind, state, place, force, reach)
        return (state, new), place

    begin = (optimizers.init(kind, start), start)
    return jax.lax.scan(one, begin, None, length=steps)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_finds_the_minimum(kind, bowl, start):
    found = places(kind, bowl, jnp.asarray(start), 0.2, 200)
    assert np.abs(found[-1]).max() < 1e-3
    assert np.isfinite(found).all()


@pytest.mark.parametrize("kind", KINDS)
def test_no_step_is_longer_than_asked(kind, bowl, start):
    found = np.asarray(places(kind, bowl, jnp.asarray(50 * start), 0.05, 60))
    if kind == "ode12r":  # measured from the last accepted place, to which it may go back
        assert np.linalg.norm(np.diff(found, axis=0), axis=-1).max() <= 2 * 0.05 + 1e-12
    elif kind == "fire":
        assert np.linalg.norm(np.diff(found, axis=0), axis=(1, 2)).max() <= 0.05 + 1e-12
    else:
        assert np.linalg.norm(np.diff(found, axis=0), axis=-1).max() <= 0.05 + 1e-12


class Bowl(Calculator):
    implemented_properties = ("energy", "forces")
    matrix: np.ndarray

    def calculate(self, *arguments):
        super().calculate(*arguments)
        flat = self.atoms.positions.ravel()
        energy, force = flat @ self.matrix @ flat / 2, -self.matrix @ flat
        self.results = {"energy": energy, "forces": force.reshape(-1, 3)}


def test_fire_takes_the_steps_of_ase(bowl, start):
    atoms = Atoms("Ar4", positions=start)
    atoms.calc = Bowl()
    atoms.calc.matrix = bowl
    theirs = []
    walk = FIRE(atoms, logfile=None)
    walk.attach(lambda: theirs.append(atoms.positions.copy()))
    walk.run(fmax=1e-9, steps=59)
    ours = places("fire", bowl, jnp.asarray(start), 0.2, len(theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-10)  # 60 steps amplify rounding


def test_ode12r_asks_for_forces_where_ase_does(bowl, start):
    theirs = []

    def force(x):
        theirs.append(x.reshape(-1, 3).copy())
        return -bowl @ x

    def residual(f, x):
        return np.linalg.norm(f.reshape(-1, 3), axis=1).max()

    ode12r(force, start.ravel(), fmax=1e-6, steps=300, residual=residual, verbose=0)
    ours = places("ode12r", bowl, jnp.asarray(start), 1e3, len(theirs))
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_lbfgs_ends_a_quadratic_in_few_steps_and_survives_negative_curvature(start):
    isotropic = 3.0 * np.eye(12)
    found = places("lbfgs", isotropic, jnp.asarray(start), 10.0, 4)
    assert np.abs(found[-1]).max() < 1e-10  # one pair tells the curvature of all directions
    hill = np.diag([-1.0] + [2.0] * 11)
    away = np.asarray(places("lbfgs", hill, jnp.asarray(start), 0.1, 60))
    assert np.isfinite(away).all()
    energies = [x.ravel() @ hill @ x.ravel() / 2 for x in away]
    assert np.diff(energies).max() < 0  # down all the way, on both sides of the saddle
    assert abs(away[-1, 0, 0]) > abs(start[0, 0])
