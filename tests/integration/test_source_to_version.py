"""Every data format passes through all six stages and results in a published version with test predictions."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from radiograft.config import Ingest
from radiograft.registry import versions as registry
from radiograft.reporting.data_report import write_data_report
from radiograft.serving.loaded_version import LoadedVersion
from radiograft.storage import npz_archive
from radiograft_pipelines.cli.main import main
from tests.helpers.archives import packed
from tests.helpers.images import encode, noise
from tests.helpers.minimal_run import MODEL, replace_backbone, run_stages
from tests.helpers.nih_source import put
from tests.helpers.sources import EVERY

Counts = dict[str, tuple[int, int]]  # images and positive images by split
FOUR_EACH: Counts = dict.fromkeys(("train", "validation", "test"), (4, 2))
CASES = {  # the fixture with the location of each source, and its counts
    "folders": ("folder", FOUR_EACH),
    "table": ("s3", FOUR_EACH),
    "chexpert": ("folder", FOUR_EACH),
    "dicom": ("folder", FOUR_EACH),
    "medmnist": ("folder", FOUR_EACH),
    "nih": ("embedded", {"train": (3, 1), "validation": (5, 3), "test": (4, 2)}),  # has no list for validation
}
REAL_IMAGES = 6  # per split


def pneumoniamnist(test_data: Path, place: str) -> Ingest:
    """The first images of each split of the real PneumoniaMNIST, half of them positive."""
    arrays = {}
    with npz_archive.open_npz(str(test_data / "pneumoniamnist.npz")) as archive:
        for part in ("train", "val", "test"):
            labels = archive.read(f"{part}_labels")
            chosen = np.concatenate([np.flatnonzero(labels[:, 0] == label)[: REAL_IMAGES // 2] for label in (0, 1)])
            arrays[f"{part}_images"] = archive.read(f"{part}_images")[chosen]
            arrays[f"{part}_labels"] = labels[chosen]
    put({"pneumoniamnist.npz": packed(**arrays)}, place)
    return Ingest(data_format="medmnist", data_source=f"{place}/pneumoniamnist.npz")


@pytest.fixture(autouse=True)
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_backbone(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path)


def assert_published(folder: Path, images: Counts) -> None:
    """Asserts that version 1 is complete, has the right label and counts, and predicts each image of the test split."""
    registry.verify_version(str(folder / "registry"), MODEL, 1)
    extra = folder / "registry" / MODEL / "1" / registry.EXTRA_ASSETS
    assert json.loads((extra / "contract.json").read_text())["labels"] == ["Pneumonia"]
    splits = json.loads((extra / "metrics.json").read_text())["data"]["splits"]
    assert {name: (split["pictures"], split["positives"]["Pneumonia"]) for name, split in splits.items()} == images
    rows = pd.read_parquet(folder / "catalog" / "catalog.parquet")
    predictions = pd.read_parquet(extra / "predictions.parquet").query("split == 'test'")
    for _, group in predictions.groupby("strategy"):
        assert sorted(group["image_id"]) == sorted(rows["image_id"][rows["split"] == "test"])
        assert group["score:Pneumonia"].between(0, 1).all()
    assert predictions["strategy"].nunique() == 2


@pytest.mark.parametrize("source", CASES)
def test_stages_publish_version_of_every_source(source: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place, images = CASES[source]
    settings = EVERY[source](f"{request.getfixturevalue(place)}/{uuid.uuid4()}")
    assert run_stages(settings, tmp_path).version == 1
    assert_published(tmp_path, images)


def drawn_classes(place: str) -> Ingest:
    """Squares in one of three places on noise, a folder for each place; the classes have 3, 6 and 9 images a split."""
    files = {}
    for part, split in enumerate(("train", "val", "test")):
        for corner, (name, count) in enumerate({"left": 3, "middle": 6, "right": 9}.items()):
            for number in range(count):
                pixels = noise(40, 1000 * part + 100 * corner + number) // 4
                pixels[10:20, 13 * corner : 13 * corner + 13] = 250
                files[f"{split}/{name}/{number}.png"] = encode(pixels)
    return Ingest(data_format="folders", data_source=put(files, place), data_labels="left,middle,right")


def test_stages_publish_version_of_exclusive_classes(tmp_path: Path) -> None:
    """Softmax from ingest to the published version and its predictions."""
    assert run_stages(drawn_classes(str(tmp_path / "data")), tmp_path).version == 1
    extra = tmp_path / "registry" / MODEL / "1" / registry.EXTRA_ASSETS
    contract = json.loads((extra / "contract.json").read_text())
    assert (contract["task"], contract["thresholds"]) == ("multiclass", None)
    assert contract["outputs"]["probabilities"]["meaning"] == "probability of each class; they sum to 1"
    predictions = pd.read_parquet(extra / "predictions.parquet")
    scores = predictions[["score:left", "score:middle", "score:right"]]
    np.testing.assert_allclose(scores.sum(axis="columns"), 1.0, rtol=1e-5)
    assert len(predictions) == 2 * 2 * 18
    history = json.loads((extra / "history.json").read_text())
    assert {"val_loss", "val_auroc", "val_accuracy"} <= set(history["initial"])
    metadata = pd.read_csv(tmp_path / "logs" / "evaluation" / "fine_tuning" / "metadata.tsv", sep="\t")
    assert metadata["class"].value_counts().to_dict() == {"left": 6, "middle": 12, "right": 18}
    assert "- Task: multiclass\n" in (extra / "model_card.md").read_text()
    assert "<code>multiclass</code>, because every image has exactly one of the 3 labels" in _data_report(tmp_path)
    version = LoadedVersion(str(tmp_path / "registry"), MODEL, 1)
    assert version.verify_golden_predictions() < 1e-3
    films = sorted((tmp_path / "data" / "test").rglob("*.png"))[:5]
    called = version.predict(films)
    assert called["threshold"].isna().all()
    assert called.groupby("file")["positive"].sum().tolist() == [1] * 5
    highest = called.loc[called.groupby("file")["probability"].idxmax(), "positive"]
    assert highest.all()
    shown = _predict_on_command_line(tmp_path, films[0])
    winner = str(called[(called["file"] == str(films[0])) & called["positive"]]["label"].item())
    assert f"{films[0].name}: {winner}\n" in shown.stdout
    assert [path.name for path in (tmp_path / "maps").iterdir()] == [f"1-{films[0].stem}-{winner}.png"]
    written = json.loads((tmp_path / "calls.json").read_text())["images"][0]
    assert written["class"] == winner
    assert [(each["label"], each["positive"]) for each in written["predictions"]] == [
        (label, label == winner) for label in ("left", "middle", "right")
    ]


def _data_report(folder: Path) -> str:
    write_data_report(folder / "shards", folder / "data_report.html")
    return (folder / "data_report.html").read_text()


def _predict_on_command_line(folder: Path, film: Path) -> Result:
    options = ("--registry", str(folder / "registry"), "--model", MODEL, "--heat-maps", str(folder / "maps"))
    arguments = ["models", "predict", "1", str(film), *options, "--json", str(folder / "calls.json")]
    return CliRunner().invoke(main, arguments, catch_exceptions=False, env={"COLUMNS": "400"})


def test_stages_publish_version_of_pneumoniamnist(test_data: Path, tmp_path: Path) -> None:
    assert run_stages(pneumoniamnist(test_data, str(tmp_path / "data")), tmp_path).version == 1
    assert_published(tmp_path, dict.fromkeys(FOUR_EACH, (REAL_IMAGES, REAL_IMAGES // 2)))
