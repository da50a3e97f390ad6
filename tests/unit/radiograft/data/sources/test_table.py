"""The table reader: columns, cells, matching of rows and images, and errors for invalid tables."""

from __future__ import annotations

import gzip
import io
import math
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft import storage
from radiograft.config import Ingest
from radiograft.config.data import TABLE_PRESETS
from radiograft.config.table_layout import TableLayout
from radiograft.data.sources import table
from radiograft.data.sources.base import NO_PATIENTS, Source
from radiograft.stages.ingest import task
from tests.helpers import sources
from tests.helpers.nih_source import put

TEXT_COLUMN = """image,patient,label,view,age,sex,split
a/1.png,p1,PNEUMONIA|Mass,PA,57,Male,train
a/2.png,p1,No Finding,AP,057Y,M,train
b/3.png,p2,,pa,,f,valid
b/4.png,,normal,LATERAL,3,female,test
"""
FINDING_COLUMNS = """Path;Patient ID;Pneumonia;No Finding;Report
a/1.png;p1;1.0;0.0;x
a/2.png;p1;0;1;y
b/3.png;p2;-1;;z
b/4.png;p3;0;;z
""".replace(";", ",")
IMAGES = {"a/1.png": b"1", "a/2.png": b"2", "b/3.png": b"3", "b/4.png": b"4"}


def layout(text: str = "standard") -> TableLayout:
    return TableLayout.parse("data_table", text, TABLE_PRESETS)


def read(place: str, content: str | bytes = TEXT_COLUMN, text: str = "standard", name: str = "table.csv") -> Source:
    data = content.encode() if isinstance(content, str) else content
    return table.read(f"{put(IMAGES | {name: data}, place)}/{name}", layout(text))


def truth(source: Source, finding: str) -> list[float | None]:
    return [None if math.isnan(value) else value for value in source.findings[finding]]


@pytest.fixture
def folder(tmp_path: Any) -> str:
    return str(tmp_path / "data")


def test_read_findings_in_text_column(place: str) -> None:
    source = read(place)
    facts = source.rows[["image_id", "uri", "patient_id", "view", "age", "sex", "official"]]
    assert facts.astype(object).fillna("-").to_numpy().tolist() == [
        ["a/1.png", f"{place}/a/1.png", "p1", "PA", 57.0, "M", "train"],
        ["a/2.png", f"{place}/a/2.png", "p1", "AP", 57.0, "M", "train"],
        ["b/3.png", f"{place}/b/3.png", "p2", "PA", "-", "F", "validation"],
        ["b/4.png", f"{place}/b/4.png", "b/4.png", "LATERAL", 3.0, "F", "test"],
    ]
    assert truth(source, "Pneumonia") == [1, 0, None, 0]
    assert truth(source, "Mass") == [1, 0, None, 0]
    assert truth(source, "No Finding") == [0, 1, None, 1]
    assert source.notes == ("1 images have no patient id: each counts as its own patient",)


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("zeros", 0.0), ("ones", 1.0)])
def test_read_one_column_per_finding(folder: str, uncertain: str, value: float | None) -> None:
    source = read(folder, FINDING_COLUMNS, f"image=Path,patient=Patient ID,uncertain={uncertain}")
    assert truth(source, "Pneumonia") == [1, 0, value, 0]
    assert truth(source, "No Finding") == [0, 1, None, None]
    assert list(source.findings) == ["Pneumonia", "No Finding"]
    assert source.rows["patient_id"].tolist() == ["p1", "p1", "p2", "p3"]


def parquet(text: str) -> bytes:
    content = io.BytesIO()
    pd.read_csv(io.StringIO(text)).to_parquet(content)
    return content.getvalue()


def parquet_not_utf8() -> bytes:
    """Returns a Parquet file whose text column is not UTF-8."""
    content = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"image": pa.array([b"\xff.png"]).view(pa.string())}), content)
    return content.getvalue()


def parquet_duplicate_columns() -> bytes:
    """Returns a Parquet file with two columns of the same name."""
    content = io.BytesIO()
    pyarrow.parquet.write_table(pa.table([pa.array(["a/1.png"])] * 2, names=["image", "image"]), content)
    return content.getvalue()


