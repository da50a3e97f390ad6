"""The MedMNIST reader: splits, labels and uris of the images, and errors for invalid files."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog
from radiograft.data.sources import medmnist
from radiograft.stages.ingest import task
from radiograft.storage import npz_archive
from tests.helpers.archives import pack
from tests.helpers.medmnist_source import BINARY, COUNTS, medmnist_arrays

FIELDS = ["image_id", "patient_id", "official"]
PATIENTS = (
    "the dataset has no patient ids: each image counts as its own patient; if several images show one patient, "
    "confidence intervals are too narrow and the patient may be in several splits"
)
CLASSES = {"train": [0, 2, 1, 3, 2, 0], "val": [1, 0, 3], "test": [3, 2, 0]}
COLUMNS = {
    "train": [[0, 0], [1, 0], [0, 1], [1, 1], [0, 0], [1, 0]],
    "val": [[1, 0], [0, 1], [0, 0]],
    "test": [[0, 0], [1, 1], [0, 1]],
}


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "pneumoniamnist.npz")


def settings(uri: str, **values: Any) -> Ingest:
    return Ingest(data_format="medmnist", data_source=uri, **values)


def test_read_returns_uri_split_and_md5_per_image(place: str) -> None:
    arrays = medmnist_arrays()
    uri = pack(f"{place}/pneumoniamnist.npz", **arrays)
    source = medmnist.read(uri, ["Pneumonia"])
    assert source.rows[FIELDS].to_numpy().tolist() == [
        *([f"test-{row}", f"test-{row}", "test"] for row in range(3)),
        *([f"train-{row}", f"train-{row}", "train"] for row in range(6)),
        *([f"val-{row}", f"val-{row}", "validation"] for row in range(3)),
    ]
    assert source.rows["uri"][4] == f"{uri}#train_images/1"
    assert source.rows["md5"][4] == hashlib.md5(arrays["train_images"][1].tobytes()).hexdigest()
    assert set(source.rows["bytes"]) == {784}
    assert source.rows[["view", "age", "sex"]].isna().all(axis=None)
    assert source.findings["Pneumonia"].tolist() == [*BINARY["test"], *BINARY["train"], *BINARY["val"]]
    assert (source.uri, len(source.excluded), source.notes) == (uri, 0, (PATIENTS,))


def test_read_zero_pads_ids_in_image_order(uri: str) -> None:
    arrays = medmnist_arrays()
    arrays["train_images"] = np.concatenate([arrays["train_images"]] * 20)
    arrays["train_labels"] = np.concatenate([arrays["train_labels"]] * 20)
    rows = medmnist.read(pack(uri, **arrays), ["Pneumonia"]).rows
    train = rows[rows["official"] == "train"]
    assert train["image_id"].iloc[[0, 9, 10, 119]].tolist() == ["train-000", "train-009", "train-010", "train-119"]
    assert train["uri"].tolist() == [npz_archive.row_uri(uri, "train_images", row) for row in range(120)]


def findings(uri: str, names: list[str], labels: Any) -> list[list[str]]:
    """Returns the findings of each image, in the order train, val, test."""
    source = medmnist.read(pack(uri, **medmnist_arrays(labels=labels)), names)
    found = [[str(name) for name in source.findings if row[name]] for _, row in source.findings.iterrows()]
    return [*found[3:9], *found[9:], *found[:3]]


def test_read_single_name_is_second_class(uri: str) -> None:
    assert findings(uri, ["Pneumonia"], BINARY) == [
        ["No Finding"], ["Pneumonia"], ["Pneumonia"], ["No Finding"], ["Pneumonia"], ["No Finding"],
        ["Pneumonia"], ["No Finding"], ["Pneumonia"],
        ["No Finding"], ["No Finding"], ["Pneumonia"],
    ]  # fmt: skip


def test_read_names_follow_class_numbers(uri: str) -> None:
    assert findings(uri, ["Drusen", "Oedema", "Membrane", "Normal"], CLASSES) == [
        ["Drusen"], ["Membrane"], ["Oedema"], ["Normal"], ["Membrane"], ["Drusen"],
        ["Oedema"], ["Drusen"], ["Normal"],
        ["Normal"], ["Membrane"], ["Drusen"],
    ]  # fmt: skip
    assert findings(uri, ["Healthy", "Ill"], BINARY)[:3] == [["Healthy"], ["Ill"], ["Ill"]]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        (BINARY, "Pneumonia", ["class 0 is 'not Pneumonia': 6 of 12 images", "class 1 is 'Pneumonia': 6 of 12 images"]),
        (
            BINARY,
            'malignant, "normal, benign"',
            ["class 0 is 'malignant': 6 of 12 images", "class 1 is 'normal, benign': 6 of 12 images"],
        ),
        (COLUMNS, "Mass, Edema", ["column 0 is 'Mass': 5 of 12 images", "column 1 is 'Edema': 5 of 12 images"]),
    ],
    ids=["one name", "class numbers", "columns"],
)
def test_read_logs_meaning_and_count_of_each_class(
    uri: str, labels: Any, names: str, expected: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """After BreastMNIST, whose class 0 is malignant and class 1 `normal, benign`."""
    pack(uri, **medmnist_arrays(labels=labels))
    with caplog.at_level("INFO", "radiograft"):
        medmnist.read(uri, settings(uri, data_labels=names).findings())
    assert [record.message for record in caplog.records] == expected


def test_read_names_follow_columns(uri: str) -> None:
    assert findings(uri, ["Mass", "Edema"], COLUMNS) == [
        ["No Finding"], ["Mass"], ["Edema"], ["Mass", "Edema"], ["No Finding"], ["Mass"],
        ["Mass"], ["Edema"], ["No Finding"],
        ["No Finding"], ["Mass", "Edema"], ["Edema"],
    ]  # fmt: skip


@hypothesis.settings(deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=12, max_size=12).filter(lambda drawn: max(drawn) == 4))
def test_read_any_class_number_gives_its_name(tmp_path_factory: pytest.TempPathFactory, labels: list[int]) -> None:
    uri = str(tmp_path_factory.getbasetemp() / "classes.npz")
    parts = {"train": labels[:6], "val": labels[6:9], "test": labels[9:]}
    assert findings(uri, list("abcde"), parts) == [["abcde"[label]] for label in labels]


def test_read_color_and_any_size(uri: str) -> None:
    for shape, size in {(28, 28, 3): 2352, (64, 48): 3072, (224, 224): 50176}.items():
        source = medmnist.read(pack(uri, **medmnist_arrays(shape)), ["Pneumonia"])
        assert set(source.rows["bytes"]) == {size}
        assert len(source.rows) == sum(COUNTS.values())


def changed(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    return medmnist_arrays() | arrays


NAMES = "data_labels must name the"
SHAPES = "{}_images in {{uri}} must be uint8 [images, height, width] or, in color, [images, height, width, 3], got "
INVALID: dict[str, tuple[dict[str, np.ndarray], list[str], str]] = {
    "missing labels": (
        {name: array for name, array in medmnist_arrays().items() if name != "val_labels"},
        ["Pneumonia"],
        "must contain the array val_labels, got test_images, test_labels, train_images, train_labels, val_images",
    ),
    "pickled labels": (
        changed(test_labels=np.array([[{}], [None], [1]], dtype=object)),
        ["Pneumonia"],
        "test_labels in {uri} must contain plain numbers, got pickled objects, which are never loaded",
    ),
    "pickled images": (
        changed(train_images=np.array([None] * 6, dtype=object)),
        ["Pneumonia"],
        "train_images in {uri} must contain plain numbers, got pickled objects, which are never loaded",
    ),
    "volumes": (
        medmnist_arrays((28, 28, 28)),
        ["Pneumonia"],
        SHAPES.format("train") + "uint8 [6, 28, 28, 28]; volumes are not supported",
    ),
    "wrong dtype": (
        changed(val_images=np.zeros((3, 28, 28), np.float32)),
        ["Pneumonia"],
        SHAPES.format("val") + "float32 [3, 28, 28]; volumes are",
    ),
    "missing label": (
        changed(val_labels=np.zeros((2, 1), np.uint8)),
        ["Pneumonia"],
        "val_labels in {uri} must be integers [3, columns], one row per image, got uint8 [2, 1]",
    ),
    "labels without columns": (
        changed(val_labels=np.zeros(3, np.uint8)),
        ["Pneumonia"],
        "val_labels in {uri} must be integers [3, columns], one row per image, got uint8 [3]",
    ),
    "fractions as labels": (
        changed(val_labels=np.full((3, 1), 0.5)),
        ["Pneumonia"],
        "val_labels in {uri} must be integers [3, columns], one row per image, got float64 [3, 1]",
    ),
    "a negative label": (
        changed(val_labels=np.array([[0], [-1], [1]])),
        ["Pneumonia"],
        "labels in {uri} must be class numbers from 0 in one column, or 0 and 1 in several, got -1 to 1 in 1",
    ),
    "a two in columns": (
        medmnist_arrays(labels=COLUMNS) | {"val_labels": np.array([[0, 1], [2, 0], [1, 1]])},
        ["Mass", "Edema"],
        "labels in {uri} must be class numbers from 0 in one column, or 0 and 1 in several, got 0 to 2 in 2",
    ),
    "one name for four classes": (
        medmnist_arrays(labels=CLASSES),
        ["Pneumonia"],
        NAMES + " 4 classes 0 to 3 of {uri} in this order, separated by commas, got 1: Pneumonia",
    ),
    "three names for four classes": (
        medmnist_arrays(labels=CLASSES),
        ["A", "B", "C"],
        NAMES + " 4 classes 0 to 3 of {uri} in this order, separated by commas, got 3: A, B, C",
    ),
    "three names for two classes": (
        medmnist_arrays(),
        ["A", "B", "C"],
        NAMES + " 2 classes 0 to 1 of {uri} in this order, separated by commas, got 3: A, B, C",
    ),
    "one name for two columns": (
        medmnist_arrays(labels=COLUMNS),
        ["Mass"],
        NAMES + " 2 columns of train_labels in {uri} in their order, separated by commas, got 1: Mass",
    ),
}


@pytest.mark.parametrize(("arrays", "names", "message"), INVALID.values(), ids=INVALID)
def test_read_invalid_data_set_raises(uri: str, arrays: dict[str, np.ndarray], names: list[str], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the message is compared
        medmnist.read(pack(uri, **arrays), names)
    assert message.format(uri=uri) in str(error.value)


def test_run_truncated_file_raises_and_writes_nothing(uri: str, tmp_path: Path) -> None:
    pack(uri, **medmnist_arrays())
    Path(uri).write_bytes(Path(uri).read_bytes()[:5000])
    with pytest.raises(
        ValueError, match=f"{uri} must be a complete .npz archive, got a corrupt one: .*; download it again"
    ):
        task.run(settings(uri), tmp_path / "catalog")
    assert not (tmp_path / "catalog").exists()


def test_read_folder_or_missing_file_raises(place: str) -> None:
    with pytest.raises(ValueError, match=f"which ends in .npz, got '{place}'; pass the file itself"):
        medmnist.read(place, ["Pneumonia"])
    with pytest.raises(FileNotFoundError, match=f"{place}/none.npz"):
        medmnist.read(f"{place}/none.npz", ["Pneumonia"])


def test_run_keeps_splits_and_notes_missing_patients(uri: str, tmp_path: Path) -> None:
    catalog = task.run(settings(pack(uri, **medmnist_arrays())), tmp_path)
    assert catalog.summary()["splits"] == {
        "train": {"pictures": 6, "patients": 6, "positives": {"Pneumonia": 3}},
        "validation": {"pictures": 3, "patients": 3, "positives": {"Pneumonia": 2}},
        "test": {"pictures": 3, "patients": 3, "positives": {"Pneumonia": 1}},
    }
    assert catalog.summary()["notes"] == [PATIENTS]
    assert catalog.source == uri
    found = Catalog.read(tmp_path)
    assert_frame_equal(found.rows, catalog.rows)
    assert found.notes == (PATIENTS,)


def test_build_catalog_local_and_bucket_are_equal(tmp_path: Path, embedded: str) -> None:
    here, there = (
        task.build_catalog(settings(pack(f"{place}/some.npz", **medmnist_arrays())))
        for place in (str(tmp_path), f"{embedded}/medmnist")
    )
    assert_frame_equal(here.rows.drop(columns="uri"), there.rows.drop(columns="uri"))
    assert here.fingerprint() == there.fingerprint()


def test_build_catalog_all_labels_are_fourteen_columns(uri: str) -> None:
    """The columns of ChestMNIST are NIH's findings in the order of `data_labels=all`."""
    labels = {part: np.eye(14, dtype=int)[:n].tolist() for part, n in COUNTS.items()}
    catalog = task.build_catalog(settings(pack(uri, **medmnist_arrays(labels=labels)), data_labels="all"))
    assert catalog.rows.filter(like="label:").sum().loc[["label:Atelectasis", "label:Nodule"]].tolist() == [3.0, 1.0]


def test_build_catalog_images_without_findings_are_no_finding(uri: str) -> None:
    values = {"data_labels": "Mass, Edema", "data_negatives": "no_finding"}
    catalog = task.build_catalog(settings(pack(uri, **medmnist_arrays(labels=COLUMNS)), **values))
    assert len(catalog.rows) == 12
    assert len(catalog.excluded) == 0


def test_build_catalog_no_finding_as_label_raises(uri: str) -> None:
    with pytest.raises(ValueError, match=r"data_labels must be findings of the dataset \(\), got 'No Finding'"):
        task.build_catalog(settings(pack(uri, **medmnist_arrays()), data_labels="No Finding"))


def test_ingest_medmnist_does_not_import_tensorflow(uri: str, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from radiograft.config import Ingest
from radiograft.stages.ingest import task
task.run(Ingest(data_format="medmnist", data_source=sys.argv[1]), Path(sys.argv[2]))
print(sorted({"tensorflow", "keras", "kfp", "torch", "matplotlib"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, pack(uri, **medmnist_arrays()), str(tmp_path / "catalog")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
