"""Workers: any number of them, also after interruptions, gives the same training set."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import Catalog
from radiograft.data.shards import files as shard_files
from radiograft.data.shards.dataset import Shards
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import merge, task
from radiograft.training.checkpoints import Checkpoints
from tests.repository import ROOT

SETTINGS = Preprocess(image_size=32, data_policy="near_duplicate=drop")


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_files, "IMAGES_PER_SHARD", 10)


@pytest.fixture(scope="module")
def flawed(nih_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Catalog of phantom images. In train, the first is truncated, and the third is near-equal to the second.

    Their labels differ, so that neither is kept.
    """
    folder = tmp_path_factory.mktemp("flawed")
    shutil.copytree(nih_folder, folder / "nih")
    train = Path(folder / "nih" / "train_val_list.txt").read_text().split()
    files = {path.name: path for path in (folder / "nih").rglob("*.png")}
    first, second, third = (files[name] for name in train[:3])
    first.write_bytes(first.read_bytes()[:300])
    with Image.open(io.BytesIO(second.read_bytes())) as image:
        Image.fromarray(np.clip(np.asarray(image, "int16") + 3, 0, 255).astype("uint8")).save(third)
    ingest.run(Ingest(data_source=str(folder / "nih"), data_validation_fraction=0.25), folder / "catalog")
    return folder / "catalog"


def parts_of(catalog: Path, folder: Path, settings: Preprocess) -> list[Path]:
    """Runs all workers and returns their folders."""
    parts = [folder / f"part-{worker}" for worker in range(settings.preprocess_workers)]
    for worker, part in enumerate(parts):
        task.preprocess_share(settings, catalog, part, Checkpoints(""), worker)
    return parts


def training_set(catalog: Path, folder: Path, workers: int) -> dict[str, str]:
    """Returns checksums of the merged shards. The parts are passed in reverse order."""
    settings = dataclasses.replace(SETTINGS, preprocess_workers=workers)
    parts = parts_of(catalog, folder, settings)
    merge.run(settings, catalog, parts[::-1], folder / "shards")
    return contents(folder / "shards")


def contents(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of all files except settings.json, which contains the number of workers."""
    files = sorted(path for path in folder.iterdir() if path.name != "settings.json")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def alone(flawed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_files, "IMAGES_PER_SHARD", 10)
        training_set(flawed, folder, 1)
    return folder


@pytest.mark.parametrize("workers", [2, 4, 64])
def test_training_set_does_not_depend_on_workers(workers: int, flawed: Path, alone: Path, tmp_path: Path) -> None:
    assert training_set(flawed, tmp_path, workers) == contents(alone / "shards")


def test_training_set_excludes_only_defective_images(flawed: Path, alone: Path) -> None:
    data, rows = Shards.read(alone / "shards"), Catalog.read(flawed).rows
    stored = [
        image_id.decode() for split in ("train", "validation", "test") for _, image_id, _ in examples(data, split)
    ]
    assert stored == list(data.rows["image_id"])
    gone = sorted(set(rows["image_id"]) - set(stored))
    excluded = {group["reason"]: group["examples"] for group in data.summary["excluded"]}
    assert excluded["unreadable or truncated image"] == gone[:1]
    assert excluded["near-equal images with different labels"] == gone[1:3]
    near_duplicates = sum(group["count"] for group in data.summary["excluded"] if "near" in group["reason"])
    assert len(gone) == 1 + near_duplicates


def examples(data: Shards, split: str) -> list[tuple[np.ndarray, bytes, np.ndarray]]:
    return list(data.examples(split).as_numpy_iterator())


@pytest.mark.parametrize(
    "earlier", [{"image_size": 64}, {"data_policy": "color=drop"}], ids=lambda changes: str(*changes)
)
def test_preprocess_share_other_settings_replaces_shards(
    earlier: dict[str, object], catalog_folder: Path, tmp_path: Path
) -> None:
    task.preprocess_share(dataclasses.replace(SETTINGS, **earlier), catalog_folder, tmp_path / "part", Checkpoints(""))  # type: ignore[arg-type]
    task.preprocess_share(SETTINGS, catalog_folder, tmp_path / "part", Checkpoints(""))
    task.preprocess_share(SETTINGS, catalog_folder, tmp_path / "fresh", Checkpoints(""))
    assert contents(tmp_path / "part") == contents(tmp_path / "fresh")


def test_preprocess_share_other_catalog_replaces_shards(catalog_folder: Path, flawed: Path, tmp_path: Path) -> None:
    task.preprocess_share(SETTINGS, flawed, tmp_path / "part", Checkpoints(""))
    task.preprocess_share(SETTINGS, catalog_folder, tmp_path / "part", Checkpoints(""))
    task.preprocess_share(SETTINGS, catalog_folder, tmp_path / "fresh", Checkpoints(""))
    assert contents(tmp_path / "part") == contents(tmp_path / "fresh")


def test_merge_missing_or_repeated_part_raises(catalog_folder: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, preprocess_workers=2)
    parts = parts_of(catalog_folder, tmp_path, settings)
    with pytest.raises(ValueError, match="exactly one part must hold train-00000-of-00006, got 0 of 1"):
        merge.run(settings, catalog_folder, parts[1:], tmp_path / "shards")
    with pytest.raises(ValueError, match="exactly one part must hold train-00000-of-00006, got 2 of 3"):
        merge.run(settings, catalog_folder, [*parts, parts[0]], tmp_path / "shards")


def test_merge_parts_of_other_catalog_raises(catalog_folder: Path, tmp_path: Path) -> None:
    catalog = Catalog.read(catalog_folder)
    ids = catalog.rows["image_id"].str.replace("0", "x")
    dataclasses.replace(catalog, rows=catalog.rows.assign(image_id=ids)).write(tmp_path / "other")
    parts = parts_of(catalog_folder, tmp_path, SETTINGS)
    with pytest.raises(ValueError, match="the parts must be made from this catalog"):
        merge.run(SETTINGS, tmp_path / "other", parts, tmp_path / "shards")


MERGE_SCRIPT = """
import json, sys
from pathlib import Path
from radiograft.config import Preprocess
from radiograft.data.shards import files
from radiograft.reporting import data_report
from radiograft.stages.preprocess import merge
files.IMAGES_PER_SHARD = 10
catalog, part, output, report = map(Path, sys.argv[1:])
merge.run(Preprocess(image_size=32, data_policy="near_duplicate=drop"), catalog, [part], output)
data_report.write_data_report(output, report)
print(json.dumps(sorted({"keras", "kfp", "tensorflow", "torch"} & set(sys.modules))))
"""


def test_merge_does_not_import_tensorflow(flawed: Path, alone: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", MERGE_SCRIPT, flawed, alone / "part-0", tmp_path / "shards", tmp_path / "report"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
    assert contents(tmp_path / "shards") == contents(alone / "shards")