def zipped(text: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("labels.csv", text)
        archive.writestr("__MACOSX/._labels.csv", "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("t.csv.gz", lambda text: gzip.compress(text.encode())),
        ("t.csv.zip", zipped),
        ("t.parquet", parquet),
        ("t.csv", lambda text: ("\ufeff" + text).encode()),
        ("t.csv", lambda text: text.encode("utf-16")),
        ("t.csv", lambda text: text.replace(",", ";").replace("1.0", "1,0").encode()),
        ("t.csv", lambda text: text.replace(",", "|").encode()),
        ("t.csv", lambda text: ("sep=;\r\n" + text.replace(",", ";")).encode()),
        ("t.csv", lambda text: text.replace(",", "\t").replace("\n", "\r\n").encode()),
        ("t.tsv", lambda text: text.replace(",", "\t").encode()),
        ("t.TSV.gz", lambda text: gzip.compress(text.replace(",", "\t").encode())),
    ],
)
def test_read_any_packing_returns_same_source(folder: str, name: str, pack: Callable[[str], bytes]) -> None:
    source, plain = (
        read(folder, pack(FINDING_COLUMNS), "image=Path", name),
        read(f"{folder}-plain", FINDING_COLUMNS, "image=Path"),
    )
    assert truth(source, "Pneumonia") == truth(plain, "Pneumonia") == [1, 0, None, 0]
    assert source.rows.drop(columns="uri").equals(plain.rows.drop(columns="uri"))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda t: t.replace("a/", "").replace("b/", ""),
        lambda t: t.replace("a/", "/x/").replace(".png", ""),
        lambda t: re.sub(r"[ab]/(\d)\.png", r"\1.0", t),
        lambda t: re.sub(r"[ab]/(\d)\.png", r"000\1", t),
        str.strip,
    ],
    ids=["file names", "names without suffix, in other folders", "numbers with .0", "numbers with zeros", "paths"],
)
def test_read_matches_images_by_path_name_or_stem(folder: str, rewrite: Callable[[str], str]) -> None:
    source = read(folder, rewrite(TEXT_COLUMN))
    assert source.rows["md5"].nunique() == 4
    assert truth(source, "Pneumonia") == [1, 0, None, 0]


def test_read_other_separators(folder: str) -> None:
    for separator, sign in (("semicolon", ";"), ("space", " "), ("/", "/")):
        source = read(
            folder, TEXT_COLUMN.replace("A|M", f"A{sign}M").replace("No Finding", "Normal"), f"separator={separator}"
        )
        assert truth(source, "Mass") == [1, 0, None, 0]


def test_read_repeated_and_unmatched_rows_are_excluded(folder: str) -> None:
    more = "../secret.png,p9,Mass,,,,train\na/1.png,p1,Pneumonia|Mass,PA,57,Male,train\n"
    source = read(folder, TEXT_COLUMN.replace("b/4.png", "b/5.png") + more)
    assert source.excluded.to_numpy().tolist() == [
        ["a/1.png", "duplicate row for an image"],
        ["b/5.png", "row without an image"],
        ["../secret.png", "path outside the data folder"],
        ["b/4.png", "image without a row"],
    ]
    assert source.rows["image_id"].tolist() == ["a/1.png", "a/2.png", "b/3.png"]


def test_read_one_row_per_finding_is_merged(folder: str) -> None:
    """Fails if only the first row counts: the other rows' findings would be absent."""
    source = read(folder, "image,patient,label\na/1.png,1,Mass\na/2.png,2,\na/1.png,1,Nodule\na/1.png,1,\n")
    assert source.rows["image_id"].tolist() == ["a/1.png", "a/2.png"]
    assert truth(source, "Mass") == truth(source, "Nodule") == [1, None]
    assert source.excluded["reason"].tolist() == ["duplicate row for an image"] * 2 + ["image without a row"] * 2


