"""Ingest decides what the labels are, and records the task with its reason."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog
from radiograft.stages.ingest import task
from tests.helpers.archives import packed
from tests.helpers.images import encode, noise
from tests.helpers.medmnist_source import medmnist_arrays
from tests.helpers.nih_source import put
from tests.helpers.sources import folders

SPLITS = ("train", "validation", "test")
CLASSES = ("benign", "malignant", "normal")


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def class_folders(place: str, classes: Sequence[str] = CLASSES, **settings: str) -> Ingest:
    """Two images of each class in each split."""
    files = {
        f"{split}/{name}/{number}.png": encode(noise(40, 100 * part + 10 * place_of + number))
        for part, split in enumerate(SPLITS)
        for place_of, name in enumerate(classes)
        for number in range(2)
    }
    values = {"data_labels": ",".join(classes), **settings}
    return Ingest(data_format="folders", data_source=put(files, place), **values)


def table(place: str, cells: Sequence[str], **settings: str) -> Ingest:
    """A table with a column of classes: the cells once in each split."""
    rows, files = [], {}
    for number, (split, cell) in enumerate((split, cell) for split in SPLITS for cell in cells):
        files[f"{number}.png"] = encode(noise(40, number))
        rows.append(f"{number}.png,{number},{cell},{split}")
    files["labels.csv"] = "\n".join(["image,patient,label,split", *rows]).encode()
    put(files, place)
    return Ingest(data_format="table", data_source=f"{place}/labels.csv", **settings)


def one_hot(catalog: Catalog) -> np.ndarray:
    return catalog.rows[[f"label:{label}" for label in catalog.labels]].to_numpy()


def test_run_class_folders_are_exclusive(place: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "radiograft")
    catalog = task.run(class_folders(place), tmp_path / "catalog")
    assert catalog.task == Catalog.read(tmp_path / "catalog").task == "multiclass"
    assert "task: multiclass, because every image has exactly one of the 3 labels" in caplog.text
    assert one_hot(catalog).sum(axis=1).tolist() == [1.0] * 18


def test_build_catalog_two_class_folders_are_exclusive_with_a_note(place: str) -> None:
    catalog = task.build_catalog(dataclasses.replace(folders(place), data_labels="NORMAL,PNEUMONIA"))
    assert catalog.task == "multiclass"
    assert [note for note in catalog.notes if "data_labels=PNEUMONIA trains one output with a threshold" in note]


def test_build_catalog_one_label_is_binary(place: str) -> None:
    assert task.build_catalog(folders(place)).task == "binary"


def test_build_catalog_multilabel_can_be_required_of_class_folders(place: str) -> None:
    assert task.build_catalog(class_folders(place, data_task="multilabel")).task == "multilabel"


def test_build_catalog_some_class_folders_are_independent_labels(place: str) -> None:
    catalog = task.build_catalog(class_folders(place, data_labels="benign,malignant"))
    assert (catalog.task, catalog.task_reason) == ("multilabel", "there are images with none of the labels: 6")


def test_build_catalog_unrequested_class_is_refused_with_its_count(place: str) -> None:
    settings = class_folders(place, data_labels="benign,malignant", data_task="multiclass")
    with pytest.raises(ValueError, match=r"got 6 with none \(No Finding: 6\): add the classes of the others to"):
        task.build_catalog(settings)


@pytest.mark.parametrize("normal", ["normal", "No Finding"])
def test_build_catalog_normal_images_can_be_a_class(normal: str, place: str) -> None:
    """Fails if the label `No Finding` contradicts itself, or cannot be requested."""
    settings = class_folders(place, data_labels=f"benign,malignant,{normal}", data_task="multiclass")
    catalog = task.build_catalog(settings)
    assert catalog.labels == ("benign", "malignant", normal)
    assert one_hot(catalog).sum(axis=0).tolist() == [6.0, 6.0, 6.0]


@pytest.mark.parametrize("data_task", ["auto", "multiclass"])
def test_build_catalog_unknown_word_excludes_image(data_task: str, place: str) -> None:
    cells = ["benign", "malignant", "normal", "todo"]
    catalog = task.build_catalog(table(place, cells, data_labels="benign,malignant,normal", data_task=data_task))
    assert catalog.task == "multiclass"
    assert catalog.excluded["reason"].tolist() == ["all requested labels unknown"] * 3
    assert np.isfinite(one_hot(catalog)).all()


def test_build_catalog_multiclass_completes_cells_with_an_unknown_word(place: str) -> None:
    """The cell `benign|todo` leaves the other classes open, which exclusive classes cannot be."""
    cells = ["benign|todo", "malignant", "normal"]
    settings = table(place, cells, data_labels="benign,malignant,normal")
    assert task.build_catalog(settings).task == "multilabel"
    catalog = task.build_catalog(dataclasses.replace(settings, data_task="multiclass"))
    assert one_hot(catalog).sum(axis=1).tolist() == [1.0] * 9


def test_build_catalog_several_classes_are_refused_with_labels(place: str) -> None:
    settings = table(place, ["benign", "malignant|normal"], data_labels="benign,malignant,normal")
    assert task.build_catalog(settings).task == "multilabel"
    with pytest.raises(ValueError, match=r"got 3 with several \(malignant and normal: 3\): set data_task=multilabel"):
        task.build_catalog(dataclasses.replace(settings, data_task="multiclass"))


def test_build_catalog_class_that_readers_disagree_about_is_unknown(place: str) -> None:
    """Fails if three readers with three opinions leave an image without a class, which would be refused."""
    names = {split: [f"{split}-{number}.png" for number in range(4)] for split in SPLITS}
    votes = [("benign", "benign", "normal"), ("malignant",) * 3, ("normal",) * 3, CLASSES]
    rows = [
        f"{name},{name},{cell},{split},reader {reader}"
        for split in SPLITS
        for name, cells in zip(names[split], votes, strict=True)
        for reader, cell in enumerate(cells)
    ]
    files = {
        name: encode(noise(40, seed)) for seed, name in enumerate(name for each in names.values() for name in each)
    }
    files["labels.csv"] = "\n".join(["image,patient,label,split,rad_id", *rows]).encode()
    put(files, place)
    settings = Ingest(
        data_format="table",
        data_source=f"{place}/labels.csv",
        data_labels=",".join(CLASSES),
        data_readers="majority",
        data_task="multiclass",
    )
    catalog = task.build_catalog(settings)
    assert one_hot(catalog).sum(axis=0).tolist() == [3.0, 3.0, 3.0]
    assert catalog.excluded["reason"].tolist().count("all requested labels unknown") == 3
    with pytest.raises(ValueError, match=r"got 6 with several \(benign and normal: 6\)"):
        task.build_catalog(dataclasses.replace(settings, data_readers="any"))


def test_build_catalog_class_without_training_images_raises(place: str) -> None:
    settings = class_folders(place)
    for image in Path(place, "train", "benign").iterdir():
        image.unlink()
    with pytest.raises(ValueError, match="training must hold images of every class, and has none of benign"):
        task.build_catalog(settings)
    assert task.build_catalog(dataclasses.replace(settings, data_task="multilabel")).task == "multilabel"


def test_build_catalog_medmnist_class_numbers_are_exclusive(place: str) -> None:
    labels = {"train": [0, 1, 2, 0, 1, 2], "val": [0, 1, 2], "test": [2, 1, 0]}
    put({"three.npz": packed(**medmnist_arrays(labels=labels))}, place)
    settings = Ingest(data_format="medmnist", data_source=f"{place}/three.npz", data_labels="adipose,mucus,tumor")
    catalog = task.build_catalog(settings)
    assert catalog.task == "multiclass"
    assert one_hot(catalog).sum(axis=0).tolist() == [4.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"data_task": "multiclass"},
            "data_task=multiclass needs at least two classes in data_labels, got 'Pneumonia'",
        ),
        ({"data_task": "binary", "data_labels": "a,b"}, "data_task=binary needs one label in data_labels, got 2: name"),
        ({"data_task": "numbers"}, "data_task must be one of auto, multilabel, multiclass, binary, regression"),
    ],
)
def test_ingest_task_that_does_not_suit_labels_raises(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ingest(data_source="/data", **values)  # type: ignore[arg-type]
