"""The DICOM reader: which files are radiographs, their tags, and findings from a table or from folders."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft.config.table_layout import TableLayout
from radiograft.data.file_counts import FileCounts, count_files
from radiograft.data.sources import dicom
from radiograft.data.sources.base import NO_PATIENTS, Source
from tests.helpers.dicom_files import dicom_file
from tests.helpers.nih_source import put


def image(number: int, **tags: object) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 4096, (6, 5), dtype=np.uint16)
    return dicom_file(pixels, 12, **{"SOPInstanceUID": f"1.2.{number}", "PatientID": f"p{number}", **tags})


FILES = {
    "study/a.dcm": image(1, PatientID="p1", PatientSex="F", PatientAge="058Y", ViewPosition="PA"),
    "study/b": image(2, PatientID="p1", PatientAge="011M"),
    "study/c.dcm": image(3, PatientAge="002W", ViewPosition="LL"),
    "scan.dcm": image(4, Modality="CT"),
    "frames.dcm": image(5, NumberOfFrames=2),
    "shown.dcm": image(6, BurnedInAnnotation="YES"),
    "README.txt": b"not a DICOM file",
    "noise.bin": b"not a DICOM file",
    "Thumbs.db": b"",
    "DICOMDIR": b"",
}
TABLE = "image,Mass\n{},1\n{},0\n{},-1\n"


def read(place: str, files: dict[str, bytes] | None = None, **options: bool) -> Source:
    layout = TableLayout(views="all")
    return dicom.read(put(files or FILES, place), layout, **{"refuse_burned_in": True, **options})


def with_table(*names: str) -> dict[str, bytes]:
    return FILES | {"labels.csv": TABLE.format(*names).encode()}


def test_read_returns_tags_and_excludes_others_with_reason(place: str) -> None:
    source = read(place, with_table("study/a.dcm", "study/b", "study/c.dcm"))
    facts = source.rows[["image_id", "uri", "patient_id", "view", "sex", "age"]].astype(object).fillna("-")
    assert facts.to_numpy().tolist() == [
        ["study/a.dcm", f"{place}/study/a.dcm", "p1", "PA", "F", 58.0],
        ["study/b", f"{place}/study/b", "p1", "-", "-", pytest.approx(11 / 12)],
        ["study/c.dcm", f"{place}/study/c.dcm", "p3", "LL", "-", pytest.approx(14 / 365.25)],
    ]
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]
    assert dict(source.excluded.to_numpy().tolist()) == {
        "scan.dcm": "modality CT is not a radiograph (CR, DX, RG)",
        "frames.dcm": "DICOM file with several frames",
        "shown.dcm": "patient identity burned into the pixels",
        "noise.bin": "not a DICOM file",
        "DICOMDIR": "not a DICOM file",
    }
    ignored = {"Thumbs.db": 1}
    assert source.files == FileCounts(total=len(FILES) + 1, documents=2, archives=0, ignored=ignored)
    tags = ["patient_id", "view", "sex", "age", "manufacturer", "laterality", "study_id"]
    assert list(source.rows) == ["official", "image_id", "uri", "bytes", "md5", *tags]


@pytest.mark.parametrize(
    "names",
    [("1.2.1", "1.2.2", "1.2.3"), ("a.dcm", "b", "c.dcm"), ("a", "b", "c")],
    ids=["SOPInstanceUID", "file name", "name without suffix"],
)
def test_read_table_matches_images_by_uid_or_name(tmp_path: str, names: tuple[str, str, str]) -> None:
    source = read(f"{tmp_path}/dicom", with_table(*names))
    assert source.rows["image_id"].tolist() == list(names)
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("name", ["LABELS.CSV", "LABELS.CSV.GZ", "LABELS.CSV.ZIP", "Labels.Parquet"])
def test_read_table_with_uppercase_suffix_is_read(tmp_path: str, name: str) -> None:
    """Fails if the table is read as an image, or a packed table as text."""
    cells = {"image": ["study/a.dcm", "study/b", "study/c.dcm"], "Mass": ["1", "0", "-1"]}
    text, parquet, zipped = TABLE.format(*cells["image"]).encode(), io.BytesIO(), io.BytesIO()
    pd.DataFrame(cells).to_parquet(parquet)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("LABELS.CSV", text)
    packed = {"V": text, "Z": gzip.compress(text), "P": zipped.getvalue(), "t": parquet.getvalue()}
    source = read(f"{tmp_path}/dicom", FILES | {name: packed[name[-1]]})
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]
    assert name not in source.excluded["image_id"].tolist()


def test_read_named_column_overrides_tag(tmp_path: str) -> None:
    """Fails if data_table is ignored: one patient with three ids could be in three splits."""
    table = b"image,pid,Mass,sex\na,p7,1,M\nb,p7,0,M\nc,p8,0,M\n"
    layout = TableLayout(patient="pid", views="all")
    source = dicom.read(put(FILES | {"labels.csv": table}, f"{tmp_path}/dicom"), layout, refuse_burned_in=True)
    assert source.rows["patient_id"].tolist() == ["p7", "p7", "p8"]
    assert source.rows["sex"].fillna("-").tolist() == ["F", "-", "-"]


def test_read_burned_in_image_kept_without_deidentification(tmp_path: str) -> None:
    files = with_table("study/a.dcm", "study/b", "shown.dcm")
    assert "shown.dcm" in read(f"{tmp_path}/dicom", files, refuse_burned_in=False).rows["image_id"].tolist()


def test_read_named_table_elsewhere_is_used(tmp_path: Path) -> None:
    """Fails if a table that was named is ignored for the one beside the files."""
    other = put({"more.csv": TABLE.format("1.2.1", "1.2.2", "1.2.3").encode()}, f"{tmp_path}/elsewhere")
    place = put(with_table("x", "y", "z"), f"{tmp_path}/dicom")
    layout = TableLayout(views="all")
    source = dicom.read(place, layout, table_uri=f"{other}/more.csv", refuse_burned_in=True)
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        dicom.read(place, layout, table_uri=f"{other}/none.csv", refuse_burned_in=True)


def test_read_pacs_without_table_raises() -> None:
    with pytest.raises(ValueError, match=r"^data_table_file must name the table of labels, since a dicomweb:// source"):
        dicom.read("dicomweb://pacs.invalid/x", TableLayout(), refuse_burned_in=True)


def test_read_age_without_letter_is_years_and_laterality_is_a_column(tmp_path: Path) -> None:
    """RSNA's and other archives write `51` where the standard has `051Y`."""
    files = {
        "a": image(1, PatientAge="51", ImageLaterality="R"),
        "b": image(2, PatientAge="151", Laterality="L"),
        "c": image(3, PatientAge="51 years"),
    }
    rows = read(f"{tmp_path}/ages", files | {"labels.csv": TABLE.format(*files).encode()}).rows
    assert rows[["age", "laterality"]].astype(object).fillna("-").to_numpy().tolist() == [
        [51.0, "R"],
        ["-", "L"],
        ["-", "-"],
    ]