def test_read_consistent_rows_of_image_are_merged(folder: str) -> None:
    """Fails if rows must be equal: an empty cell does not contradict the other row."""
    content = "image,patient,age,Edema,Mass\na/1.png,1,57,1,\n./a/1.png,1,,,0\na/2.png,2,,0,0\n"
    source = read(folder, content)
    assert source.rows[["image_id", "patient_id"]].to_numpy().tolist() == [["a/1.png", "1"], ["a/2.png", "2"]]
    assert source.rows["age"].fillna(-1).tolist() == [57, -1]
    assert truth(source, "Edema") == [1, 0]
    assert truth(source, "Mass") == [0, 0]
    assert source.excluded["reason"].tolist() == ["duplicate row for an image"] + ["image without a row"] * 2


def test_read_partial_data_set_keeps_present_images(folder: str) -> None:
    """Fails if file names, which match more rows, are preferred to paths, which distinguish the present images."""
    rows = [f"{site}/{n}.png,{site}{n},{n % 2}" for site in ("there", "elsewhere") for n in range(4)]
    files = {f"there/{n}.png": b"%d" % n for n in range(4)}
    files["t.csv"] = "\n".join(["image,patient,Mass", *rows]).encode()
    source = table.read(f"{put(files, folder)}/t.csv", layout())
    assert source.rows["image_id"].tolist() == [f"there/{n}.png" for n in range(4)]
    assert source.excluded["reason"].value_counts().to_dict() == {"row without an image": 4}


@pytest.mark.parametrize(
    "content",
    [
        "image,patient,label\na/1.png,1,Mass\na/1.png,2,Mass\na/2.png,2,Mass\n",
        "image,patient,Mass\n/a/b/1.png,1,1\n/a/c/1.png,2,1\na/2.png,2,1\n",
    ],
    ids=["patients", "images"],
)
def test_read_contradictory_rows_of_image_are_excluded(folder: str, content: str) -> None:
    """Fails if the first row counts: it may be wrong or belong to another image."""
    source = read(folder, content)
    assert [name.rpartition("/")[2] for name in source.rows["image_id"]] == ["2.png"]
    assert source.excluded["reason"].value_counts().to_dict() == {
        "conflicting rows for one image": 1,
        "image without a row": 2,
    }


def test_read_rows_that_differ_in_findings_are_readings(folder: str) -> None:
    """Fails if an image is excluded for findings that nobody may have requested: ingest decides with the labels."""
    source = read(folder, "image,patient,Mass,Edema\na/1.png,1,1,0\na/1.png,1,0,\na/2.png,2,1,0\n")
    assert [name.rpartition("/")[2] for name in source.rows["image_id"]] == ["1.png", "2.png"]
    assert source.readings is not None
    assert source.readings.fillna(-1).to_numpy().tolist() == [["a/1.png", "", 1, 0], ["a/1.png", "", 0, -1]]
    assert set(source.excluded["reason"]) == {"duplicate row for an image", "image without a row"}


def test_read_rows_that_differ_in_view_sex_or_age_are_unknown(folder: str) -> None:
    source = read(
        folder, "image,patient,view,sex,age,Mass\na/1.png,1,PA,M,50,1\na/1.png,1,AP,F,51,1\na/2.png,2,PA,M,7,0\n"
    )
    assert source.rows["view"].fillna("?").tolist() == ["?", "PA"]
    assert source.rows["sex"].fillna("?").tolist() == ["?", "M"]
    assert source.rows["age"].fillna(-1).tolist() == [-1, 7]


def test_read_rows_of_findings_by_reader_are_merged_for_each_reader(folder: str) -> None:
    """Fails if the findings of all readers are merged, or if each row of one reader is a reading of its own."""
    source = read(
        folder, "image,rad_id,label\na/1.png,R1,Mass\na/1.png,R1,Edema\na/1.png,R2,No Finding\na/2.png,R1,Mass\n"
    )
    assert source.readings is not None
    names = ["image_id", "reader", *source.findings]
    readings = source.readings.set_axis(names, axis="columns").drop_duplicates().set_index("reader")
    assert readings.loc["R1", ["Mass", "Edema", "No Finding"]].tolist() == [1, 1, 0]
    assert readings.loc["R2", ["Mass", "Edema", "No Finding"]].tolist() == [0, 0, 1]


