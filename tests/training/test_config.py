import pytest

from mlffjax import config
from mlffjax.errors import ConfigError
from mlffjax.training.config import TrainingConfig


def test_defaults_are_the_protocol_of_the_paper():
    training = TrainingConfig()
    assert training.optimizer == "adam"
    assert training.learning_rate == 1e-3
    assert training.batch == 4
    assert training.epochs == 1000


def test_plain_data_make_a_round_trip():
    training = config.validate(
        {"loss": {"kind": "huber"}, "schedule": {"kind": "cosine"}, "ema": None},
        TrainingConfig,
        where="here",
    )
    assert config.validate(config.dump(training), TrainingConfig, where="here") == training


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"batchsize": 4}, "did you mean 'batch'"),
        ({"loss": {"energy": 0, "forces": 0, "stress": 0}}, "expected a positive weight"),
        ({"ema": 1.0}, "ema"),
        ({"learning_rate": 0}, "learning_rate"),
    ],
)
def test_nonsense_is_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        config.validate(data, TrainingConfig, where="here")


def test_how_a_run_is_executed_is_not_what_decides_its_result():
    other = TrainingConfig(storage="disk", storage_directory="somewhere")
    assert other.essence() == TrainingConfig().essence()
    assert other != TrainingConfig()
    assert TrainingConfig(batch=5).essence() != TrainingConfig().essence()
    assert TrainingConfig.incidental < TrainingConfig.model_fields.keys()
