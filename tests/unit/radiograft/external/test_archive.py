"""Reading another archive: labels in common, renamed findings, and images that the version has seen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from radiograft.config import Ingest
from radiograft.external.archive import (
    NOT_IN_TEST,
    OTHER_CLASS,
    SEEN,
    SEEN_PATIENT,
    Archive,
    SeenImages,
    names_to_read,
    parse_renamed,
    read_archive,
    rename_findings,
)
from tests.helpers.nih_source import TEST, nih_files, put

UNKNOWN = float("nan")
NOTHING = SeenImages(pd.DataFrame({"patient_id": [], "md5": []}, dtype="string"), "elsewhere")


@pytest.fixture
def source(tmp_path: Path) -> str:
    return put(nih_files(), str(tmp_path / "nih"))


def read(source: str, *labels: str, seen: SeenImages = NOTHING, official_test: bool = False) -> Archive:
    settings = Ingest(data_source=source, data_labels=",".join(labels))
    return read_archive(settings, labels, {}, seen, official_test=official_test)


def test_read_archive_all_images_of_every_split_are_test_images(source: str) -> None:
    archive = read(source, "Pneumonia", "Hernia")
    assert len(archive.rows) == 8
    assert set(archive.rows["split"]) == {"test"}
    assert archive.labels["common"] == ["Pneumonia"]
    assert archive.labels["version_only"] == ["Hernia"]
    assert archive.labels["archive_only"] == ["Effusion", "Mass"]
    assert archive.rows["label:Pneumonia"].sum() == 3


def test_read_archive_official_test_keeps_test_list_and_counts_others(source: str) -> None:
    archive = read(source, "Pneumonia", official_test=True)
    assert sorted(archive.rows["image_id"]) == sorted(TEST)
    assert archive.excluded["reason"].eq(NOT_IN_TEST).sum() == 6


def test_read_archive_official_test_without_test_split_raises(tmp_path: Path) -> None:
    table = "image,Pneumonia\na.png,1\nb.png,0\n"
    put({"table.csv": table.encode(), "a.png": b"a", "b.png": b"b"}, str(tmp_path))
    settings = Ingest(data_format="table", data_source=str(tmp_path / "table.csv"))
    with pytest.raises(ValueError, match="must have an official test split, got none: leave out --official-test"):
        read_archive(settings, ["Pneumonia"], {}, NOTHING, official_test=True)


def test_read_archive_seen_image_and_its_patient_are_left_out_and_counted(source: str) -> None:
    md5 = read(source, "Pneumonia").rows.set_index("image_id")["md5"]
    seen = SeenImages(pd.DataFrame({"patient_id": ["x"], "md5": [md5["00000001_000.png"]]}), "elsewhere")
    archive = read(source, "Pneumonia", seen=seen)
    assert archive.overlap == {"seen_images": 1, "other_images_of_seen_patients": 1}
    assert not archive.rows["image_id"].str.startswith("00000001").any()
    reasons = archive.excluded.set_index("image_id")["reason"]
    assert reasons["00000001_000.png"] == SEEN
    assert reasons["00000001_001.png"] == SEEN_PATIENT


@pytest.mark.parametrize(("place", "left"), [("same", 6), ("elsewhere", 8)])
def test_read_archive_equal_patient_id_counts_in_the_same_source_only(source: str, place: str, left: int) -> None:
    images = pd.DataFrame({"patient_id": ["1"], "md5": ["0" * 32]})
    archive = read(source, "Pneumonia", seen=SeenImages(images, source if place == "same" else place))
    assert len(archive.rows) == left


def test_read_archive_nothing_left_raises(source: str) -> None:
    rows = read(source, "Pneumonia").rows
    seen = SeenImages(rows[["patient_id", "md5"]], "elsewhere")
    with pytest.raises(ValueError, match="must hold usable images that the version has not seen, got none: 8 seen"):
        read(source, "Pneumonia", seen=seen)


def test_read_archive_no_common_label_raises(source: str) -> None:
    with pytest.raises(ValueError, match=r"version, which predicts Hernia, got Effusion, Mass, Pneumonia: name pairs"):
        read(source, "Hernia")


def test_rename_findings_several_for_one_label_is_their_union() -> None:
    findings = pd.DataFrame(
        {"viral": [1.0, 0.0, UNKNOWN, UNKNOWN], "bacterial": [0.0, 0.0, 1.0, 0.0], "Mass": [0.0, 1.0, 0.0, 1.0]}
    )
    renamed = rename_findings(findings, {"viral": "Pneumonia", "bacterial": "Pneumonia"})
    assert list(renamed) == ["Mass", "Pneumonia"]
    assert renamed["Pneumonia"].tolist()[:3] == [1.0, 0.0, 1.0]
    assert pd.isna(renamed["Pneumonia"][3])


def test_rename_findings_label_of_the_archive_may_be_part_of_the_union() -> None:
    findings = pd.DataFrame({"viral": [1.0, 0.0], "Pneumonia": [0.0, 1.0]})
    renamed = rename_findings(findings, {"viral": "Pneumonia", "Pneumonia": "Pneumonia"})
    assert renamed["Pneumonia"].tolist() == [1.0, 1.0]


def test_rename_findings_unknown_finding_raises() -> None:
    with pytest.raises(ValueError, match="labels must rename findings of the archive, which lacks virus"):
        rename_findings(pd.DataFrame({"viral": [1.0]}), {"virus": "Pneumonia"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("viral", r"labels must name each finding of the archive once as THEIRS=OURS,..., got 'viral'"),
        ("a=Mass,a=Edema", r"labels must name each finding of the archive once"),
        ("viral=Mas", r"labels must rename findings to labels of the version, Mass, Edema, got 'Mas'; did you mean"),
    ],
)
def test_parse_renamed_invalid_text_raises(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_renamed(text, ["Mass", "Edema"])


def test_names_to_read_replaces_renamed_labels() -> None:
    assert names_to_read(["Mass", "Edema"], {"wet, lung": "Edema"}) == '"wet, lung",Mass'
    assert names_to_read(["Mass", "Edema"], {}) == "Mass,Edema"


def read_classes(place: Path, table: str, labels: list[str], renamed: dict[str, str] | None = None) -> Archive:
    """Reads a table of images as exclusive classes."""
    names = [line.split(",")[0] for line in table.splitlines()[1:]]
    put({"table.csv": table.encode(), **{name: name.encode() for name in names}}, str(place))
    settings = Ingest(
        data_format="table",
        data_source=str(place / "table.csv"),
        data_table="image=image,label=class",
        data_labels=names_to_read(labels, renamed or {}),
        data_task="multiclass",
    )
    return read_archive(settings, labels, renamed or {}, NOTHING, official_test=False)


def test_read_archive_exclusive_classes_image_of_other_class_is_left_out_and_counted(tmp_path: Path) -> None:
    archive = read_classes(
        tmp_path, "image,class\na.png,nevus\nb.png,melanoma\nc.png,wart\nd.png,wart\n", ["melanoma", "nevus"]
    )
    assert archive.rows["image_id"].tolist() == ["a.png", "b.png"]
    assert archive.rows["label:melanoma"].tolist() == [0.0, 1.0]
    assert archive.rows["label:nevus"].tolist() == [1.0, 0.0]
    assert archive.labels["archive_only"] == ["wart"]
    assert archive.excluded.set_index("image_id")["reason"].to_dict() == {"c.png": OTHER_CLASS, "d.png": OTHER_CLASS}


def test_read_archive_exclusive_class_without_images_stays_a_column_of_zeros(tmp_path: Path) -> None:
    archive = read_classes(tmp_path, "image,class\na.png,nevus\nb.png,melanoma\n", ["melanoma", "keratosis", "nevus"])
    assert archive.labels["common"] == ["melanoma", "nevus"]
    assert archive.labels["version_only"] == ["keratosis"]
    assert archive.rows["label:keratosis"].tolist() == [0.0, 0.0]


def test_read_archive_several_findings_of_one_exclusive_class_are_merged(tmp_path: Path) -> None:
    renamed = {"junctional": "nevus", "dermal": "nevus"}
    table = "image,class\na.png,junctional\nb.png,dermal\nc.png,melanoma\n"
    archive = read_classes(tmp_path, table, ["melanoma", "nevus"], renamed)
    assert archive.rows["label:nevus"].tolist() == [1.0, 1.0, 0.0]


def test_read_archive_no_finding_may_be_an_exclusive_class(tmp_path: Path) -> None:
    archive = read_classes(tmp_path, "image,class\na.png,No Finding\nb.png,Pneumonia\n", ["No Finding", "Pneumonia"])
    assert archive.labels["common"] == ["No Finding", "Pneumonia"]
    assert archive.rows["label:No Finding"].tolist() == [1.0, 0.0]


def test_read_archive_image_of_several_exclusive_classes_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must have exclusive classes, as the version has, got 1 images of several"):
        read_classes(
            tmp_path, "image,class\na.png,nevus\nb.png,melanoma|nevus\nc.png,melanoma\n", ["melanoma", "nevus"]
        )
