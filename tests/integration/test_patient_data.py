"""A whole run on images and patient data: the label depends on brightness and on age, a third of which are missing."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.config import Ingest
from radiograft.drift.monitor import compare_with_version
from radiograft.registry.analysis_types import FusionComparison
from radiograft.serving.loaded_version import LoadedVersion, load_version
from tests.helpers import minimal_run
from tests.helpers.served_alone import serve_recorded_samples

PATIENTS = 600


def write_data(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    brightness, age_effect = rng.normal(size=PATIENTS), rng.normal(size=PATIENTS)
    label = brightness + age_effect + 0.5 * rng.normal(size=PATIENTS) > 0
    for number, level in enumerate(brightness):
        pixels = np.clip(128 + 25 * level + rng.normal(scale=12, size=(32, 32)), 1, 254).astype("uint8")
        Image.fromarray(pixels).save(folder / f"{number}.png")
    age = (55 + 12 * age_effect).round().astype(int).astype(str)
    table = pd.DataFrame(
        {
            "image": [f"{number}.png" for number in range(PATIENTS)],
            "patient": [f"p{number}" for number in range(PATIENTS)],
            "Mass": label.astype(int),
            "age": np.where(rng.random(PATIENTS) < 0.33, "", age),
            "smoker": rng.choice(["yes", "no", ""], PATIENTS),
        }
    )
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder, data = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("data")
    settings = Ingest(
        data_format="table", data_source=str(write_data(data)), data_labels="Mass", data_covariates="smoker"
    )
    features = dataclasses.replace(
        minimal_run.EXTRACT_FEATURES,
        model_patient_data="age,smoker",
        model_dense_units=16,
        model_dropout=0.0,
        train_batch_size=16,
        train_feature_epochs=25,
        train_feature_learning_rate=0.02,
    )
    tuning = dataclasses.replace(minimal_run.FINE_TUNE, train_batch_size=16, train_fine_tune_epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        minimal_run.replace_backbone(patch)
        minimal_run.run_stages(settings, folder, features=features, fine_tune=tuning)
        yield folder


@pytest.fixture(scope="module")
def version(run_folder: Path) -> LoadedVersion:
    return load_version(f"{run_folder}/registry/{minimal_run.MODEL}/1")


@pytest.fixture(scope="module")
def comparison(run_folder: Path) -> FusionComparison:
    compared: FusionComparison = json.loads((run_folder / "evaluation" / "metrics.json").read_text())["patient_data"]
    return compared


@pytest.mark.parametrize("baseline", ["image", "patient_data"])
def test_run_label_of_image_and_age_fusion_beats_each_alone(comparison: FusionComparison, baseline: str) -> None:
    assert comparison["mean"] is not None
    gains = {(each["model"], each["baseline"]): each["difference"] for each in comparison["mean"]["gains"]}
    low = gains["both", baseline]["low"]
    assert low is not None
    assert low > 0


def test_run_compares_on_test_and_counts_known_values(comparison: FusionComparison) -> None:
    known = {each["name"]: each["known"] for each in comparison["covariates"]}
    assert known == pytest.approx({"age": 0.67, "smoker": 0.67}, abs=0.1)
    assert [each["label"] for each in comparison["labels"]] == ["Mass"]


def test_run_report_shows_patient_data(run_folder: Path) -> None:
    report = (run_folder / "report.html").read_text()
    assert "Patient data alone, logistic regression" in report
    assert re.search(r"Known on test: age \d\d%, smoker \d\d%\.", report)


def test_published_version_gives_recorded_predictions_with_and_without_patient_data(version: LoadedVersion) -> None:
    """The recorded samples hold patient data, and leaving them out gives another answer."""
    assert version.verify_golden_predictions() < 1e-3
    recorded = json.loads((version._extra / "sample" / "probabilities.json").read_text())
    sample = recorded["samples"]["0.png"]
    assert set(sample["patient_data"]) == {"age", "smoker"}
    assert sample["probabilities"] != pytest.approx(recorded["probabilities"]["0.png"], abs=1e-3)


def test_saved_model_alone_gives_the_recorded_predictions_with_and_without_patient_data(run_folder: Path) -> None:
    alone, whole = serve_recorded_samples(run_folder / "registry" / minimal_run.MODEL / "1")
    assert len(whole) > 0
    assert max(*alone, *whole) < 1e-4


def test_predict_older_patient_has_higher_probability(version: LoadedVersion, tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 128, "uint8")).save(tmp_path / "film.png")
    young, old, unknown = (
        version.predict([tmp_path / "film.png"], given)["probability"].item()
        for given in ({"age": 35}, {"age": 75, "smoker": "no"}, {})
    )
    assert young < unknown < old


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"height": 3}, "patient data must be one of age, smoker, got 'height'"),
        ({"age": "old"}, "age must be a number, or empty if unknown, got 'old'"),
        ({"smoker": "often"}, "smoker must be one of no, yes, or empty if unknown, got 'often'"),
    ],
)
def test_predict_invalid_patient_data_raises(
    version: LoadedVersion, tmp_path: Path, given: dict[str, float | str], message: str
) -> None:
    Image.fromarray(np.full((32, 32), 128, "uint8")).save(tmp_path / "film.png")
    with pytest.raises(ValueError, match=message):
        version.predict([tmp_path / "film.png"], given)


def test_drift_note_names_the_patient_data_that_the_source_lacks(run_folder: Path, tmp_path: Path) -> None:
    for number in range(12):
        pixels = np.random.default_rng(number).integers(1, 255, (32, 32)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    extra = run_folder / "registry" / minimal_run.MODEL / "1" / "assets.extra"
    notes = compare_with_version(extra, "folders", str(tmp_path), "standard").new.notes
    assert notes[-1] == "The source lacks age, smoker; the network reads them as missing."


def test_heat_map_of_network_with_patient_data_is_drawn(version: LoadedVersion, tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 128, "uint8")).save(tmp_path / "film.png")
    assert version.heat_map(version.read_image(tmp_path / "film.png"), "Mass").startswith(b"\x89PNG")
