"""The whole ingest stage: the catalog matches the source and counts exclusions, or nothing is written."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from radiograft import storage
from radiograft.config import all_settings
from radiograft.config.base import read_settings
from radiograft.data.catalog import Catalog, label_column, summarize_exclusions
from radiograft.data.sources import readers
from radiograft.stages.ingest import task
from tests.helpers.nih_source import IMAGES, TABLE_V2020, TEST, TRAIN_VAL, half_validating, nih_files, put

TABLE = "Data_Entry_2017_v2020.csv"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "nih")


def exclusion_counts(catalog: Catalog) -> dict[str, int]:
    return {group["reason"]: group["count"] for group in summarize_exclusions(catalog.excluded)}


def test_run_returns_row_per_image_with_split_and_label(folder: str, tmp_path: Path) -> None:
    catalog = task.run(half_validating(put(nih_files(), folder)), tmp_path / "catalog")
    columns = ["image_id", "patient_id", "age", "sex", "view", "split", "label:Pneumonia"]
    assert catalog.rows[columns].to_numpy(dtype=object).tolist() == [
        ["00000001_000.png", "1", 57.0, "M", "PA", "train", 1.0],
        ["00000001_001.png", "1", 58.0, "M", "PA", "train", 0.0],
        ["00000002_000.png", "2", 80.0, "M", "AP", "train", 0.0],
        ["00000003_000.png", "3", 74.0, "F", "PA", "test", 1.0],
        ["00000003_001.png", "3", 75.0, "F", "PA", "test", 0.0],
        ["00000006_000.png", "6", 12.0, "F", "AP", "validation", 1.0],
        ["00000006_001.png", "6", 13.0, "F", "PA", "validation", 0.0],
        ["00000008_000.png", "8", 69.0, "M", "PA", "validation", 0.0],
    ]
    assert {"uri", "md5", "bytes"} < set(catalog.rows.columns)
    assert "official" not in catalog.rows.columns
    assert catalog.source == folder
    assert len(catalog.excluded) == 0


def test_run_writes_catalog_and_settings(folder: str, tmp_path: Path) -> None:
    written = task.run(half_validating(put(nih_files(), folder)), tmp_path / "catalog")
    found = Catalog.read(tmp_path / "catalog")
    assert_frame_equal(found.rows, written.rows)
    assert (found.labels, found.source) == (("Pneumonia",), folder)
    assert read_settings(tmp_path / "catalog")["data_validation_fraction"] == 0.5


def test_build_catalog_labels_keep_order_of_setting(folder: str) -> None:
    settings = half_validating(put(nih_files(), folder), data_labels="Pneumonia, Effusion, Mass")
    catalog = task.build_catalog(settings)
    assert catalog.labels == ("Pneumonia", "Effusion", "Mass")
    truth = catalog.rows[[label_column(label) for label in catalog.labels]]
    assert truth.iloc[:3].to_numpy().tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


def test_build_catalog_all_labels_are_fourteen(folder: str) -> None:
    catalog = task.build_catalog(half_validating(put(nih_files(), folder), data_labels="all"))
    present = catalog.rows[[label_column(label) for label in catalog.labels]].sum()
    assert len(present) == 14
    assert present[present > 0].to_dict() == {"label:Effusion": 1.0, "label:Mass": 1.0, "label:Pneumonia": 3.0}


def test_build_catalog_negatives_follow_setting(folder: str) -> None:
    put(nih_files(), folder)
    strict = task.build_catalog(half_validating(folder, data_negatives="no_finding"))
    assert len(task.build_catalog(half_validating(folder)).rows) == 8
    assert exclusion_counts(strict) == {"neither a requested finding nor 'No Finding'": 1}
    assert list(strict.excluded["image_id"]) == ["00000002_000.png"]
    assert "00000001_000.png" in set(strict.rows["image_id"])  # has Effusion beside Pneumonia


def test_build_catalog_excludes_and_counts_unusable_images(folder: str) -> None:
    rows = "".join(f"00000001_{number:03d}.png,Mass,{number},1,58,M,PA,1,1,1,1\n" for number in range(2, 8))
    extra = {"002": b"", "003": b"", "004": b"pixels of 00000001_001.png", "005": b"unlisted", "006": b"unlisted"}
    files = nih_files() | {f"{IMAGES}/00000001_{name}.png": content for name, content in extra.items()}
    files[TABLE] = (TABLE_V2020 + rows).encode()
    listed = [*TRAIN_VAL, *(f"00000001_{name}.png" for name in ("002", "003", "004", "006"))]
    files["train_val_list.txt"] = "\n".join(listed).encode()
    catalog = task.build_catalog(half_validating(put(files, folder)))
    assert list(catalog.excluded.itertuples(index=False, name=None)) == [
        ("00000001_007.png", "row without an image"),
        ("00000001_002.png", "empty file"),
        ("00000001_003.png", "empty file"),
        ("00000001_005.png", "in no official split list"),
        ("00000001_004.png", "byte-identical to an earlier image"),
    ]
    assert "00000001_006.png" in set(catalog.rows["image_id"])  # its duplicate 005 is in no official list
    assert len(catalog.rows) == 9


def test_build_catalog_without_lists_splits_by_patient(nih_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(nih_folder, tmp_path / "nih", ignore=shutil.ignore_patterns("*_list.txt"))
    rows = task.build_catalog(half_validating(str(folder))).rows
    assert set(rows["split"]) == {"train", "validation", "test"}
    assert rows.groupby("patient_id")["split"].nunique().max() == 1


INVALID: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "unknown label": (
        {},
        {"data_labels": "Pnuemonia"},
        "must be findings of the dataset (Effusion, Mass, Pneumonia), got 'Pnuemonia'; did you mean 'Pneumonia'?",
    ),
    "no finding as a finding": (
        {},
        {"data_labels": "No Finding"},
        "data_labels must be findings of the dataset (Effusion, Mass, Pneumonia), got 'No Finding'",
    ),
    "patient in both lists": (
        {"test_list.txt": "\n".join((*TEST, "00000001_001.png")), "train_val_list.txt": "\n".join(TRAIN_VAL[::2])},
        {},
        "a patient must be in one split only, got 1 in several of the dataset's own splits: 1; repair the splits",
    ),
    "no positive validates": (
        {TABLE: TABLE_V2020.replace("Pneumonia,0,6", "No Finding,0,6")},
        {},
        "got train: 3 images, 1 with Pneumonia; validation: 3 images, 0 with Pneumonia; test: 2 images",
    ),
    "no negative trains": (
        {TABLE: TABLE_V2020.replace("No Finding,1,1", "Pneumonia,1,1").replace("Mass", "Mass|Pneumonia")},
        {},
        "got train: 3 images, 3 with Pneumonia; validation: 3 images, 1 with Pneumonia; test: 2 images",
    ),
    "nothing to test on": (
        {"test_list.txt": ""},
        {},
        "test: 0 images, 0 with Pneumonia; 2 images or rows were left out: 2 in no official split list",
    ),
}


@pytest.mark.parametrize(("changes", "values", "message"), INVALID.values(), ids=INVALID)
def test_run_invalid_source_raises_and_writes_nothing(
    folder: str, tmp_path: Path, changes: dict[str, str], values: dict[str, str], message: str
) -> None:
    put(nih_files() | {name: text.encode() for name, text in changes.items()}, folder)
    with pytest.raises(ValueError) as error:  # noqa: PT011  a part of the message is compared
        task.run(half_validating(folder, **values), tmp_path / "catalog")
    assert message in str(error.value)
    assert not (tmp_path / "catalog").exists()


def test_run_source_without_images_raises(folder: str, tmp_path: Path) -> None:
    put({name: content for name, content in nih_files().items() if "/" not in name}, folder)
    with pytest.raises(ValueError, match="got train: 0 images, 0 with Pneumonia; validation: 0 images"):
        task.run(half_validating(folder), tmp_path / "catalog")
    assert not (tmp_path / "catalog").exists()


def test_build_catalog_duplicates_across_splits_keep_held_out_image(folder: str) -> None:
    files = nih_files()
    files[f"{IMAGES}/00000003_001.png"] = files[f"{IMAGES}/00000001_001.png"]
    files[f"{IMAGES}/00000001_002.png"] = files[f"{IMAGES}/00000002_000.png"]
    files[TABLE] = (TABLE_V2020 + "00000001_002.png,No Finding,2,1,58,M,PA,1,1,1,1\n").encode()
    files["train_val_list.txt"] = "\n".join((*TRAIN_VAL, "00000001_002.png")).encode()
    catalog = task.build_catalog(half_validating(put(files, folder), data_labels="Pneumonia"))
    assert list(catalog.excluded.itertuples(index=False, name=None)) == [
        ("00000001_001.png", "byte-identical to an image in a held-out split"),
        ("00000002_000.png", "byte-identical to an earlier image"),
    ]


def test_readers_cover_every_data_format() -> None:
    assert tuple(readers.READERS) == all_settings()["data_format"].metadata["choices"]


def test_build_catalog_test_split_of_one_class_is_noted(folder: str) -> None:
    table = TABLE_V2020.replace("No Finding,1,3", "Pneumonia,1,3")
    catalog = task.build_catalog(half_validating(put(nih_files() | {TABLE: table.encode()}, folder)))
    assert catalog.summary()["notes"] == [
        "in test, the images with a label show one patient: Pneumonia (2 images)",
        "not estimable on test (2 images), where all or no images are positive: Pneumonia",
    ]


def test_build_catalog_folder_and_bucket_are_equal(nih_folder: Path, place: str) -> None:
    storage.upload_tree(nih_folder, place)
    here, there = (task.build_catalog(half_validating(uri, data_labels="all")) for uri in (str(nih_folder), place))
    assert_frame_equal(here.rows.drop(columns="uri"), there.rows.drop(columns="uri"))
    assert all(there.rows["uri"] == place + "/" + IMAGES + "/" + there.rows["image_id"])
    assert here.fingerprint() == there.fingerprint()


def test_run_does_not_import_heavy_packages(nih_folder: Path, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from radiograft.config import Ingest
from radiograft.stages.ingest import task
task.run(Ingest(data_source=sys.argv[1]), Path(sys.argv[2]))
print(sorted({"tensorflow", "keras", "kfp", "torch", "matplotlib", "pydicom"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(nih_folder), str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert (tmp_path / "catalog.json").is_file()