def test_read_one_row_per_finding_without_reader_is_one_reading(folder: str) -> None:
    source = read(folder, "image,patient,label\na/1.png,1,Mass\na/1.png,1,Nodule\na/2.png,2,Mass\n")
    assert source.readings is not None
    assert source.readings.empty


def test_read_same_file_names_are_distinguished_by_common_path(folder: str) -> None:
    """Fails if only file names are compared: images would get each other's findings and patients."""
    names = ["q1/study/1.png", "q2/study/1.png", "q3/study/1.png"]
    rows = [f"/export/{name},{name[:2]},{number % 2}" for number, name in reversed(list(enumerate(names)))]
    files = {name: name.encode() for name in names} | {"t.csv": "\n".join(["image,patient,Mass", *rows]).encode()}
    source = table.read(f"{put(files, folder)}/t.csv", layout())
    assert source.rows[["image_id", "patient_id"]].to_numpy().tolist() == [[name, name[:2]] for name in names]
    assert [uri.removeprefix(f"{folder}/") for uri in source.rows["uri"]] == names
    assert truth(source, "Mass") == [0, 1, 0]


def test_read_ambiguous_file_names_keep_only_identical_copies(folder: str) -> None:
    """Fails if the first one is kept: its findings may belong to the other."""
    files = {"a/1.png": b"one", "b/1.png": b"other", "a/2.png": b"same", "b/2.png": b"same", "c/3.png": b"3"}
    content = b"image,Mass\n1.png,1\n2.png,1\n3.png,0\n"
    source = table.read(f"{put(files | {'t.csv': content}, folder)}/t.csv", layout())
    assert source.rows["image_id"].tolist() == ["2.png", "3.png"]
    assert source.excluded.to_numpy().tolist() == [
        [name, "file name used in more than one folder"] for name in ("1.png", "1.png", "2.png")
    ]


def test_read_parquet_empty_cell_keeps_integer_ids(folder: str) -> None:
    """Fails if pandas converts the column to float: ids change, and large ids collide."""
    ids = [10**17 + 1, 10**17 + 2, None, 7]
    content = io.BytesIO()
    columns = {"image": list(IMAGES), "patient": ids, "Mass": [1, 0, 1, 0]}
    pyarrow.parquet.write_table(pa.table(columns), content)
    source = read(folder, content.getvalue(), name="t.parquet")
    assert source.rows["patient_id"].tolist() == ["100000000000000001", "100000000000000002", "b/3.png", "7"]


@pytest.mark.parametrize("ids", [["1.2E+11", "1.3E+11"], ["3-Jan", "12-Sep-99"], ["1E+05", "4-May"]])
def test_read_patient_ids_that_a_spreadsheet_rewrote_are_noted(ids: list[str], folder: str) -> None:
    (note,) = read(folder, f"image,patient,Mass\na/1.png,{ids[0]},1\na/2.png,{ids[1]},0\nb/3.png,E12,0\n").notes
    assert note.startswith("2 patient ids look like numbers or dates that a spreadsheet rewrote")


def test_read_without_patient_column_notes_missing_ids(folder: str) -> None:
    assert read(folder, FINDING_COLUMNS, "image=Path").notes == (NO_PATIENTS,)


