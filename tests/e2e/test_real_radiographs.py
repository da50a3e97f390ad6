"""A small run on 730 radiographs of NIH ChestX-ray14, of which all 120 test images are labeled with pneumonia."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.runs import Run


@pytest.fixture(scope="module")
def run(test_data: Path, finish: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return finish(
        tmp_path_factory.mktemp("real") / "runs",
        "chestxray14",
        f"source={test_data / 'chestxray14'}",
        "backbone=densenet121",
        "weights=none",
        "image_size=32",
        "train_feature_epochs=2",
        "train_fine_tune_epochs=1",
        "bootstrap_samples=100",
    )


def test_run_publishes_version(run: Run) -> None:
    assert run.summary["version"] == 1
    assert "chest-radiograph version 1: gs://radiograft-embedded/registry/chest-radiograph/1\n" in run.output


def test_rows_without_image_are_counted(run: Run) -> None:
    assert "729 images of 490 patients" in run.output
    assert "left out   111390: row without an image" in run.output
    assert "left out        1: byte-identical to an earlier image, e.g. 00002658_002.png" in run.output
    assert "111,390" in Path(run.summary["report"]).read_text()


def test_single_class_test_split_is_not_estimable(run: Run) -> None:
    test = run.summary["metrics"]["test"]
    assert (test["n_images"], test["n_patients"]) == (120, 73)
    assert (test["auroc"], test["average_precision"]) == (None, None)
    assert test["auroc_interval"] == [None, None]
    assert test["labels_not_estimable"] == ["Pneumonia"]
    assert test["majority_accuracy"] == 1.0
    assert 0.0 <= test["accuracy_interval"][0] <= test["accuracy"] <= test["accuracy_interval"][1] <= 1.0
    assert "not estimable on test (120 images), where all or no images are positive: Pneumonia" in run.output
    assert "not estimable" in Path(run.summary["report"]).read_text()


def test_report_warns_of_file_size_shortcut(run: Run) -> None:
    report = Path(run.summary["report"]).read_text()
    assert (
        "File size alone predicts nearly as well as the model, or better: Pneumonia on validation with an AUROC of 0.8"
        in report
    )


def test_validation_split_is_estimable(run: Run) -> None:
    validation = run.summary["metrics"]["validation"]
    assert (validation["n_images"], validation["n_patients"]) == (91, 68)
    assert 0.0 < validation["auroc"] < 1.0
    assert validation["majority_accuracy"] == pytest.approx(48 / 91)
    assert validation["labels_not_estimable"] == []
