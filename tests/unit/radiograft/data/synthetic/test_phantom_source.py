"""The phantom as a data source: generated once into a folder or bucket, then read as NIH's dataset."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.config import FINDINGS, Ingest
from radiograft.data.sources import readers
from radiograft.stages.ingest import task

PATIENTS = 20


def phantom(place: str, seed: int = 0) -> Ingest:
    return Ingest(
        data_format="phantom",
        data_source=place,
        data_phantom_patients=PATIENTS,
        data_labels="all",
        data_validation_fraction=0.3,
        train_seed=seed,
    )


def test_ingest_phantom_matches_generated_files(tmp_path: Path) -> None:
    catalog = task.run(phantom(str(tmp_path / "data")), tmp_path / "catalog")
    folder = tmp_path / "data" / "phantom-20-patients-seed-0"
    assert catalog.notes[0] == "the images are synthetic: figures on them say nothing about radiographs"
    with (folder / "Data_Entry_2017_v2020.csv").open(newline="") as file:
        table = {row["Image Index"]: row for row in csv.DictReader(file)}
    tested = set((folder / "test_list.txt").read_text().split("\n"))
    assert catalog.source == str(folder)
    assert len(catalog.excluded) == 0
    assert list(catalog.rows["image_id"]) == sorted(table)
    assert catalog.rows["patient_id"].nunique() == PATIENTS
    for row in catalog.rows.to_dict("records"):
        labels = {label for label in FINDINGS if row[f"label:{label}"]}
        assert labels == set(table[row["image_id"]]["Finding Labels"].split("|")) - {"No Finding"}
        assert row["patient_id"] == table[row["image_id"]]["Patient ID"]
        assert (row["split"] == "test") == (row["image_id"] in tested)


def test_generate_phantom_complete_is_reused_and_interrupted_is_repeated(place: str) -> None:
    uri = readers.generate_phantom(phantom(place))
    image, last = f"{uri}/images_001/images/00000001_000.png", f"{uri}/test_list.txt"
    drawn = storage.read_bytes(image)
    storage.write_bytes(image, b"touched")
    assert readers.generate_phantom(phantom(place)) == uri
    assert storage.read_bytes(image) == b"touched"  # complete, so not generated again

    interrupted = uri.replace("seed-0", "seed-1")
    storage.write_bytes(image.replace(uri, interrupted), b"half of a dataset")
    assert readers.generate_phantom(phantom(place, seed=1)) == interrupted
    assert storage.exists(last.replace(uri, interrupted))
    assert storage.read_bytes(image.replace(uri, interrupted)) not in (drawn, b"half of a dataset")


def test_generate_phantom_missing_boxes_is_repeated(tmp_path: Path) -> None:
    folder = Path(readers.generate_phantom(phantom(str(tmp_path))))
    table = (folder / "BBox_List_2017.csv").read_bytes()
    (folder / "BBox_List_2017.csv").unlink()
    assert Path(readers.generate_phantom(phantom(str(tmp_path)))) == folder
    assert (folder / "BBox_List_2017.csv").read_bytes() == table


def test_generate_phantom_writes_each_table_after_all_files_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a table is written like the images, in parallel: an interrupted dataset would count as complete."""
    write, written = storage.write_bytes, list[str]()

    def slow_write(uri: str, content: bytes) -> None:
        time.sleep(0.02 * (len(content) % 3))
        write(uri, content)
        written.append(Path(uri).name)

    monkeypatch.setattr(storage, "write_bytes", slow_write)
    readers.generate_phantom(phantom(str(tmp_path)))
    assert [name for name in written if name.endswith(".png")] == written[:-4]
    assert written[-4:] == ["BBox_List_2017.csv", "Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"]


def test_generate_phantom_failed_upload_raises_and_leaves_no_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = storage.write_bytes

    def fail(uri: str, content: bytes) -> None:
        if uri.endswith("00000003_000.png"):
            raise OSError("the disk is full")
        write(uri, content)

    monkeypatch.setattr(storage, "write_bytes", fail)
    with pytest.raises(OSError, match="the disk is full"):
        readers.generate_phantom(phantom(str(tmp_path)))
    assert not list(tmp_path.rglob("test_list.txt"))


def test_phantom_fingerprint_is_equal_in_folder_and_bucket(tmp_path: Path, embedded: str) -> None:
    here = task.build_catalog(phantom(str(tmp_path)))
    there = task.build_catalog(phantom(f"{embedded}/same-phantom"))
    assert here.fingerprint() == there.fingerprint()
    assert here.fingerprint() != task.build_catalog(phantom(str(tmp_path), seed=1)).fingerprint()


@pytest.mark.parametrize("patients", [19, 100_001])
def test_phantom_patients_out_of_range_raises(patients: int) -> None:
    with pytest.raises(ValueError, match=f"data_phantom_patients must be at .* patients, got {patients}"):
        Ingest(data_format="phantom", data_source="/data", data_phantom_patients=patients)
