"""Drift monitoring reads unlabeled images, which ingest rejects."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiograft.config import Ingest
from radiograft.data.sources import readers
from tests.helpers.dicom_files import dicom_file


def png(folder: Path, name: str) -> None:
    content = io.BytesIO()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(content, "PNG")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.getvalue())


def settings(data_format: str, source: Path, table: str = "standard") -> Ingest:
    return Ingest(data_format=data_format, data_source=str(source), data_table=table)


def test_unlabeled_images_need_no_class_folders(tmp_path: Path) -> None:
    """Fails if drift uses ingest's reader, which requires two classes, or excludes images in the root folder."""
    for name in ("loose.png", "monday/one.png", "person7_virus_1.png", "person7_virus_2.png"):
        png(tmp_path, name)
    with pytest.raises(ValueError, match="one folder per class, for at least two classes"):
        readers.READERS["folders"](settings("folders", tmp_path))
    source = readers.UNLABELED_READERS["folders"](settings("folders", tmp_path))
    assert source.rows["patient_id"].tolist() == ["loose.png", "monday/one.png", "person7_virus", "person7_virus"]
    assert source.rows[["view", "sex", "age"]].isna().all(axis=None)
    assert source.notes == ("2 images have no patient id: each counts as its own patient",)


def test_unlabeled_dicom_needs_neither_table_nor_classes(tmp_path: Path) -> None:
    """Fails if drift uses ingest's reader, or ignores the tags."""
    for number, view in enumerate(("PA", "AP", "AP")):
        tags = {"PatientID": f"p{number // 2}", "ViewPosition": view, "PatientSex": "F", "PatientAge": "057Y"}
        content = dicom_file(np.zeros((32, 32), np.uint16), SOPInstanceUID=f"1.2.{number}", **tags)
        (tmp_path / f"{number}.dcm").write_bytes(content)
    (tmp_path / "notes").write_text("nothing")
    with pytest.raises(ValueError, match="one folder per class, for at least two classes"):
        readers.READERS["dicom"](settings("dicom", tmp_path))
    source = readers.UNLABELED_READERS["dicom"](settings("dicom", tmp_path))
    assert source.rows[["image_id", "patient_id", "view", "sex", "age"]].to_numpy().tolist() == [
        ["0.dcm", "p0", "PA", "F", 57.0],
        ["1.dcm", "p0", "AP", "F", 57.0],
        ["2.dcm", "p1", "AP", "F", 57.0],
    ]
    assert source.excluded["image_id"].tolist() == ["notes"]


@pytest.mark.parametrize("column", ["", ",words"])
def test_unlabeled_table_needs_no_findings(column: str, tmp_path: Path) -> None:
    """Fails if a table without findings is rejected, or if the label column of the run is required."""
    for name in ("a.png", "b.png"):
        png(tmp_path, name)
    lines = [f"file,person,view{column}", f"a.png,p1,PA{column and ',Mass'}", f"b.png,p1,AP{column and ','}"]
    (tmp_path / "new.csv").write_text("\n".join(lines))
    source = readers.UNLABELED_READERS["table"](
        settings("table", tmp_path / "new.csv", "image=file,patient=person,label=finding")
    )
    assert source.rows[["image_id", "patient_id", "view"]].to_numpy().tolist() == [
        ["a.png", "p1", "PA"],
        ["b.png", "p1", "AP"],
    ]
    (tmp_path / "new.csv").write_text("file,person\na.png,p1\n")
    with pytest.raises(ValueError, match="must have findings in a text column"):
        readers.READERS["table"](settings("table", tmp_path / "new.csv", "image=file,patient=person"))
