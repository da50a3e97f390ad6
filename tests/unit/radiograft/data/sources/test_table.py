"""A table beside its images: which column is what, how cells are read, and what is wrong with a table."""

from __future__ import annotations

import gzip
import io
import math
import zipfile
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config import Ingest
from radiograft.config.data import TABLE_PRESETS, TableLayout
from radiograft.data.sources import table
from radiograft.data.sources.base import NO_PATIENTS, Source
from radiograft.stages.ingest import task
from tests.helpers import sources
from tests.helpers.nih_source import put

WORDS = """image,patient,label,view,age,sex,split
a/1.png,p1,PNEUMONIA|Mass,PA,57,Male,train
a/2.png,p1,No Finding,AP,057Y,M,train
b/3.png,p2,,pa,,f,valid
b/4.png,,normal,LATERAL,3,female,test
"""
COLUMNS = """Path;Patient ID;Pneumonia;No Finding;Report
a/1.png;p1;1.0;0.0;x
a/2.png;p1;0;1;y
b/3.png;p2;-1;;z
b/4.png;p3;0;;z
""".replace(";", ",")
IMAGES = {"a/1.png": b"1", "a/2.png": b"2", "b/3.png": b"3", "b/4.png": b"4"}


def layout(text: str = "standard") -> TableLayout:
    return TableLayout.parse("data_table", text, TABLE_PRESETS)


def read(place: str, content: str | bytes = WORDS, text: str = "standard", name: str = "table.csv") -> Source:
    data = content.encode() if isinstance(content, str) else content
    return table.read(f"{put(IMAGES | {name: data}, place)}/{name}", layout(text))


def truth(source: Source, finding: str) -> list[float | None]:
    return [None if math.isnan(value) else value for value in source.findings[finding]]


@pytest.fixture
def folder(tmp_path: Any) -> str:
    return str(tmp_path / "data")


def test_a_table_with_findings_in_words(place: str) -> None:
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
    assert source.notes == ("1 images name no patient: each counts as a patient of its own",)


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("zeros", 0.0), ("ones", 1.0)])
def test_a_table_with_a_column_a_finding(folder: str, uncertain: str, value: float | None) -> None:
    source = read(folder, COLUMNS, f"image=Path,patient=Patient ID,uncertain={uncertain}")
    assert truth(source, "Pneumonia") == [1, 0, value, 0]
    assert truth(source, "No Finding") == [0, 1, None, None]
    assert list(source.findings) == ["Pneumonia", "No Finding"]
    assert source.rows["patient_id"].tolist() == ["p1", "p1", "p2", "p3"]


def parquet(text: str) -> bytes:
    content = io.BytesIO()
    pd.read_csv(io.StringIO(text)).to_parquet(content)
    return content.getvalue()


def not_in_utf8() -> bytes:
    """A Parquet file whose column of text holds other bytes."""
    content = io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"image": pa.array([b"\xff.png"]).view(pa.string())}), content)
    return content.getvalue()


def one_name() -> bytes:
    """A Parquet file with two columns of one name."""
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
    ],
)
def test_however_it_is_packed_a_table_reads_alike(folder: str, name: str, pack: Callable[[str], bytes]) -> None:
    source, plain = read(folder, pack(COLUMNS), "image=Path", name), read(f"{folder}-plain", COLUMNS, "image=Path")
    assert truth(source, "Pneumonia") == truth(plain, "Pneumonia") == [1, 0, None, 0]
    assert source.rows.drop(columns="uri").equals(plain.rows.drop(columns="uri"))


@pytest.mark.parametrize(
    "rewrite",
    [lambda t: t.replace("a/", "").replace("b/", ""), lambda t: t.replace("a/", "/x/").replace(".png", ""), str.strip],
    ids=["file names", "names without suffix, in other folders", "paths"],
)
def test_images_are_found_by_path_name_or_stem(folder: str, rewrite: Callable[[str], str]) -> None:
    source = read(folder, rewrite(WORDS))
    assert source.rows["md5"].nunique() == 4
    assert truth(source, "Pneumonia") == [1, 0, None, 0]


