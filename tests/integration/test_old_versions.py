"""A version that version 0.1.0 of the package wrote, before contract.json and metrics.json had a schema version."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from radiograft import load_version
from radiograft.models.spec import ModelSpec
from radiograft.registry import production, versions
from radiograft_pipelines.cli.main import main
from tests.helpers.images import encode, noise
from tests.helpers.small_versions import SIZE, publish_small

MODEL = "chest-radiograph"
CONTRACT = {  # as it was written; the words of its sentences are stored text
    "image_size": SIZE,
    "labels": ["Pneumonia", "Mass"],
    "backbone": "efficientnet_lite0",
    "weights": "none",
    "cut_off": "third",
    "strategy": "fine_tuning",
    "input": "uint8 [n, image_size, image_size, 1], inside the model",
    "serving_input": "image_bytes: string [n], encoded PNG or JPEG files",
    "output": "probabilities: float32 [n, labels], each label for itself",
    "purpose": "Research only. Not for diagnosis.",
    "thresholds": {"Pneumonia": 0.0001},
}
TRIAL = {
    "cut_off": "third",
    "trainable_weights": 410,
    "epochs": 3,
    "best_epoch": 2,
    "val_auroc": 0.9,
    "val_loss": 0.4,
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry whose only version has the old files, and is in production."""
    folder, place = tmp_path_factory.mktemp("new"), tmp_path_factory.mktemp("registry")
    publish_small(str(folder / "registry"), folder, 1)
    copy = folder / "copy"
    manifest = versions.read_manifest(str(folder / "registry"), MODEL, 1)
    versions.fetch_version(str(folder / "registry"), MODEL, 1, manifest["files"], copy)
    extra = copy / versions.EXTRA_ASSETS
    (extra / "contract.json").write_text(json.dumps(CONTRACT))
    metrics = json.loads((extra / "metrics.json").read_text())
    metrics.pop("schema_version", None)
    (extra / "metrics.json").write_text(json.dumps(metrics | {"cut_off_search": [TRIAL]}))
    files = {path.relative_to(copy).as_posix(): path for path in copy.rglob("*") if path.is_file()}
    versions.write_version(str(place), MODEL, 1, files, {"model": MODEL, "created": manifest["created"]})
    production.promote(str(place), MODEL, 1, None, run_id="run-1", reason="passed")
    return place


@pytest.fixture
def models(registry: Path) -> Callable[..., Result]:
    def run(command: str, *arguments: str) -> Result:
        return CliRunner().invoke(main, ["models", command, "--registry", str(registry), *arguments])

    return run


def test_list_old_version_shows_metrics(models: Callable[..., Result]) -> None:
    result = models("list")
    assert result.exit_code == 0, result.output
    assert "0.800 (0.700-0.850)" in result.output


def test_verify_old_version_passes(models: Callable[..., Result]) -> None:
    result = models("verify", "1")
    assert result.exit_code == 0, result.output
    assert "sample predictions match" in result.output


def test_predict_old_version_equals_its_signature(registry: Path, tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(encode(noise(40)))
    version = load_version(registry / MODEL / "1")
    table = version.predict([tmp_path / "film.png"])
    assert list(table.columns) == ["file", "label", "probability", "threshold", "positive", "note"]
    assert table["note"].unique().tolist() == [
        "this version records no sizes and gray values of its development images: files are not compared with them"
    ]
    assert table["label"].tolist() == ["Pneumonia", "Mass"]
    expected = version.probabilities((tmp_path / "film.png").read_bytes())
    np.testing.assert_array_equal(table["probability"].to_numpy(np.float32), expected)
    assert table["threshold"].tolist()[0] == 0.0001
    assert table["positive"].tolist()[0] is True
    assert pd.isna(table["positive"].iloc[1])


def test_screen_old_version_raises_because_it_has_no_flag(models: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "film.png").write_bytes(encode(noise(40)))
    result = models("screen", "1", str(tmp_path))
    assert result.exit_code == 1
    assert "must have an out-of-distribution flag, got none: train it with ood_percentile=99" in result.output


def test_read_spec_of_old_version_names_its_tensors(registry: Path) -> None:
    spec = ModelSpec.read(registry / MODEL / "1" / versions.EXTRA_ASSETS)
    assert (spec.tensors.pooling, spec.tensors.probabilities) == ("pooled", "probabilities")


@pytest.mark.parametrize("uri", ["film.png", "registry/chest", "registry/chest/latest", "registry/chest/0"])
def test_load_version_malformed_uri_raises(uri: str) -> None:
    with pytest.raises(ValueError, match=f"^uri must be REGISTRY/MODEL/NUMBER, got '{uri}'$"):
        load_version(uri)


def test_load_version_missing_version_raises(registry: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has no version 2"):
        load_version(registry / MODEL / "2")
