"""`radiograft evaluate` of a version of exclusive classes: a color version on gray images of other patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner, Result

from radiograft.config import Ingest
from radiograft.registry import external
from radiograft_pipelines.cli.console import console
from radiograft_pipelines.cli.main import main
from tests.helpers.images import encode, noise
from tests.helpers.minimal_run import MODEL, replace_backbone, run_stages
from tests.helpers.nih_source import put

COUNTS = {"left": 6, "middle": 4, "right": 10}  # images by split and class
EXTERNAL = {"west": 9, "right": 6, "spiral": 5}  # `west` is `left`, and the version does not know `spiral`


def drawn(corner: int, seed: int) -> np.ndarray:
    """A square in one of four places on noise, uint8 [40, 40]."""
    pixels = noise(40, seed) // 4
    pixels[10:20, 10 * corner : 10 * corner + 10] = 250
    return pixels


def in_color(pixels: np.ndarray) -> bytes:
    return encode(np.stack([pixels, pixels // 2, pixels // 4], axis=-1))


class Published(NamedTuple):
    """A folder with the registry, and the training data."""

    folder: Path
    data: Ingest


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A registry with version 1, trained on color images of three classes."""
    folder, files = tmp_path_factory.mktemp("classes"), {}
    for part, split in enumerate(("train", "val", "test")):
        for corner, (name, count) in enumerate(COUNTS.items()):
            for number in range(count):
                pixels = drawn(corner, 1000 * part + 100 * corner + number)
                files[f"{split}/{name}/{number}.png"] = in_color(pixels)
    data = Ingest(data_format="folders", data_source=put(files, str(folder / "data")), data_labels=",".join(COUNTS))
    with pytest.MonkeyPatch.context() as monkeypatch:
        replace_backbone(monkeypatch)
        run_stages(data, folder)
    return Published(folder, data)


def run_command(folder: Path, *arguments: str) -> Result:
    options = ("--registry", str(folder / "registry"), "--model", MODEL)
    return CliRunner().invoke(main, [*arguments, *options], catch_exceptions=False, env={"COLUMNS": "300"})


def evaluate(published: Published, source: str, report: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Returns the output of the command and its results."""
    arguments = ("--version", "1", "--source", source, "--format", "folders", "--report", str(report), *options)
    result = run_command(published.folder, "evaluate", *arguments)
    assert result.exit_code == 0, result.output
    return result.output, json.loads(report.with_suffix(".json").read_text())


def test_evaluate_own_test_images_of_exclusive_classes_equals_metrics_of_the_version(
    published: Published, tmp_path: Path
) -> None:
    options = ("--official-test", "--no-record", "--corruptions", "tissuemnist")
    _, results = evaluate(published, published.data.data_source, tmp_path / "own.html", *options)
    extra = published.folder / "registry" / MODEL / "1" / "assets.extra"
    version = json.loads((extra / "metrics.json").read_text())["metrics"]["fine_tuning"]["test"]
    assert results["internal"] == version
    assert results["metrics"]["classes"]["confusion"] == version["classes"]["confusion"]
    assert results["metrics"]["classes"]["majority_class"] == "right"
    assert results["labels"]["common"] == ["left", "middle", "right"]
    assert results["thresholds"] == {}
    assert results["settings"]["data_task"] == "multiclass"
    loss = results["comparison"]["mean"]["loss"]["value"]
    assert loss == pytest.approx(0, abs=1e-6)
    assert not any("converted" in warning for warning in results["warnings"])  # RGB images, as the version needs


def test_evaluate_archive_with_other_classes_and_gray_images(published: Published, tmp_path: Path) -> None:
    corners = {"west": 0, "right": 2, "spiral": 3}
    files = {
        f"{name}/{number}.png": encode(drawn(corners[name], 5000 + 100 * corners[name] + number))
        for name, count in EXTERNAL.items()
        for number in range(count)
    }
    files["west/seen.png"] = in_color(drawn(0, 0))  # the first training image
    source = put(files, str(tmp_path / "clinic"))
    report = tmp_path / "clinic.html"
    with console.capture() as printed:
        output, results = evaluate(published, source, report, "--labels", "west=left", "--name", "clinic")
    assert results["labels"] == {
        "common": ["left", "right"],
        "version_only": ["middle"],
        "archive_only": ["spiral"],
        "renamed": {"west": "left"},
    }
    assert results["overlap"] == {"seen_images": 1, "other_images_of_seen_patients": 0}
    external_classes, internal_classes = results["metrics"]["classes"], results["internal"]["classes"]
    assert external_classes["names"] == ["left", "middle", "right"]
    assert [sum(row) for row in external_classes["confusion"]] == [9, 0, 6]
    assert [sum(row) for row in internal_classes["confusion"]] == [6, 0, 10]  # of the common classes
    assert external_classes["majority_class"] == "right"
    assert external_classes["majority_accuracy"]["value"] == pytest.approx(6 / 15)
    assert internal_classes["majority_accuracy"]["value"] == pytest.approx(10 / 16)
    assert list(results["comparison"]["labels"]) == ["left", "right"]
    assert results["calibration"]["classes"]["n_images"] == 15
    assert "the archive has no images of middle" in " ".join(results["warnings"])
    assert "5 images of none of the version's classes were left out" in results["warnings"]
    assert "15 images were L and were converted to RGB" in results["warnings"]
    assert "left out: 5 images of none of the version's classes" in output
    assert "Balanced accuracy" in printed.get()
    page = report.read_text()
    assert "Metrics of the classes" in page
    assert "always right, the most frequent class in training" in page
    assert "are neither removed nor redistributed" in page
    assert "Threshold" not in page
    assert "15 external images from 15 patients: the highest score" in page
    assert "15 test images" not in page
    (record,) = external.read_records(str(published.folder / "registry"), MODEL, 1)
    assert (record.labels, record.n_images) == (["left", "right"], 15)
    assert record.auroc["value"] == results["comparison"]["mean"]["external"]["value"]
    shown = run_command(published.folder, "models", "show", "1")
    assert shown.exit_code == 0, shown.output
    assert "left, right" in shown.output
    assert external.unmet_minimums([record], {"clinic": 0.0}) == []
    (reason,) = external.unmet_minimums([record], {"clinic": 0.999})
    assert "the 95% interval of the AUROC on clinic must lie above 0.999" in reason