def test_other_separators(folder: str) -> None:
    for separator, sign in (("semicolon", ";"), ("space", " "), ("/", "/")):
        source = read(
            folder, WORDS.replace("A|M", f"A{sign}M").replace("No Finding", "Normal"), f"separator={separator}"
        )
        assert truth(source, "Mass") == [1, 0, None, 0]


def test_rows_that_repeat_and_rows_or_images_without_a_partner_are_set_aside(folder: str) -> None:
    more = "../secret.png,p9,Mass,,,,train\na/1.png,p1,Pneumonia|Mass,PA,57,Male,train\n"
    source = read(folder, WORDS.replace("b/4.png", "b/5.png") + more)
    assert source.excluded.to_numpy().tolist() == [
        ["a/1.png", "duplicate row for an image"],
        ["b/5.png", "row without an image"],
        ["../secret.png", "path outside the data folder"],
        ["b/4.png", "image without a row"],
    ]
    assert source.rows["image_id"].tolist() == ["a/1.png", "a/2.png", "b/3.png"]


def test_a_row_for_each_finding_is_put_together(folder: str) -> None:
    """Fails where the first row counts alone: the others' findings would be absent."""
    source = read(folder, "image,patient,label\na/1.png,1,Mass\na/2.png,2,\na/1.png,1,Nodule\na/1.png,1,\n")
    assert source.rows["image_id"].tolist() == ["a/1.png", "a/2.png"]
    assert truth(source, "Mass") == truth(source, "Nodule") == [1, None]
    assert source.excluded["reason"].tolist() == ["duplicate row for an image"] * 2 + ["image without a row"] * 2


def test_rows_of_per_image_that_do_not_contradict_each_other_are_put_together(folder: str) -> None:
    """Fails where rows must be equal: a cell that is left empty says nothing against the other row's."""
    content = "image,patient,age,Edema,Mass\na/1.png,1,57,1,\n./a/1.png,1,,,0\na/2.png,2,,0,0\n"
    source = read(folder, content)
    assert source.rows[["image_id", "patient_id"]].to_numpy().tolist() == [["a/1.png", "1"], ["a/2.png", "2"]]
    assert source.rows["age"].fillna(-1).tolist() == [57, -1]
    assert truth(source, "Edema") == [1, 0]
    assert truth(source, "Mass") == [0, 0]
    assert source.excluded["reason"].tolist() == ["duplicate row for an image"] + ["image without a row"] * 2


def test_of_a_table_whose_images_are_there_in_part_these_count(folder: str) -> None:
    """Fails where file names that most rows share count for more than paths that tell the images there apart."""
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
        "image,patient,Mass\na/1.png,1,1\na/1.png,1,0\na/2.png,2,1\n",
        "image,patient,Mass\n/a/b/1.png,1,1\n/a/c/1.png,2,1\na/2.png,2,1\n",
    ],
    ids=["patients", "findings", "pictures"],
)
def test_of_rows_that_tell_different_things_of_per_image_none_counts(folder: str, content: str) -> None:
    """Fails where the first row counts: what it says may be another image's, or wrong."""
    source = read(folder, content)
    assert [name.rpartition("/")[2] for name in source.rows["image_id"]] == ["2.png"]
    assert source.excluded["reason"].value_counts().to_dict() == {
        "conflicting rows for one image": 1,
        "image without a row": 2,
    }


def test_images_of_one_name_are_told_apart_by_as_much_of_the_path_as_the_table_shares(folder: str) -> None:
    """Fails where the file name is all that is compared: images would get each other's findings and patients."""
    names = ["q1/study/1.png", "q2/study/1.png", "q3/study/1.png"]
    rows = [f"/export/{name},{name[:2]},{number % 2}" for number, name in reversed(list(enumerate(names)))]
    files = {name: name.encode() for name in names} | {"t.csv": "\n".join(["image,patient,Mass", *rows]).encode()}
    source = table.read(f"{put(files, folder)}/t.csv", layout())
    assert source.rows[["image_id", "patient_id"]].to_numpy().tolist() == [[name, name[:2]] for name in names]
    assert [uri.removeprefix(f"{folder}/") for uri in source.rows["uri"]] == names
    assert truth(source, "Mass") == [0, 1, 0]


