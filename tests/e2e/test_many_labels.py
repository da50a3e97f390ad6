"""A multi-label run on a folder with invalid images, into a registry on disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from radiograft.registry import versions as registry
from tests.e2e.runs import MODEL, Run


@pytest.fixture(scope="module")
def flawed_source(nih_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in NIH's layout with an empty, a truncated, a duplicate and a color image."""
    folder = tmp_path_factory.mktemp("flawed")
    shutil.copytree(nih_folder, folder, dirs_exist_ok=True)
    test = set((folder / "test_list.txt").read_text().split())
    empty, truncated, original, duplicate, colored = sorted(p for p in folder.rglob("*.png") if p.name not in test)[:5]
    empty.write_bytes(b"")
    truncated.write_bytes(truncated.read_bytes()[:500])
    duplicate.write_bytes(original.read_bytes())
    encoded = BytesIO()
    Image.open(colored).convert("RGBA").save(encoded, "PNG")
    colored.write_bytes(encoded.getvalue())
    return folder


@pytest.fixture(scope="module")
def many_labels(
    flawed_source: Path, small: Path, finish: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run with all 14 labels, short names of settings, a registry in a folder, and two workers."""
    out = tmp_path_factory.mktemp("many_labels")
    assignments = [f"source={flawed_source}", "format=chestxray14", "labels=all", f"registry={out / 'registry'}"]
    return finish(out / "runs", small, *assignments, "preprocess_workers=2")


def test_run_publishes_14_labels_to_folder(many_labels: Run) -> None:
    registry_folder = many_labels.summary["registry"]
    assert many_labels.summary["version_uri"] == f"{registry_folder}/chest-radiograph/1"
    assert registry.verify_version(registry_folder, MODEL, 1)["version"] == 1
    extra_assets = Path(registry_folder) / "chest-radiograph" / "1" / "assets.extra"
    contract = json.loads((extra_assets / "contract.json").read_text())
    assert contract["labels"] == [
        "Atelectasis",
        "Cardiomegaly",
        "Effusion",
        "Infiltration",
        "Mass",
        "Nodule",
        "Pneumonia",
        "Pneumothorax",
        "Consolidation",
        "Edema",
        "Emphysema",
        "Fibrosis",
        "Pleural_Thickening",
        "Hernia",
    ]
    predictions = pd.read_parquet(extra_assets / "predictions.parquet")
    scores = predictions.filter(regex="^score:").to_numpy()
    assert scores.shape[1] == 14
    assert (scores >= 0).all()
    assert (scores <= 1).all()


def test_invalid_images_are_excluded_and_counted(many_labels: Run, flawed_source: Path) -> None:
    shards = json.loads((many_labels.artifacts / "collect-shards" / "shards" / "shards.json").read_text())
    assert {group["reason"]: group["count"] for group in shards["excluded"]} == {
        "empty file": 1,
        "byte-identical to an earlier image": 1,
        "unreadable or truncated image": 1,
    }
    assert shards["converted"] == {"RGBA": 1}
    images = sum(split["pictures"] for split in shards["splits"].values())
    assert images == len(list(flawed_source.rglob("*.png"))) - 3
    page = Path(many_labels.summary["report"]).read_text()
    for reason in ("empty file", "byte-identical to an earlier image", "unreadable or truncated image"):
        assert reason in page
