"""Small imitations of PadChest, MIMIC-CXR-JPG, VinDr-CXR and RSNA, and the tables that torchxrayvision ships."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft.config.table_layout import TableLayout
from radiograft.data.catalog import BOX_COLUMNS, no_boxes
from radiograft.data.sources import archives, label_cells
from radiograft.data.sources.base import Source
from radiograft.data.sources.boxes import without_refuted_boxes
from radiograft.data.sources.table import parse_rows
from tests.helpers.dicom_files import dicom_file
from tests.helpers.nih_source import put

PADCHEST = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
PADCHEST_ROWS = """,ImageID,ImageDir,StudyDate_DICOM,PatientID,PatientBirth,PatientSex_DICOM,Projection,Report,Labels
0,a_1.png,0,20140915,p1,1930.0,F,PA,sin hallazg,['normal']
1,a_2.png,0,20140915,p1,1930.0,F,L,x,"['pneumonia', ' pleural effusion']"
2,b_3.png,1,20150101,p2,nan,M,AP_horizontal,y,"['unchanged', 'pleural effusion']"
3,b_4.png,1,20150101,p3,2001.0,M,COSTAL,z,['']
"""
LABELS = "subject_id,study_id,Atelectasis,No Finding,Pneumonia"
MIMIC = {
    "mimic-cxr-2.0.0-chexpert.csv": f"{LABELS}\n10,50,1.0,,-1.0\n10,51,,1.0,\n",
    "mimic-cxr-2.0.0-split.csv": (
        "dicom_id,study_id,subject_id,split\nd1,50,10,train\nd2,51,10,validate\nd3,52,11,test\n"
    ),
    "mimic-cxr-2.0.0-metadata.csv": "dicom_id,subject_id,ViewPosition\nd1,10,PA\nd2,10,LATERAL\nd3,11,AP\n",
}
VINDR_TRAIN = """image_id,rad_id,Nodule/Mass,Pneumonia,No finding
t1,R1,0,1,0
t1,R2,0,1,0
t1,R3,0,1,0
t2,R1,0,0,1
"""
VINDR_TEST = "image_id,Nodule/Mass,Pneumonia,No finding\nt3,1,0,0\n"
RSNA = """patientId,x,y,width,height,Target
u1,256.0,128.0,512.0,256.0,1
u1,600.0,128.0,256.0,256.0,1
u2,,,,,0
u3,,,,,0
"""
RSNA_CLASSES = "patientId,class\nu1,Lung Opacity\nu1,Lung Opacity\nu2,Normal\nu3,No Lung Opacity / Not Normal\n"


def packed(tables: dict[str, str]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(text.encode()) for name, text in tables.items()}


def dicom_files(paths: dict[str, str], **tags: object) -> dict[str, bytes]:
    """DICOM files by path; the values are SOP instance UIDs."""
    pixels = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    return {
        path: dicom_file(pixels + number, SOPInstanceUID=uid, **tags)
        for number, (path, uid) in enumerate(paths.items())
    }


def read(folder: Path, archive: str, files: dict[str, bytes], *labels: str, uncertain: str = "ignore") -> Source:
    return archives.read(put(files, str(folder)), archive, TableLayout(uncertain=uncertain), labels)


def facts(source: Source, *columns: str) -> list[list[object]]:
    return source.rows[["image_id", *columns]].astype(object).fillna("-").to_numpy().tolist()


def truth(source: Source, finding: str) -> list[float | None]:
    return [None if math.isnan(value) else value for value in source.findings[finding]]


def test_read_padchest(tmp_path: Path) -> None:
    images = {f"{name[0] == 'b':d}/{name}.png": name.encode() for name in ("a_1", "a_2", "b_3", "b_4")}
    source = read(tmp_path, "padchest", packed({PADCHEST: PADCHEST_ROWS}) | images, "pneumonia")
    assert facts(source, "patient_id", "view", "age", "sex", "official") == [
        ["a_1.png", "p1", "PA", 84.0, "F", "-"],
        ["a_2.png", "p1", "L", 84.0, "F", "-"],
        ["b_3.png", "p2", "AP_HORIZONTAL", "-", "M", "-"],
        ["b_4.png", "p3", "COSTAL", 14.0, "M", "-"],
    ]
    assert truth(source, "pneumonia") == [0.0, 1.0, None, None]  # `unchanged` leaves the other labels open
    assert truth(source, "pleural effusion") == [0.0, 1.0, 1.0, None]
    assert truth(source, "No Finding") == [1.0, 0.0, None, None]


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("zeros", 0.0), ("ones", 1.0)])
def test_read_mimic(tmp_path: Path, uncertain: str, value: float | None) -> None:
    images = {"files/p10/p10/s50/d1.jpg": b"1", "files/p10/p10/s51/d2.jpg": b"2", "files/p11/p11/s52/d3.jpg": b"3"}
    source = read(tmp_path, "mimic", packed(MIMIC) | images, "Pneumonia", uncertain=uncertain)
    assert facts(source, "patient_id", "view", "official") == [
        ["d1", "10", "PA", "train"],
        ["d2", "10", "LATERAL", "validation"],
        ["d3", "11", "AP", "test"],
    ]
    assert truth(source, "Pneumonia") == [value, 0.0, None]  # the study of d3 has no report
    assert truth(source, "Atelectasis") == [1.0, 0.0, None]
    assert sorted(source.findings) == ["Atelectasis", "No Finding", "Pneumonia"]


def test_read_vindr_physionet_and_kaggle(tmp_path: Path) -> None:
    files = dicom_files({"train/t1.dicom": "1.1", "train/t2.dicom": "1.2", "test/t3.dicom": "1.3"}, PatientSex="F")
    tables = {"image_labels_train.csv": VINDR_TRAIN.encode(), "image_labels_test.csv": VINDR_TEST.encode()}
    source = read(
        tmp_path / "physionet", "vindr", files | {f"annotations/{n}": t for n, t in tables.items()}, "Pneumonia"
    )
    assert facts(source, "patient_id", "sex", "official") == [
        ["t1", "t1", "F", "train_val"],
        ["t2", "t2", "F", "train_val"],
        ["t3", "t3", "F", "test"],
    ]
    assert truth(source, "Pneumonia") == [1.0, 0.0, 0.0]
    rows = "t1,Nodule/Mass,8,R1,3\nt1,Nodule/Mass,8,R1,9\nt2,No finding,14,R2,\n"
    kaggle = f"image_id,class_name,class_id,rad_id,x_min\n{rows}"
    source = read(tmp_path / "kaggle", "vindr", files | {"train.csv": kaggle.encode()}, "Nodule/Mass")
    assert truth(source, "Nodule/Mass") == [1.0, 0.0]
    assert truth(source, "No Finding") == [0.0, 1.0]


BOXES_TRAIN = """image_id,rad_id,class_name,x_min,y_min,x_max,y_max
t1,R1,Pneumonia,8,16,24,32
t1,R2,Pneumonia,8,16,24,32
t1,R3,Pneumonia,4,16,24,40
t2,R1,No finding,,,,
t2,R1,Pneumonia,40,1,50,2
t9,R1,Pneumonia,1,1,2,2
"""
BOXES_TEST = "image_id,class_name,x_min,y_min,x_max,y_max\nt3,Nodule/Mass,0,0,16,8\n"


def vindr_tables() -> dict[str, bytes]:
    texts = {"image_labels_train": VINDR_TRAIN, "image_labels_test": VINDR_TEST}
    texts |= {"annotations_train": BOXES_TRAIN, "annotations_test": BOXES_TEST}
    return {f"annotations/{name}.csv": text.encode() for name, text in texts.items()}


def stray_boxes(source: Source) -> list[list[str]]:
    is_box = source.excluded["reason"].str.startswith("bounding box")
    return source.excluded[is_box].to_numpy().tolist()


def test_read_vindr_boxes_become_fractions_of_upright_image(tmp_path: Path) -> None:
    """Fails if a box is on the wrong side of an image that is turned, or an identical box counts once per reader."""
    files = dicom_files({"train/t1.dicom": "1.1", "train/t2.dicom": "1.2"})  # 32 x 32 pixels
    files |= dicom_files({"test/t3.dicom": "1.3"}, PatientOrientation=["R", "F"])
    source = read(tmp_path, "vindr", files | vindr_tables(), "Pneumonia", "Nodule/Mass")
    assert source.boxes.to_numpy().tolist() == [
        ["t1", "Pneumonia", 0.25, 0.5, 0.5, 0.5],
        ["t1", "Pneumonia", 0.125, 0.5, 0.625, 0.5],
        ["t3", "Nodule/Mass", 0.5, 0.0, 0.5, 0.25],
    ]
    assert stray_boxes(source) == [["t2", "bounding box outside its image"]]


def test_read_vindr_boxes_of_converted_images_are_excluded(tmp_path: Path) -> None:
    """The pixels of the boxes are those of the DICOM files; a converted image may have another size."""
    images = {f"png/{name}.png": name.encode() for name in ("t1", "t2", "t3")}
    source = read(tmp_path, "vindr", images | vindr_tables(), "Pneumonia")
    assert source.boxes.empty
    reason = "bounding box in pixels of a DICOM file that the dataset does not have"
    assert stray_boxes(source) == [[name, reason] for name in ("t1", "t1", "t1", "t2", "t3")]


def test_read_vindr_kaggle_boxes(tmp_path: Path) -> None:
    files = dicom_files({"train/t1.dicom": "1.1", "train/t2.dicom": "1.2"})
    rows = "t1,Nodule/Mass,8,R1,8,8,16,24\nt2,No finding,14,R2,,,,\n"
    table = f"image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n{rows}".encode()
    source = read(tmp_path, "vindr", files | {"train.csv": table}, "Nodule/Mass")
    assert source.boxes.to_numpy().tolist() == [["t1", "Nodule/Mass", 0.25, 0.25, 0.25, 0.5]]


def test_without_refuted_boxes_drops_those_of_absent_findings() -> None:
    """Fails if a box that one reader drew stays although the majority sees no finding."""
    rows = pd.DataFrame({"image_id": ["a", "b", "c"]}, dtype="string")
    findings = pd.DataFrame({"Mass": [1.0, 0.0, math.nan]})
    corners = [0.0, 0.0, 0.5, 0.5]
    names = [("a", "Mass"), ("b", "Mass"), ("c", "Mass"), ("b", "Nodule"), ("gone", "Mass")]
    drawn = pd.DataFrame([[*pair, *corners] for pair in names], columns=list(BOX_COLUMNS)).astype(BOX_COLUMNS)
    source = Source("", rows, findings, rows.iloc[:0], boxes=drawn)
    kept = without_refuted_boxes(source).boxes[["image_id", "finding"]].to_numpy().tolist()
    assert kept == [["a", "Mass"], ["c", "Mass"], ["b", "Nodule"], ["gone", "Mass"]]
    assert without_refuted_boxes(source._replace(boxes=no_boxes())).boxes.empty


def test_read_rsna(tmp_path: Path) -> None:
    paths = {f"stage_2_train_images/{name}.dcm": f"2.{number}" for number, name in enumerate(("u1", "u2", "u3"))}
    tables = {"stage_2_train_labels.csv": RSNA.encode(), "stage_2_detailed_class_info.csv": RSNA_CLASSES.encode()}
    files = dicom_files(paths, PatientSex="M", PatientAge="051Y", ViewPosition="PA") | tables
    source = read(tmp_path, "rsna", files, "Pneumonia")
    assert facts(source, "patient_id", "view", "age", "sex") == [
        [name, name, "PA", 51.0, "M"] for name in ("u1", "u2", "u3")
    ]
    assert (truth(source, "Pneumonia"), truth(source, "No Finding")) == ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    assert source.boxes.to_numpy().tolist() == [
        ["u1", "Pneumonia", 0.25, 0.125, 0.5, 0.25],
        ["u1", "Pneumonia", 0.5859375, 0.125, 0.25, 0.25],
    ]
    assert len(source.excluded) == 0


def test_read_missing_tables_and_columns_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"must contain mimic-cxr-\*-split\.csv \(plain, \.gz or \.zip\)"):
        read(tmp_path / "none", "mimic", {"mimic-cxr-2.0.0-chexpert.csv": LABELS.encode()})
    with pytest.raises(ValueError, match=r"stage_2_train_labels\.csv must have the columns .*; missing: width, Target"):
        read(tmp_path / "columns", "rsna", {"stage_2_train_labels.csv": b"patientId,x,y,height\n"})
    two = packed({f"{part}/{PADCHEST}": PADCHEST_ROWS for part in "ab"})
    with pytest.raises(ValueError, match=r"must contain one PADCHEST_chest_x_ray_images_labels\*\.csv, got 2"):
        read(tmp_path / "two", "padchest", two)


@pytest.fixture(scope="module")
def shipped() -> Path:
    """Folder `data` of an unpacked torchxrayvision 1.5.7."""
    folder = Path(os.environ.get("RADIOGRAFT_TORCHXRAYVISION", "/nowhere"))
    if not folder.is_dir():
        pytest.skip("RADIOGRAFT_TORCHXRAYVISION is not set to the folder torchxrayvision/data of the unpacked wheel")
    return folder


def test_padchest_full_table_has_published_counts(shipped: Path) -> None:
    name = f"{PADCHEST}.gz"
    files = {name: archives.storage.ObjectInfo(name, str(shipped / name), 0, "")}
    found = archives.read_padchest(files, "")
    parsed = parse_rows(found.table, found.columns, found.name, labels=["pneumonia"])
    assert (len(parsed.rows), parsed.rows["patient_id"].nunique()) == (160_861, 67_625)
    assert parsed.findings[["pneumonia", "No Finding", "atypical pneumonia"]].eq(1.0).sum().tolist() == [
        7_953,
        50_616,
        244,
    ]
    assert parsed.findings.shape[1] == 191  # 193 without `unchanged` and `exclude`
    assert parsed.findings["pneumonia"].eq(label_cells.UNKNOWN).sum() > 14_334 - 7_953


def test_vindr_full_table_has_published_counts(shipped: Path) -> None:
    table = pd.read_csv(shipped / "vinbigdata-train.csv.gz", dtype="string", keep_default_na=False)
    findings = label_cells.findings_from_text(table["class_name"], TableLayout(label="class_name"), ["Cardiomegaly"])
    assert findings[["Cardiomegaly", "No Finding", "Nodule/Mass"]].sum().tolist() == [5_427, 31_818, 2_580]


def test_rsna_full_table_has_published_counts(shipped: Path) -> None:
    name = "kaggle_stage_2_train_labels.csv.zip"
    files = {f"x/stage_2_train_labels.csv.zip": archives.storage.ObjectInfo("x", str(shipped / name), 0, "")}  # noqa: F541
    found = archives.read_rsna(files, "")
    assert (len(found.table), found.table["Pneumonia"].eq("1").sum(), len(found.boxes)) == (26_684, 6_012, 9_555)
