"""Settings that contradict themselves are refused where they are written."""

import pytest

from mlffjax.config import validate
from mlffjax.dynamics.config import MdConfig
from mlffjax.errors import ConfigError

GOOD = {"temperature_k": 300, "ensemble": {"kind": "nve"}, "steps": 100}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature_k": -1}, "temperature_k"),
        ({"temperature_k": 1e6}, "temperature_k"),
        ({"timestep_fs": 0}, "timestep_fs"),
        ({"timestep_fs": 1e-15}, None),
        ({"timestep_fs": 100}, "timestep_fs"),
        ({"intervals": {"positions": 101}}, "positions every 101 of 100 steps"),
        ({"ensemble": {"kind": "nvt_csrv"}}, "did you mean 'nvt_csvr'"),
        ({"ensemble": {"kind": "nvt_langevin", "friction_per_fs": 10}}, "friction_per_fs"),
        ({"ensemble": {"kind": "npt_mtk", "pressure_bar": 101325}}, "expected bar"),
        ({"ensemble": {"kind": "npt_rescaling", "mode": "xy"}}, "mode"),
        ({"skn": 1.0}, "did you mean 'skin'"),
        ({"equilibration": [{"ensemble": {"kind": "nve"}, "steps": 0}]}, "equilibration.0.steps"),
    ],
)
def test_mistakes_are_named(change, message):
    if message is None:
        assert validate(GOOD | change, MdConfig, where="here")
        return
    with pytest.raises(ConfigError, match=message):
        validate(GOOD | change, MdConfig, where="here")


def test_stages_are_named_and_end_in_production():
    config = validate(
        GOOD | {"equilibration": [{"ensemble": {"kind": "nvt_csvr"}, "steps": 7}]},
        MdConfig,
        where="here",
    )
    assert [(name, stage.steps) for name, stage in config.stages] == [
        ("equilibration-0", 7),
        ("production", 100),
    ]
    assert hash(config)
