import pytest

from mlffjax.study import tables


def test_table_1_has_mean_and_sample_deviation_over_seeds(study_of, measured):
    records = study_of(
        {
            "scratch": ("scratch", [measured(0.075, 1.0, 0.0)]),
            "tuned": ("finetune", [measured(f, 0.1, 0.0) for f in (0.03, 0.04, 0.05)]),
        }
    )
    scratch, tuned = tables.accuracy_table(records)
    single = scratch.metrics["test_force_rmse"]
    assert (single.mean, single.std, single.count, single.unit) == (0.075, None, 1, "eV/Å")
    several = tuned.metrics["test_force_rmse"]
    # Sample standard deviation of 0.03, 0.04, 0.05.
    assert (several.mean, several.std) == pytest.approx((0.04, 0.01))
    assert tuned.metrics["train_force_rmse"].mean is None


def test_barriers_of_relaxed_bands_are_named_apart_from_those_of_fixed_images():
    wanted = tables.PATH_METRICS["relaxed_neb"]
    assert {"barrier_error", "barrier_fixed_error", "barrier_matched_error"} <= set(wanted)


def test_path_table_has_a_row_for_every_entry_and_path(study_of, measured):
    rows = tables.path_table(
        study_of({"a": ("scratch", [measured(0.1, 0.2, 0.3)]), "b": ("scratch", ["failed"])})
    )
    assert [(row.probe, row.name, row.failed) for row in rows] == [
        ("in_gap", "a", 0), ("in_gap", "b", 1), ("slide", "a", 0), ("slide", "b", 1),
    ]  # fmt: skip
    assert rows[0].metrics["barrier_error"].mean == 0.2
    assert rows[1].metrics["barrier_error"].count == 0
