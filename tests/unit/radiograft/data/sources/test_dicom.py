"""A tree of DICOM files: what is a radiograph, whose it is, and where its findings are told."""

from __future__ import annotations

import gzip
import io
import zipfile

import numpy as np
import pandas as pd
import pytest

from radiograft.config.data import TableLayout
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
    "DICOMDIR": b"",
}
TABLE = "image,Mass\n{},1\n{},0\n{},-1\n"


def read(place: str, files: dict[str, bytes] | None = None, **options: bool) -> Source:
    layout = TableLayout(views="all")
    return dicom.read(put(files or FILES, place), layout, **{"refuse_burned_in": True, **options})


def with_table(*names: str) -> dict[str, bytes]:
    return FILES | {"labels.csv": TABLE.format(*names).encode()}


def test_radiographs_come_with_what_their_tags_say_and_others_with_the_reason(place: str) -> None:
    source = read(place, with_table("study/a.dcm", "study/b", "study/c.dcm"))
    facts = source.rows[["image_id", "uri", "patient_id", "view", "sex", "age"]].astype(object).fillna("-")
    assert facts.to_numpy().tolist() == [
        ["study/a.dcm", f"{place}/study/a.dcm", "p1", "PA", "F", 58.0],
        ["study/b", f"{place}/study/b", "p1", "-", "-", pytest.approx(11 / 12)],
        ["study/c.dcm", f"{place}/study/c.dcm", "p3", "LL", "-", pytest.approx(14 / 365.25)],
    ]
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]
    assert dict(source.excluded.to_numpy().tolist()) == {
        "scan.dcm": "modality CT is no radiograph (CR, DX, RG)",
        "frames.dcm": "DICOM file of several frames",
        "shown.dcm": "patient identity burned into the pixels",
        "README.txt": "no DICOM file",
        "DICOMDIR": "no DICOM file",
    }
    assert list(source.rows) == ["official", "image_id", "uri", "bytes", "md5", "patient_id", "view", "sex", "age"]


@pytest.mark.parametrize(
    "names",
    [("1.2.1", "1.2.2", "1.2.3"), ("a.dcm", "b", "c.dcm"), ("a", "b", "c")],
    ids=["SOPInstanceUID", "file name", "name without suffix"],
)
def test_a_table_names_images_in_any_of_these_ways(tmp_path: str, names: tuple[str, str, str]) -> None:
    source = read(f"{tmp_path}/dicom", with_table(*names))
    assert source.rows["image_id"].tolist() == list(names)
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]


@pytest.mark.parametrize("name", ["LABELS.CSV", "LABELS.CSV.GZ", "LABELS.CSV.ZIP", "Labels.Parquet"])
def test_a_tables_suffix_may_be_in_capitals(tmp_path: str, name: str) -> None:
    """Fails where the table is taken for an image, or a packed one for text."""
    cells = {"image": ["study/a.dcm", "study/b", "study/c.dcm"], "Mass": ["1", "0", "-1"]}
    text, parquet, zipped = TABLE.format(*cells["image"]).encode(), io.BytesIO(), io.BytesIO()
    pd.DataFrame(cells).to_parquet(parquet)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("LABELS.CSV", text)
    packed = {"V": text, "Z": gzip.compress(text), "P": zipped.getvalue(), "t": parquet.getvalue()}
    source = read(f"{tmp_path}/dicom", FILES | {name: packed[name[-1]]})
    assert source.findings["Mass"].fillna(-1).tolist() == [1.0, 0.0, -1.0]
    assert name not in source.excluded["image_id"].tolist()


def test_a_column_that_is_named_counts_and_not_the_tag(tmp_path: str) -> None:
    """Fails where what data_table says is ignored: one patient under three ids could be in three splits."""
    table = b"image,pid,Mass,sex\na,p7,1,M\nb,p7,0,M\nc,p8,0,M\n"
    layout = TableLayout(patient="pid", views="all")
    source = dicom.read(put(FILES | {"labels.csv": table}, f"{tmp_path}/dicom"), layout, refuse_burned_in=True)
    assert source.rows["patient_id"].tolist() == ["p7", "p7", "p8"]
    assert source.rows["sex"].fillna("-").tolist() == ["F", "-", "-"]


def test_burned_in_names_are_let_through_where_nothing_is_hidden(tmp_path: str) -> None:
    files = with_table("study/a.dcm", "study/b", "shown.dcm")
    assert "shown.dcm" in read(f"{tmp_path}/dicom", files, refuse_burned_in=False).rows["image_id"].tolist()


def test_without_a_table_folders_are_the_findings(tmp_path: str) -> None:
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
        ["Mass/4", "modality US is no radiograph (CR, DX, RG)"],
        ["stray.dcm", "image outside the class folders"],
    ]


def test_files_that_name_no_patient_count_as_one_each(tmp_path: str) -> None:
    files = {"normal/1": image(1, PatientID=""), "Mass/2": image(2, PatientID="")}
    source = read(f"{tmp_path}/dicom", files)
    assert source.rows["patient_id"].tolist() == ["Mass/2", "normal/1"]
    assert source.notes == (NO_PATIENTS,)


def test_two_tables_are_refused(tmp_path: str) -> None:
    content = io.BytesIO()
    pd.DataFrame({"image": ["a"]}).to_parquet(content)
    files = with_table("a", "b", "c") | {"more.parquet": content.getvalue()}
    with pytest.raises(ValueError, match=r"must hold one table at most, got labels\.csv, more\.parquet"):
        read(f"{tmp_path}/dicom", files)


def test_a_table_of_other_images_is_refused(tmp_path: str) -> None:
    with pytest.raises(ValueError, match=r"labels\.csv must name images .* none of its 3 rows names one of the 3 pict"):
        read(f"{tmp_path}/dicom", with_table("x", "y", "z"))