def test_read_without_table_uses_folders_as_findings(tmp_path: str) -> None:
    files = {
        "normal/x/1": image(1),
        "Mass/2.dcm": image(2),
        "stray.dcm": image(3),
        "Mass/4": image(4, Modality="US"),
    }
    source = read(f"{tmp_path}/dicom", files)
    assert source.rows["image_id"].tolist() == ["Mass/2.dcm", "normal/x/1"]
    assert source.findings.to_dict("list") == {"Mass": [1.0, 0.0], "No Finding": [0.0, 1.0]}
    assert source.excluded.to_numpy().tolist() == [
        ["Mass/4", "modality US is not a radiograph (CR, DX, RG)"],
        ["stray.dcm", "image outside the class folders"],
    ]


def test_read_without_patient_ids_counts_each_image_as_patient(tmp_path: str) -> None:
    files = {"normal/1": image(1, PatientID=""), "Mass/2": image(2, PatientID="")}
    source = read(f"{tmp_path}/dicom", files)
    assert source.rows["patient_id"].tolist() == ["Mass/2", "normal/1"]
    assert source.notes == (NO_PATIENTS,)


def test_read_two_tables_raises(tmp_path: str) -> None:
    content = io.BytesIO()
    pd.DataFrame({"image": ["a"]}).to_parquet(content)
    files = with_table("a", "b", "c") | {"more.parquet": content.getvalue()}
    with pytest.raises(ValueError, match=r"must contain at most one table, got labels\.csv, more\.parquet"):
        read(f"{tmp_path}/dicom", files)


