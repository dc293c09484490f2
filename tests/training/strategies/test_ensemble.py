import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mlffjax import config, trees
from mlffjax.errors import CompatibilityError, ConfigError
from mlffjax.training.batches import samples
from mlffjax.training.fit import fit
from mlffjax.training.strategies import ensemble, finetune


def section(**choices):
    return config.validate({"member": {"kind": "finetune"}, **choices}, ensemble.Config, where="x")


def member(ingredients, seed, **choices):
    return ensemble.build(section(**choices), ingredients, key=jax.random.key(seed))


def mixed(ingredients, seed, **choices):
    recipe = member(ingredients, seed, **choices)
    given = samples(ingredients.dataset.frames, recipe.realize(recipe.trainable))
    return given, recipe.mix(given)


def positions(given, learned):
    return [next(i for i, g in enumerate(given) if g is sample) for sample in learned]


def test_members_of_a_committee_differ_and_stack(rich):
    """Seeds of naive fine-tuning in full batches agree to rounding; members do not."""
    frames = rich.dataset.frames
    training = rich.training.model_copy(update={"batch": 6, "keep": "last", "learning_rate": 1e-3})
    given = rich._replace(training=training)

    def depths(build):
        runs = [fit(build(s), frames[:6], frames[6:8], training, seed=s) for s in range(3)]
        stacked = trees.stack([run.potential for run in runs])
        assert trees.length(stacked) == 3
        return np.asarray(stacked.params["weights"]["epsilon"])

    naive = depths(lambda s: finetune.build(finetune.Config(), given, key=jax.random.key(s)))
    committee = depths(lambda s: member(given, s))
    assert np.ptp(naive) < 1e-12 < 1e-6 < np.ptp(committee)


def test_bootstrap_draws_as_many_with_replacement(rich):
    given, learned = mixed(rich, 0)
    drawn = positions(given, learned)
    assert len(drawn) == len(given)
    assert drawn == sorted(drawn)
    assert len(set(drawn)) < len(given)
    assert drawn == positions(*mixed(rich, 0)) != positions(*mixed(rich, 1))


def test_bootstrap_takes_every_frame_alike(rich):
    """Mean number of times over many seeds: 1, with a standard deviation of 1/sqrt(seeds)."""
    seeds = 400
    recipe = member(rich, 0)
    given = samples(rich.dataset.frames, recipe.realize(recipe.trainable))
    counts = np.zeros(len(given))
    for seed in range(seeds):
        drawn = ensemble._resampled(range(len(given)), seed=(seed,), fraction=None, mix=list)  # type: ignore[arg-type]
        np.add.at(counts, drawn, 1)
    np.testing.assert_allclose(counts / seeds, 1.0, atol=5 / np.sqrt(seeds))


def test_subsample_takes_a_part_once(rich):
    given, learned = mixed(rich, 0, resample="subsample", fraction=0.5)
    drawn = positions(given, learned)
    assert len(set(drawn)) == len(drawn) == round(0.5 * len(given))


def test_what_members_add_is_added(rich):
    given, learned = mixed(rich, 0, member={"kind": "replay", "ratio": 1.0, "weight": 0.5})
    own = [sample for sample in learned if any(sample is g for g in given)]
    assert len(own) == len(given)
    assert len(learned) == 2 * len(given)
    assert {sample.weight for sample in learned[len(given) :]} == {0.5}


def test_it_needs_and_starts_from_what_its_members_do():
    replay, scratch = (section(member={"kind": kind}) for kind in ("replay", "scratch"))
    assert (replay.generic, replay.starts_from) == ("labels", "foundation")
    assert (scratch.generic, scratch.starts_from) == (None, "model")
    assert scratch.reference_energies == "isolated"
    paths = section(member={"kind": "path_aware", "paths": ["hop"]})
    assert paths.path_names() == ("hop",)


@pytest.mark.parametrize("kind", ["zero_shot", "ensemble"])
def test_members_must_be_able_to_differ(kind):
    inner = {"kind": kind} | ({"member": {"kind": "finetune"}} if kind == "ensemble" else {})
    with pytest.raises(ConfigError, match=f"strategy that trains.*{kind}"):
        section(member=inner)


def test_errors_of_the_members_strategy_come_through(ingredients):
    with pytest.raises(CompatibilityError, match="strategy lora"):
        member(ingredients, 0, member={"kind": "lora"})


def test_keys_of_members_are_their_own(rich):
    """The draw of frames uses another key than the member itself."""
    recipe = member(rich, 3)
    own, _ = jax.random.split(jax.random.key(3))
    plain = finetune.build(finetune.Config(), rich, key=own)
    jax.tree.map(np.testing.assert_array_equal, recipe.trainable, plain.trainable)
    assert jnp.shape(recipe.trainable["sigma"]) == ()
