import json
import math

from mlffjax.training.config import TrainingConfig
from mlffjax.training.history import Epoch, Fitted, Status, explain, record
from mlffjax.training.metrics import Scores

GOOD = Epoch(3, 0.5, Scores(7, 0.1, 0.2, 0.3, 0.4), 1e-3, 12.0)
LOST = Epoch(4, math.inf, Scores(7, None, None, math.nan, math.nan), 1e-3, 13.0)


def test_record_is_json_and_complete(guess):
    fitted = Fitted(guess, (GOOD, LOST), Status.DIVERGED, GOOD, "it went wrong", ("a note",))
    plain = json.loads(json.dumps(record(fitted), allow_nan=False))
    assert plain["status"] == "diverged"
    assert plain["notes"] == ["a note"]
    assert plain["best"]["validation"]["forces_rmse"] == 0.4
    assert plain["history"][1]["train_loss"] is None
    assert plain["history"][1]["validation"]["forces_mae"] is None


def test_every_status_explains_itself():
    for status in Status:
        text = explain(status, LOST, GOOD, TrainingConfig(max_seconds=5.0))
        assert "the potential of epoch 3 is kept, validation force MAE 0.3 eV/Å" in text