def test_read_table_of_other_images_raises(tmp_path: str) -> None:
    with pytest.raises(ValueError, match=r"labels\.csv must name images .* none of its 3 rows names one of the 3 imag"):
        read(f"{tmp_path}/dicom", with_table("x", "y", "z"))


def labels_of(*names: str) -> bytes:
    return "\n".join(["image,Mass", *(f"{name},{number % 2}" for number, name in enumerate(names))]).encode()


def test_read_other_body_part_is_set_aside(tmp_path: str) -> None:
    """Fails if a hand in a set of chests is learned as a chest without a finding."""
    files = {f"{number}.dcm": image(number, BodyPartExamined="CHEST") for number in range(18)}
    files |= {"18.dcm": image(18, BodyPartExamined="HAND"), "19.dcm": image(19)}
    files |= {"20.dcm": image(20, BodyPartExamined="free text")}
    source = read(f"{tmp_path}/chests", files | {"t.csv": labels_of(*files)})
    assert source.excluded.to_numpy().tolist() == [["18.dcm", "another body part than that of the dataset"]]
    assert len(source.rows) == 20


def test_read_dataset_of_several_body_parts_keeps_all(tmp_path: str) -> None:
    parts = ["HAND", "HAND", "HAND", "FOOT"]
    files = {f"{number}.dcm": image(number, BodyPartExamined=part) for number, part in enumerate(parts)}
    assert len(read(f"{tmp_path}/limbs", files | {"t.csv": labels_of(*files)}).rows) == 4


@pytest.mark.parametrize(("intents", "used"), [(["PRESENTATION", "PROCESSING"], 1), (["PROCESSING", "PROCESSING"], 2)])
def test_read_raw_values_beside_presentation_are_set_aside(intents: list[str], used: int, tmp_path: str) -> None:
    """Fails if each exposure is learned twice, once as raw detector values."""
    files = {f"{n}.dcm": image(n, PresentationIntentType=f"FOR {intent}") for n, intent in enumerate(intents)}
    source = read(f"{tmp_path}/dx", files | {"t.csv": labels_of(*files)})
    assert len(source.rows) == used
    assert source.excluded["reason"].tolist() == ["raw detector image, for processing"] * (2 - used)


def test_read_row_of_unusable_file_is_counted_once_as_file(tmp_path: str) -> None:
    files = {"a.dcm": image(1), "b.dcm": image(2), "ct.dcm": image(3, Modality="CT"), "text.dcm": b"no DICOM file"}
    source = read(f"{tmp_path}/once", files | {"t.csv": labels_of(*files, "gone.dcm")})
    assert sorted(source.excluded.to_numpy().tolist()) == [
        ["ct.dcm", "modality CT is not a radiograph (CR, DX, RG)"],
        ["gone.dcm", "row without an image"],
        ["text.dcm", "not a DICOM file"],
    ]
    assert source.files is not None
    assert count_files(source.files, len(source.rows), source.excluded) == {
        "total": 5, "documents": 1, "archives": 0, "ignored": {}, "used": 2, "set_aside": 2,
    }  # fmt: skip
