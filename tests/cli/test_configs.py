"""Every packaged configuration is valid for the command it is meant for."""

from pathlib import Path

import pytest

from mlffjax.config import read
from mlffjax.study.config import StudyConfig
from mlffjax.study.dynamics import DynamicsConfig
from mlffjax.study.neb_inputs import NebConfig
from mlffjax.study.represent_inputs import RepresentConfig
from mlffjax.study.sweep_config import SweepConfig

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
MODELS = {
    "learning_curve": StudyConfig,
    "md": DynamicsConfig,
    "md_paper": DynamicsConfig,
    "neb": NebConfig,
    "paper": StudyConfig,
    "quickstart": StudyConfig,
    "represent": RepresentConfig,
    "strategies": StudyConfig,
    "sweep": SweepConfig,
}


@pytest.mark.parametrize("path", [p for p in CONFIGS if p.stem in MODELS], ids=lambda p: p.stem)
def test_packaged_configurations_are_valid(path):
    assert read(path, MODELS[path.stem]).model_fields_set
