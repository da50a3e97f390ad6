"""Shortcut detection: variables that predict a label without the image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from radiograft.config import Evaluate, Ingest
from radiograft.data.catalog import Catalog, prediction_frame
from radiograft.evaluation import results
from radiograft.evaluation.shortcuts import find_shortcuts, shortcut_warnings
from radiograft.metrics.label_metrics import choose_thresholds
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.analysis_types import Shortcut
from radiograft.stages.ingest import task as ingest
from tests.helpers.catalogs import catalog, simulate_predictions

ENDING = "The model may have learned how images are acquired instead of the finding."


def search(train: pd.DataFrame, rows: pd.DataFrame, gain: float = 1.5) -> dict[str, Shortcut]:
    """Returns the shortcuts for Mass by variable."""
    shortcuts = find_shortcuts(train, simulate_predictions(rows, gain), ["Mass"])
    return {shortcut["variable"]: shortcut for shortcut in shortcuts}


def test_shortcuts_uninformative_variables_give_no_warning() -> None:
    found = search(catalog(600, 1, "train"), catalog(400))
    assert set(found) == {"bytes", "view", "age", "sex", "source"}
    assert not any(shortcut["warning"] for shortcut in found.values())
    for shortcut in found.values():
        assert shortcut["auroc"]["value"] == pytest.approx(0.5, abs=0.1)
        lead = shortcut["lead"]
        assert lead["value"] == pytest.approx(shortcut["model"]["value"] - shortcut["auroc"]["value"])  # type: ignore
        assert lead["low"] < lead["value"] < lead["high"]  # type: ignore[operator]


@pytest.mark.parametrize("sign", [1, -1])
def test_shortcuts_informative_file_size_gives_warning(sign: int) -> None:
    train, rows = catalog(600, 1, "train"), catalog(400)
    for part in (train, rows):
        part["bytes"] += (sign * 6000 * part["label:Mass"]).astype(int)
    found = search(train, rows)
    assert [name for name, shortcut in found.items() if shortcut["warning"]] == ["bytes"]
    auroc = found["bytes"]["auroc"]
    assert auroc["value"] == pytest.approx(0.92, abs=0.03)  # 1 - 0.4² / 2 of uniform sizes shifted by 0.6 widths
    (sentence,) = shortcut_warnings(list(found.values()), "test")
    assert sentence == (
        "File size alone predicts nearly as well as the model, or better: Mass on test with an AUROC of "
        f"{auroc['value']:.3f} ({auroc['low']:.3f} to {auroc['high']:.3f}), "
        f"the model with {found['bytes']['model']['value']:.3f}. {ENDING}"
    )


def test_shortcuts_weak_variable_and_good_model_give_no_warning() -> None:
    train, rows = catalog(600, 1, "train"), catalog(400)
    for part in (train, rows):
        part["bytes"] += (2000 * part["label:Mass"]).astype(int)
    assert search(train, rows, gain=4.0)["bytes"]["auroc"]["low"] > 0.55  # type: ignore[operator]
    assert not search(train, rows, gain=4.0)["bytes"]["warning"]
    assert search(train, rows, gain=0.5)["bytes"]["warning"]


def test_shortcuts_perfect_folder_gives_warning() -> None:
    train, rows = catalog(200, 1, "train"), catalog(100)
    for part in (train, rows):
        part["uri"] = [f"/data/{'ill' if truth else 'well'}/{i}.png" for i, truth in enumerate(part["label:Mass"])]
    source = search(train, rows)["source"]
    auroc = source["auroc"]
    assert (auroc["value"], auroc["high"], auroc["method"]) == (1.0, 1.0, "Clopper-Pearson")
    assert 0.8 < auroc["low"] < 0.95  # type: ignore[operator]  # about 30 patients with Mass
    assert source["warning"]


def test_shortcuts_direction_is_learned_on_training() -> None:
    train, rows = catalog(600, 1, "train"), catalog(400)
    train["view"] = np.where(train["label:Mass"] == 1, "AP", "PA")
    rows["view"] = np.where(rows["label:Mass"] == 1, "PA", "AP")
    found = search(train, rows)["view"]
    assert found["auroc"]["value"] == 0.0
    assert not found["warning"]


def test_shortcuts_unknown_age_and_view_are_uninformative() -> None:
    train, rows = catalog(600, 1, "train"), catalog(400)
    rows = rows.assign(age=np.nan, view=pd.array([None] * 400, dtype="string"))
    found = search(train, rows)
    assert found["age"]["auroc"]["value"] == found["view"]["auroc"]["value"] == 0.5


def test_shortcuts_constant_variables_are_omitted() -> None:
    train, rows = (
        catalog(60, seed, split).assign(view=None, sex=None, age=np.nan, bytes=784)
        for seed, split in ((1, "train"), (2, "test"))
    )
    train["uri"], rows["uri"] = "gs://bucket/mass.npz#train_images/1", "gs://bucket/mass.npz#test_images/1"
    assert search(train, rows) == {}


def test_shortcuts_informative_image_size_gives_warning() -> None:
    train, rows = catalog(600, 1, "train"), catalog(400)
    for part in (train, rows):
        part["pixels"] = part["pixels"].where(part["label:Mass"] == 1, 2048 * 2500)
    found = search(train, rows)
    assert [name for name, shortcut in found.items() if shortcut["warning"]] == ["pixels"]
    assert found["pixels"]["auroc"]["value"] == 1.0
    assert shortcut_warnings(list(found.values()), "test")[0].startswith("Image size alone predicts nearly as well")


def test_shortcut_warnings_many_labels_give_one_sentence() -> None:
    estimate = {"value": 0.8, "low": 0.75, "high": 0.85}
    found = [
        Shortcut(variable="view", label=f"label {n}", auroc=estimate, model=estimate, lead=estimate, warning=True)  # type: ignore[typeddict-item]
        for n in range(7)
    ]
    (sentence,) = shortcut_warnings(found, "test")
    assert sentence.startswith(
        "View alone predicts nearly as well as the model, or better: label 0 on test with an AUROC of "
    )
    assert sentence.endswith(f"the model with 0.800 and 2 more labels. {ENDING}")


def test_shortcuts_real_radiographs_file_size_gives_warning(test_data: Path, tmp_path: Path) -> None:
    ingest.run(Ingest(data_source=str(test_data / "chestxray14")), tmp_path)
    stored = Catalog.read(tmp_path)
    rows, labels = stored.rows.assign(pixels=320 * 320), stored.labels
    # A logistic regression on 16 x 16 pixels.
    pixels = np.stack([read_thumbnail(Path(uri)) for uri in rows["uri"]])
    training = (rows["split"] == "train").to_numpy()
    truth = rows["label:Pneumonia"].to_numpy()
    model = LogisticRegression(C=0.1, max_iter=1000).fit(pixels[training], truth[training])
    predictions = prediction_frame(rows, labels, model.predict_proba(pixels)[:, 1:])
    validation, test = (predictions[predictions["split"] == split] for split in ("validation", "test"))
    thresholds = choose_thresholds(validation, labels)
    settings = Evaluate(publish_registry="registry", evaluate_bootstrap_samples=100)
    metrics = {
        name: evaluate_predictions(part, labels, thresholds, 0, 0, settings.evaluate_min_patients)
        for name, part in (("validation", validation), ("test", test))
    }
    found = results.analyze(settings, rows, predictions, thresholds, metrics)
    assert found["judged_on"] == "validation"  # NIH's test list contains only positives in this sample
    (alone,) = [shortcut for shortcut in found["shortcuts"] if shortcut["variable"] == "bytes"]
    assert alone["auroc"]["value"] == pytest.approx(0.83, abs=0.03)
    assert alone["warning"]
    assert results.analysis_notes(found)[0].startswith("File size alone predicts nearly as well as the model")
    json.dumps(found, allow_nan=False)


def read_thumbnail(path: Path) -> np.ndarray:
    """Reads an image as 256 gray values, 0 to 1."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((16, 16)), dtype=float).ravel() / 255