def test_of_images_of_one_name_that_a_table_does_not_tell_apart_copies_alone_stay(folder: str) -> None:
    """Fails where the first of them stays: its findings may be the other's."""
    files = {"a/1.png": b"one", "b/1.png": b"other", "a/2.png": b"same", "b/2.png": b"same", "c/3.png": b"3"}
    content = b"image,Mass\n1.png,1\n2.png,1\n3.png,0\n"
    source = table.read(f"{put(files | {'t.csv': content}, folder)}/t.csv", layout())
    assert source.rows["image_id"].tolist() == ["2.png", "3.png"]
    assert source.excluded.to_numpy().tolist() == [
        [name, "file name used in more than one folder"] for name in ("1.png", "1.png", "2.png")
    ]


def test_an_empty_cell_in_a_parquet_table_changes_no_other_id(folder: str) -> None:
    """Fails where pandas makes the column floating-point: patients go to other splits, and large ids are one."""
    ids = [10**17 + 1, 10**17 + 2, None, 7]
    content = io.BytesIO()
    columns = {"image": list(IMAGES), "patient": ids, "Mass": [1, 0, 1, 0]}
    pyarrow.parquet.write_table(pa.table(columns), content)
    source = read(folder, content.getvalue(), name="t.parquet")
    assert source.rows["patient_id"].tolist() == ["100000000000000001", "100000000000000002", "b/3.png", "7"]


def test_without_a_column_of_patients_each_image_counts(folder: str) -> None:
    assert read(folder, COLUMNS, "image=Path").notes == (NO_PATIENTS,)


REFUSALS = {
    "no table": ("x", "standard", "t.txt", r"data_source must be a table, which ends in \.csv, \.csv\.gz"),
    "no images' column": (
        COLUMNS,
        "standard",
        "t.csv",
        r"must have the column 'image' that data_table takes for image=",
    ),
    "misspelled": (WORDS, "patient=patinet", "t.csv", r"column 'patinet' .* did you mean 'patient'"),
    "no findings": (
        "image\na/1.png\n",
        "standard",
        "t.csv",
        r"must tell the findings in a column of words .*columns image$",
    ),
    "unknown split": (
        WORDS.replace("valid", "dev"),
        "standard",
        "t.csv",
        r"a split in t\.csv must be one of .*got 'dev'",
    ),
    "other images": (
        WORDS.replace("/", "/x"),
        "standard",
        "t.csv",
        r"none of its 4 rows names one of the 4 images",
    ),
    "not UTF-8": (WORDS.replace("Male", "Mäle").encode("latin-1"), "standard", "t.csv", r"t\.csv must be UTF-8 text"),
    "cells that the header does not have": (
        "image,patient,label\na/1.png,1,Effusion,Mass\na/2.png,2,Mass,Hernia\n",
        "separator=comma",
        "t.csv",
        r"t\.csv must have as many cells in each row as in its header, 3, got 4 in line 2; put a cell that h",
    ),
    "columns of one name": (one_name(), "standard", "t.parquet", r"must be a Parquet table, got: two columns of one n"),
    "empty": ("", "standard", "t.csv", r"t\.csv must be a table, got: No columns"),
    "torn gzip": (
        gzip.compress(WORDS.encode())[:-9],
        "standard",
        "t.csv.gz",
        r"t\.csv\.gz must be a whole file, got a brok",
    ),
    "no zip": (b"PK", "standard", "t.csv.zip", r"t\.csv\.zip must be a whole file, got a broken one"),
    "no Parquet": (b"PAR1", "standard", "t.parquet", r"t\.parquet must be a Parquet table"),
    "Parquet of other bytes": (not_in_utf8(), "standard", "t.parquet", r"t\.parquet must be a Parquet table.*UTF8"),
}