INVALID = {
    "spreadsheet": (b"PK", "standard", "t.xlsx", r"data_source must be a table, .*got '.*t\.xlsx'; export it as \.csv"),
    "spreadsheet named as text": (
        b"PK\3\4",
        "standard",
        "t.csv",
        r"t\.csv must be UTF-8 text, got a file of the kind ZIP; unpack it, or export the spreadsheet as \.csv",
    ),
    "web page": ("<!doctype html>", "standard", "t.csv", r"got a file of the kind HTML; download the table again"),
    "Git LFS pointer": (
        "version https://git-lfs.x",
        "standard",
        "t.csv",
        r"got a file of the kind Git LFS; run git lfs",
    ),
    "header only": (
        TEXT_COLUMN.splitlines()[0],
        "standard",
        "t.csv",
        r"t\.csv must have rows below its header, got none",
    ),
    "no table": ("x", "standard", "t.txt", r"data_source must be a table, which ends in \.csv, \.csv\.gz"),
    "no image column": (
        FINDING_COLUMNS,
        "standard",
        "t.csv",
        r"must have the column 'image', which data_table sets as image=",
    ),
    "misspelled": (TEXT_COLUMN, "patient=patinet", "t.csv", r"column 'patinet', .* did you mean 'patient'"),
    "no findings": (
        "image\na/1.png\n",
        "standard",
        "t.csv",
        r"must have findings in a text column .*columns image$",
    ),
    "unknown split": (
        TEXT_COLUMN.replace("valid", "fold1"),
        "standard",
        "t.csv",
        r"a split in t\.csv must be one of .*got 'fold1'",
    ),
    "other images": (
        TEXT_COLUMN.replace("/", "/x"),
        "standard",
        "t.csv",
        r"none of its 4 rows names one of the 4 images",
    ),
    "duplicate names": (
        "image,patient,Mass, Mass\na/1.png,1,1,0\n",
        "standard",
        "t.csv",
        r"t\.csv must name each column once, got one name for the columns 3, 4; rename one; the first line",
    ),
    "UTF-16 without mark": (
        TEXT_COLUMN.encode("utf-16-le"),
        "standard",
        "t.csv",
        r"t\.csv must be UTF-8 text, got a null character at 1; save it as UTF-8",
    ),
    "comment before the header": (
        f"# exported\n{TEXT_COLUMN}",
        "standard",
        "t.csv",
        r"in its header, 1, got 7 in line 2; the first line must name the columns",
    ),
    "not UTF-8": (
        TEXT_COLUMN.replace("Male", "Mäle").encode("latin-1"),
        "standard",
        "t.csv",
        r"t\.csv must be UTF-8 text",
    ),
    "row longer than the header": (
        "image,patient,label\na/1.png,1,Effusion,Mass\na/2.png,2,Mass,Hernia\n",
        "separator=comma",
        "t.csv",
        r"t\.csv must have at most as many cells in each row as in its header, 3, got 4 in line 2; put double quo",
    ),
    "duplicate columns": (
        parquet_duplicate_columns(),
        "standard",
        "t.parquet",
        r"must be a Parquet table, got: two columns with the same n",
    ),
    "empty": ("", "standard", "t.csv", r"t\.csv must be a table, got: No columns"),
    "truncated gzip": (
        gzip.compress(TEXT_COLUMN.encode())[:-9],
        "standard",
        "t.csv.gz",
        r"t\.csv\.gz must be complete, got a corrupt",
    ),
    "invalid zip": (b"PK", "standard", "t.csv.zip", r"t\.csv\.zip must be complete, got a corrupt file"),
    "invalid Parquet": (b"PAR1", "standard", "t.parquet", r"t\.parquet must be a Parquet table"),
    "Parquet not UTF-8": (parquet_not_utf8(), "standard", "t.parquet", r"t\.parquet must be a Parquet table.*UTF8"),
}


