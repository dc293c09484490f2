"""What representations of several runs say together, from records made up for it."""

import numpy as np
import pytest
import scipy.stats
from study import invented

from mlffjax.representation import similarity
from mlffjax.study.records import read_json
from mlffjax.study.representation_evidence import FILE, evidence, rank_correlation, update

FRAMES, ATOMS, CHANNELS = 40, 4, 6
ROUNDING = 1e-5  # features are kept in float32


def arrays(features, forces):
    """Of a probe: all atoms of all frames, half of them of either element."""
    numbers = np.tile([51, 51, 52, 52], FRAMES)
    by_element = [features[numbers == z].reshape(FRAMES, 2, -1).mean(1) for z in (51, 52)]
    return {
        "structures": np.array(["same"]),
        "elements": np.array(["Sb", "Te"]),
        "layer1": features.astype(np.float32),
        "forces": forces.astype(np.float32),
        "means": np.stack(by_element, axis=1).astype(np.float32),
        "row_number": numbers,
        "row_frame": np.repeat(np.arange(FRAMES), ATOMS),
        "frame_kind": np.array(["cold", "hot"] * (FRAMES // 2)),
        "frame_count": np.full((FRAMES, 2), 2),
    }


@pytest.fixture
def study(tmp_path, rng):
    features = rng.normal(size=(FRAMES * ATOMS, CHANNELS))
    turned = 3.0 * features @ np.linalg.qr(rng.normal(size=(CHANNELS, CHANNELS)))[0]
    other = rng.normal(size=(FRAMES * ATOMS, CHANNELS))
    forces = rng.normal(size=(FRAMES * ATOMS, 3))
    runs = [
        invented.run(
            tmp_path, name, 0, {"seen": ("representation", {}, {}, arrays(values, forces))}
        )
        for name, values in (("A", features), ("B", turned), ("C", other))
    ]
    return invented.study(tmp_path, *runs)


def test_turned_and_scaled_features_are_the_same_and_strangers_are_not(study):
    found = evidence(study)["probes"]["seen"]
    assert set(found["layers"]) >= {"layer 1", "layer 1, Sb", "layer 1, Te", "forces"}
    for name in ("layer 1", "layer 1, Te"):
        layer = found["layers"][name]
        linear, distance = np.array(layer["linear"]), np.array(layer["procrustes"])
        np.testing.assert_allclose(linear[0, 1], 1, atol=ROUNDING)
        # sqrt of a difference of nearly equal numbers: half of the digits.
        np.testing.assert_allclose(distance[0, 1], 0, atol=ROUNDING**0.5)
        assert abs(linear[0, 2]) < 0.3 < distance[0, 2]
    picture = found["picture"]
    assert picture["run"] == [run.info.id for run in study.runs for _ in range(FRAMES)]
    pca = np.array(picture["pca"]).reshape(3, FRAMES, 2)
    np.testing.assert_allclose(pca[0], pca[1], atol=1e-3)  # laid over each other


def test_written_once_until_a_record_changes(study, tmp_path):
    update(study, tmp_path)
    first = read_json(tmp_path / FILE, [])
    (tmp_path / FILE).touch()
    stamp = (tmp_path / FILE).stat().st_mtime_ns
    update(study, tmp_path)
    assert (tmp_path / FILE).stat().st_mtime_ns == stamp
    assert first["probes"].keys() == {"seen"}


def test_a_comparison_that_cannot_be_computed_is_a_note_and_ends_nothing(
    study, tmp_path, monkeypatch
):
    def fail(*arguments, **settings):
        raise np.linalg.LinAlgError("SVD did not converge")

    monkeypatch.setattr(similarity, "procrustes", fail)
    update(study, tmp_path)
    found = read_json(tmp_path / FILE, [])["probes"]["seen"]
    assert found["notes"] == ["runs could not be compared: LinAlgError: SVD did not converge"]
    assert found["layers"] == {}


def test_rank_correlation_is_that_of_spearman(rng):
    first = rng.normal(size=7)
    second = first + rng.normal(size=7)
    rho, p_value = rank_correlation(first, second)
    assert rho == pytest.approx(scipy.stats.spearmanr(first, second).statistic, abs=1e-12)
    assert 0 < p_value <= 1
    assert np.isnan(rank_correlation(first[:3], second[:3])).all()
