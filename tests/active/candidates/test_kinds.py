"""Sources of candidates, with Lennard-Jones argon that hops to the next hollow."""

import numpy as np
import pytest

from mlffjax import trees
from mlffjax.active.candidates import dynamics, files, paths, relaxed
from mlffjax.active.candidates._candidates import Given
from mlffjax.config import validate
from mlffjax.errors import ConfigError, InputError
from mlffjax.pathways.settings import Elastic
from mlffjax.potential.pair import lennard_jones
from mlffjax.probes import _example
from mlffjax.registry import kinds, resolve
from mlffjax.structures.files import write_frames

MODEL = trees.cast(lennard_jones((18,), epsilon=0.012, sigma=3.4, cutoff=5.5), np.float64)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    base = tmp_path_factory.mktemp("candidates")
    path = _example.migration(images=5).paths["hop"]
    bare = [f._replace(energy=None, forces=None, stress=None) for f in path.frames]
    write_frames(base / "pool.xyz", bare)
    return Given((MODEL,), {"hop": path}, base, seed=3, mark="r1")


def places(frames):
    return np.array([frame.system.positions for frame in frames])


def test_every_kind_shows_an_example():
    for kind in kinds("active.candidates"):
        module = resolve("active.candidates", kind)
        assert isinstance(module.example(), module.Config)


def test_images_are_proposed_as_they_are_and_closed_paths_are_refused(given):
    found = paths.propose(paths.Config(), given)
    images = given.paths["hop"].frames
    np.testing.assert_array_equal(places(found), places(images))
    with pytest.raises(ConfigError, match=r"not held out \(hop\), got deep"):
        paths.propose(paths.Config(paths=("deep",)), given)


def test_relaxed_images_leave_the_path_and_carry_no_labels(given):
    found = relaxed.propose(relaxed.Config(relaxation=Elastic(max_steps=5)), given)
    assert len(found) == 5
    assert all(frame.energy is None and frame.forces is None for frame in found)
    assert abs(places(found) - places(given.paths["hop"].frames)).max() > 1e-3
    assert len({frame.identifier for frame in found}) == 5


def test_snapshots_follow_the_seed(given):
    md = {"temperature_k": 40, "timestep_fs": 5, "steps": 20, "intervals": {"positions": 10},
          "ensemble": {"kind": "nve"}}  # fmt: skip
    settings = {"structure": "pool.xyz", "md": md}
    config = validate(settings, dynamics.Config, where="test")
    found, again = dynamics.propose(config, given), dynamics.propose(config, given)
    np.testing.assert_array_equal(places(found), places(again))
    other = dynamics.propose(config, given._replace(seed=4))
    assert abs(places(found) - places(other)).max() > 1e-3
    assert [frame.order for frame in found] == list(range(len(found)))
    still = settings | {"md": md | {"intervals": {"positions": 0}}}
    with pytest.raises(ConfigError, match="no snapshots"):
        validate(still, dynamics.Config, where="test")
    with pytest.raises(InputError, match="below 5"):
        dynamics.propose(config.model_copy(update={"frame": 9}), given)


def test_a_pool_is_read_from_files(given):
    found = files.propose(files.Config(files=("po*.xyz",)), given)
    images = given.paths["hop"].frames
    np.testing.assert_allclose(places(found), places(images), atol=1e-8)
