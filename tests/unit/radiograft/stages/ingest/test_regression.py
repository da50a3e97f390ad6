"""Ingest reads numbers from a table as targets, and refuses what has no meaning for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radiograft.config import Ingest, validate_settings
from radiograft.config.resolution import resolve_form
from radiograft.data.catalog import Catalog
from radiograft.stages.ingest import task
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put

SPLITS = ("train", "validation", "test")


def table(place: Path, cells: dict[str, list[str]], **settings: Any) -> Ingest:
    """A table with these columns and a row for each image; a third of the images is in each split."""
    count = len(next(iter(cells.values())))
    images = [f"{number}.png" for number in range(count)]
    splits = [SPLITS[number * 3 // count] for number in range(count)]
    lines = [
        ",".join([image, image, split, *values])
        for image, split, values in zip(images, splits, zip(*cells.values(), strict=True), strict=True)
    ]
    files = {image: encode(noise(40, number)) for number, image in enumerate(images)}
    header = ",".join(["image", "patient", "split", *cells])
    put({**files, "labels.csv": "\n".join([header, *lines]).encode()}, str(place))
    values = {"data_labels": next(iter(cells)), "data_task": "regression", **settings}
    return Ingest(data_format="table", data_source=f"{place}/labels.csv", **values)


def numbers(catalog: Catalog) -> np.ndarray:
    return catalog.rows.sort_values("image_id")[[f"label:{label}" for label in catalog.labels]].to_numpy()


AGES = ["31", "45.5", "n/a", "60", "0.5", "", "1e2", "-3", "7"]


def test_build_catalog_reads_numbers_and_leaves_unknown_ones_out(tmp_path: Path) -> None:
    """Fails if 0.5 is read as the mark of an unknown label, or a number as present or absent."""
    catalog = task.build_catalog(table(tmp_path, {"Age": AGES}, data_labels="age"))
    assert numbers(catalog)[:, 0].tolist() == [31.0, 45.5, 60.0, 0.5, 100.0, -3.0, 7.0]
    assert (catalog.task, catalog.labels) == ("regression", ("age",))
    assert catalog.excluded["reason"].tolist() == ["all requested labels unknown"] * 2
    train = catalog.summary()["splits"]["train"]
    assert train["positives"] == {}
    assert train["targets"]["age"] == {
        "known": 2, "unknown": 0, "patients": 2, "mean": 38.25, "deviation": 7.25, "median": 38.25, "low": 31.0,
        "high": 45.5,
    }  # fmt: skip


def test_build_catalog_keeps_images_with_one_of_several_targets(tmp_path: Path) -> None:
    cells = {"age": AGES, "length": ["1", "2", "3", "4", "5", "6", "7", "8", ""]}
    catalog = task.build_catalog(table(tmp_path, cells, data_labels="age,length"))
    assert len(catalog.rows) == 9
    assert np.isnan(numbers(catalog)).sum(axis=0).tolist() == [2, 1]


def test_catalog_of_numbers_is_written_and_read(tmp_path: Path) -> None:
    settings = table(tmp_path / "data", {"age": [str(number) for number in range(9)]})
    catalog = task.run(settings, tmp_path / "catalog")
    again = Catalog.read(tmp_path / "catalog")
    assert again.fingerprint() == catalog.fingerprint()
    changed = table(tmp_path / "other", {"age": [str(number) for number in range(8)] + ["8.5"]})
    assert task.build_catalog(changed).fingerprint() != catalog.fingerprint()


@pytest.mark.parametrize(
    ("rule", "expected"), [("unanimous", [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), ("mean", [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])]
)
def test_build_catalog_several_readings_agree_or_are_averaged(tmp_path: Path, rule: str, expected: list[float]) -> None:
    cells = ["1", "2", "2", "2", "3", "4", "5", "6", "7"]
    rows = ["0.png", "0.png", "1.png", "1.png", *(f"{number}.png" for number in range(2, 7))]
    lines = [f"{image},{image},{cell},{SPLITS[int(image[0]) % 3]}" for image, cell in zip(rows, cells, strict=True)]
    files = {image: encode(noise(40, int(image[0]))) for image in rows}
    put({**files, "labels.csv": "\n".join(["image,patient,age,split", *lines]).encode()}, str(tmp_path))
    settings = Ingest(
        data_format="table", data_source=f"{tmp_path}/labels.csv", data_labels="age", data_task="regression",
        data_readers=rule,
    )  # fmt: skip
    assert sorted(numbers(task.build_catalog(settings))[:, 0]) == expected


def test_build_catalog_equal_images_with_different_numbers_are_excluded(tmp_path: Path) -> None:
    """Fails if classes are compared: both numbers count as present."""
    settings = table(tmp_path, {"age": ["31", "45", "50", "51", "60", "61", "70", "71", "72", "73", "74", "75"]})
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes())
    catalog = task.build_catalog(settings)
    assert catalog.excluded["reason"].tolist() == ["equal images with different labels"] * 2
    assert len(catalog.rows) == 10


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["tall", *AGES[1:]], "age must hold numbers or words for unknown .* got 1 other texts in 1 cells"),
        (["inf", *AGES[1:]], "got 1 other texts"),
        (["5"] * 9, "every target must have at least two different values in training"),
    ],
)
def test_build_catalog_refuses_what_is_no_varying_number(tmp_path: Path, cells: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        task.build_catalog(table(tmp_path, {"age": cells}))
    assert "tall" not in str(raised.value)


def test_build_catalog_unknown_target_names_the_columns(tmp_path: Path) -> None:
    message = r"data_labels must name columns of labels\.csv .*, got 'agee'; .* did you mean 'age'"
    with pytest.raises(ValueError, match=message):
        task.build_catalog(table(tmp_path, {"age": AGES}, data_labels="agee"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_format": "folders"}, "data_format must be table with data_task=regression, got 'folders'"),
        ({"data_labels": "all"}, "data_labels must be names of columns with data_task=regression, got 'all'"),
        ({"data_readers": "majority"}, "data_readers must be unanimous or mean with data_task=regression"),
        ({"data_negatives": "no_finding"}, "data_negatives must be rest with data_task=regression"),
        ({"data_table": "label=age"}, "data_table's label must be label with data_task=regression, got 'age'"),
        ({"data_table": "uncertain=ones"}, "data_table's uncertain must be ignore with data_task=regression"),
        ({"gate_min_auroc": "0.7"}, "gate_min_auroc must be 0.5 with data_task=regression, got '0.7': set gate_min_r2"),
    ],
)
def test_ingest_settings_without_meaning_for_numbers_are_refused(changes: dict[str, Any], message: str) -> None:
    valid = Ingest(data_format="table", data_source="/data/labels.csv", data_labels="age", data_task="regression")
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(valid, **changes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("train_recipe=label_smoothing=0.1", "train_recipe's label_smoothing must keep its default 0.0 .*, got 0.1"),
        ("train_recipe=loss_weights=balanced", "train_recipe's loss_weights .* no classes to balance"),
        ("evaluate_operating_point=sensitivity=0.9", "evaluate_operating_point .* a number has no threshold"),
        ("evaluate_ordered_classes=true", "evaluate_ordered_classes must keep its default False"),
        ("gate_external=covid=0.7", "gate_external must keep its default ''"),
        ("model_feature_reduction=pca,lda", "model_feature_reduction must be pca or pls .*: LDA separates classes"),
    ],
)
def test_resolve_form_refuses_settings_of_other_stages(overrides: str, message: str) -> None:
    form = {
        "settings": "", "overrides": f"data_task=regression, {overrides}", "data_source": "/d/t.csv",
        "data_format": "table", "data_labels": "age", "publish_registry": "/r", "publish_model_name": "",
        "model_backbone": "", "model_weights": "", "model_cut_off": "", "image_size": "",
        "train_fine_tune_epochs": "", "train_batch_size": "", "train_seed": "",
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        resolve_form(form, "transfer_learning")


def test_validate_settings_refuses_a_comparison_of_backbones() -> None:
    values = {
        "data_source": "/d/t.csv", "data_format": "table", "data_labels": "age", "data_task": "regression",
        "publish_registry": "/r", "compare_backbones": "densenet121,resnet50",
    }  # fmt: skip
    with pytest.raises(ValueError, match="compare_backbones must keep its default ''"):
        validate_settings(values)
    assert validate_settings(values | {"compare_backbones": ""})["gate_min_r2"] == 0.0
