import jax.numpy as jnp
import pytest
from jax.tree_util import Partial

from mlffjax.training.config import LossConfig, TrainingConfig
from mlffjax.training.members import Member, groups, only_alone
from mlffjax.training.recipe import all_weights, standard


@pytest.fixture
def make(guess, frames):
    def member(*, penalty=None, seed=0, **entries):
        config = TrainingConfig(precision="float64", **entries)
        recipe = standard(*all_weights(guess), config)
        recipe = recipe if penalty is None else recipe._replace(penalty=penalty)
        return Member(recipe, frames[:4], frames[4:6], config, seed)

    return member


def weight(strength, weights):
    return strength * weights["sigma"] ** 2


def test_numbers_do_not_divide_a_group(make):
    members = [
        make(),
        make(seed=3, epochs=7, patience=2, learning_rate=1.0, ema=None, clip=0.1, keep="last"),
        make(loss=LossConfig(energy=0.0, forces=2.0, stress=9.0)),
    ]
    assert groups(members) == ((0, 1, 2),)
    pulled = [make(penalty=Partial(weight, jnp.asarray(s))) for s in (0.1, 5.0)]
    assert groups([*members, *pulled]) == ((0, 1, 2), (3, 4))


def test_what_is_compiled_in_does(make):
    odd = [
        make(batch=2),
        make(loss=LossConfig(stress=0)),
        make(loss=LossConfig(kind="huber")),
        make(optimizer="amsgrad"),
        make(clip=None),
        make(buckets=1),
    ]
    assert groups([make(), *odd]) == tuple((number,) for number in range(7))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ({"max_seconds": 9.0}, "max_seconds"),
        ({"storage": "disk"}, "storage disk"),
        ({"devices": 2}, "devices"),
    ],
)
def test_some_cannot_have_company(make, entries, reason):
    member = make(**entries)
    assert reason in only_alone(member)
    assert groups([member, member]) == ((0,), (1,))
    assert only_alone(make()) is None