@pytest.mark.parametrize(("content", "text", "name", "message"), INVALID.values(), ids=INVALID)
def test_read_invalid_table_raises(folder: str, content: str | bytes, text: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(folder, content, text, name)


def test_read_table_beside_its_images_raises_and_reads_them_once_moved(tmp_path: Path) -> None:
    """The layout of VinDr-CXR: `labels/t.csv` names `../images/x.png`. Fails if the advice does not help."""
    rows = "".join(f"../images/{number}.png,{number},{number % 2}\n" for number in range(4))
    for number in range(4):
        storage.write_bytes(f"{tmp_path}/images/{number}.png", b"%d" % number)
    storage.write_bytes(f"{tmp_path}/labels/t.csv", f"image,patient,Mass\n{rows}".encode())
    message = rf"t\.csv must lie in a folder above its images, and no image lies below {tmp_path}/labels: move it up"
    with pytest.raises(ValueError, match=message):
        table.read(f"{tmp_path}/labels/t.csv", TableLayout(), ["Mass"])
    (tmp_path / "labels/t.csv").rename(tmp_path / "t.csv")
    source = table.read(f"{tmp_path}/t.csv", TableLayout(), ["Mass"])
    assert source.findings["Mass"].tolist() == [0, 1, 0, 1]
    assert source.excluded.empty


def test_table_layout_unknown_name_raises_with_suggestion() -> None:
    with pytest.raises(ValueError, match=r"data_table has no 'imgae'; did you mean 'image'"):
        layout("imgae=Path")
    with pytest.raises(ValueError, match="must be one of ignore, zeros, ones, got 'zero'; did you mean 'zeros'"):
        layout("uncertain=zero")


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(12)))
def test_build_catalog_is_independent_of_row_order(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "ordered"
    ingest_settings = sources.table(str(folder))
    before = task.build_catalog(ingest_settings)
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([header, *(rows[index] for index in order)]))
    after = task.build_catalog(ingest_settings)
    assert after.rows.equals(before.rows)
    assert after.fingerprint() == before.fingerprint()


def test_read_missing_table_raises(folder: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        table.read(f"{folder}/none.csv", layout())


def test_build_catalog_excludes_lateral_views_and_unknown_labels(folder: str) -> None:
    rows = [
        f"{patient}.png,{patient},{patient % 2},PA,{split}"
        for patient, split in enumerate(["train", "valid", "test"] * 2)
    ]
    more = ["6.png,6,1,LL,train", "7.png,7,,PA,train", "8.png,8,-1,AP,train"]
    content = "\n".join(["image,patient,Mass,view,split", *rows, *more])
    uri = put({f"{number}.png": b"%d" % number for number in range(9)} | {"t.csv": content.encode()}, folder) + "/t.csv"

    def count(data_table: str) -> tuple[int, list[list[str]]]:
        found = task.build_catalog(
            Ingest(data_format="table", data_source=uri, data_labels="Mass", data_table=data_table)
        )
        return len(found.rows), found.excluded.to_numpy().tolist()

    unknown = "all requested labels unknown"
    assert count("standard") == (6, [["6.png", "not a frontal view"], ["7.png", unknown], ["8.png", unknown]])
    assert count("views=all,uncertain=ones") == (8, [["7.png", unknown]])


def test_read_long_cells_and_trailing_blanks(folder: str) -> None:
    """Fails if the csv module's limit of 131,072 characters applies, or if blanks count as a cell."""
    source = read(folder, f'image,Mass,report\na/1.png,1,"{"x" * 140_000}", \na/2.png,0,y, \n')
    assert truth(source, "Mass") == [1, 0]


def test_build_catalog_lateral_excludes_frontal_views(folder: str) -> None:
    """Fails if PA and AP are the only known names of frontal views."""
    views = ["1,Lateral", "1,Frontal", "0,LL", "1,PA"]
    ends = [f"{view},{split}" for split in ("train", "valid", "test") for view in views]
    rows = [f"{number}.png,{end}" for number, end in enumerate(ends)]
    content = "\n".join(["image,Mass,view,split", *rows]).encode()
    uri = put({f"{n}.png": b"%d" % n for n in range(12)} | {"t.csv": content}, folder) + "/t.csv"
    catalog = task.build_catalog(
        Ingest(data_format="table", data_source=uri, data_labels="Mass", data_table="views=lateral")
    )
    assert catalog.rows["view"].value_counts().to_dict() == {"LL": 3, "LATERAL": 3}


def test_build_catalog_unknown_finding_raises_with_suggestion(folder: str) -> None:
    uri = f"{put(IMAGES | {'t.csv': FINDING_COLUMNS.encode()}, folder)}/t.csv"
    asked = Ingest(data_format="table", data_source=uri, data_table="image=Path", data_labels="Pnuemonia")
    with pytest.raises(ValueError, match=r"dataset \(Pneumonia\), got 'Pnuemonia'; did you mean 'Pneumonia'"):
        task.build_catalog(asked)