@pytest.mark.parametrize(("content", "text", "name", "message"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_wrong_with_a_table_is_said(
    folder: str, content: str | bytes, text: str, name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read(folder, content, text, name)


def test_data_table_knows_its_own_names() -> None:
    with pytest.raises(ValueError, match=r"data_table has no 'imgae'; did you mean 'image'"):
        layout("imgae=Path")
    with pytest.raises(ValueError, match="must be one of ignore, zeros, ones, got 'zero'; did you mean 'zeros'"):
        layout("uncertain=zero")


@settings(deadline=None, max_examples=20)
@given(order=st.permutations(range(12)))
def test_the_order_of_rows_changes_nothing(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "ordered"
    asked = sources.table(str(folder))
    before = task.build_catalog(asked)
    header, *rows = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([header, *(rows[place] for place in order)]))
    after = task.build_catalog(asked)
    assert after.rows.equals(before.rows)
    assert after.fingerprint() == before.fingerprint()


def test_a_missing_table_is_named(folder: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        table.read(f"{folder}/none.csv", layout())


def test_views_and_unknown_truth_are_set_aside_by_ingest(folder: str) -> None:
    rows = [
        f"{patient}.png,{patient},{patient % 2},PA,{split}"
        for patient, split in enumerate(["train", "valid", "test"] * 2)
    ]
    more = ["6.png,6,1,LL,train", "7.png,7,,PA,train", "8.png,8,-1,AP,train"]
    content = "\n".join(["image,patient,Mass,view,split", *rows, *more])
    uri = put({f"{number}.png": b"%d" % number for number in range(9)} | {"t.csv": content.encode()}, folder) + "/t.csv"

    def counted(data_table: str) -> tuple[int, list[list[str]]]:
        found = task.build_catalog(
            Ingest(data_format="table", data_source=uri, data_labels="Mass", data_table=data_table)
        )
        return len(found.rows), found.excluded.to_numpy().tolist()

    unknown = "all requested labels unknown"
    assert counted("standard") == (6, [["6.png", "not a frontal view"], ["7.png", unknown], ["8.png", unknown]])
    assert counted("views=all,uncertain=ones") == (8, [["7.png", unknown]])


def test_a_cell_may_be_long_and_what_stands_behind_the_last_one_blank(folder: str) -> None:
    """Fails where csv's own limit of 131,072 characters holds, or where blanks count as a cell."""
    source = read(folder, f'image,Mass,report\na/1.png,1,"{"x" * 140_000}", \na/2.png,0,y, \n')
    assert truth(source, "Mass") == [1, 0]


def test_lateral_leaves_out_what_is_called_frontal(folder: str) -> None:
    """Fails where PA and AP are the only names known of a frontal view."""
    views = ["1,Lateral", "1,Frontal", "0,LL", "1,PA"]
    ends = [f"{view},{split}" for split in ("train", "valid", "test") for view in views]
    rows = [f"{number}.png,{end}" for number, end in enumerate(ends)]
    content = "\n".join(["image,Mass,view,split", *rows]).encode()
    uri = put({f"{n}.png": b"%d" % n for n in range(12)} | {"t.csv": content}, folder) + "/t.csv"
    asked = Ingest(data_format="table", data_source=uri, data_labels="Mass", data_table="views=lateral")
    found = task.build_catalog(asked)
    assert found.rows["view"].value_counts().to_dict() == {"LL": 3, "LATERAL": 3}


def test_a_finding_without_a_column_is_refused_with_the_nearest(folder: str) -> None:
    uri = f"{put(IMAGES | {'t.csv': COLUMNS.encode()}, folder)}/t.csv"
    asked = Ingest(data_format="table", data_source=uri, data_table="image=Path", data_labels="Pnuemonia")
    with pytest.raises(ValueError, match=r"data set \(Pneumonia\), got 'Pnuemonia'; did you mean 'Pneumonia'"):
        task.build_catalog(asked)
