"""The ChestX-ray14 reader supports every version of NIH's layout and reports exclusions and errors."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.data.sources import chestxray14
from radiograft.data.sources.base import Source, age_in_years, check_known_labels
from tests.helpers.archives import tar_gz
from tests.helpers.nih_source import IMAGES, TABLE_2017, TABLE_V2020, TEST, TRAIN_VAL, nih_files, put

V2020 = "Data_Entry_2017_v2020.csv"
V2017 = "Data_Entry_2017.csv"
FIELDS = ["image_id", "findings", "patient_id", "age", "sex", "view", "official"]
EXPECTED = [
    ["00000001_000.png", "Effusion|Pneumonia", "1", 57.0, "M", "PA", "train_val"],
    ["00000001_001.png", "No Finding", "1", 58.0, "M", "PA", "train_val"],
    ["00000002_000.png", "Mass", "2", 80.0, "M", "AP", "train_val"],
    ["00000003_000.png", "Pneumonia", "3", 74.0, "F", "PA", "test"],
    ["00000003_001.png", "No Finding", "3", 75.0, "F", "PA", "test"],
    ["00000006_000.png", "Pneumonia", "6", 12.0, "F", "AP", "train_val"],
    ["00000006_001.png", "No Finding", "6", 13.0, "F", "PA", "train_val"],
    ["00000008_000.png", "No Finding", "8", 69.0, "M", "PA", "train_val"],
]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "nih")


def zipped(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(name, content)
    return archive.getvalue()


PACK = {"": lambda _, content: content, ".gz": lambda _, content: gzip.compress(content), ".zip": zipped}


def rows_with_findings(source: Source) -> list[list[object]]:
    assert source.findings.isin([0.0, 1.0]).all(axis=None)
    present = ["|".join(source.findings.columns[row == 1.0]) for row in source.findings.to_numpy()]
    rows: list[list[object]] = source.rows.assign(findings=present)[FIELDS].to_numpy(dtype=object).tolist()
    return rows


def exclusions(source: Source) -> list[tuple[str, str]]:
    return list(source.excluded.itertuples(index=False, name=None))


@pytest.mark.parametrize("images", ["", "images_001/images", "images_012/images", "any/other folder"])
@pytest.mark.parametrize("packed", ["", ".gz", ".zip"])
@pytest.mark.parametrize(("name", "table"), [(V2020, TABLE_V2020), (V2017, TABLE_2017)])
def test_read_any_version_of_layout_returns_same_source(
    folder: str, images: str, packed: str, name: str, table: str
) -> None:
    files = nih_files(images)
    del files[V2020]
    files[name + packed] = PACK[packed](name, table.encode())
    source = chestxray14.read(put(files, folder))
    assert rows_with_findings(source) == EXPECTED
    assert exclusions(source) == []
    assert list(source.findings) == ["Effusion", "Mass", "No Finding", "Pneumonia"]


def test_read_returns_uri_size_and_md5(place: str) -> None:
    row = chestxray14.read(put(nih_files(), place)).rows.iloc[2]
    assert row["uri"] == f"{place}/images_001/images/00000002_000.png"
    assert row["bytes"] == len(b"pixels of 00000002_000.png")
    assert row["md5"] == hashlib.md5(b"pixels of 00000002_000.png").hexdigest()


def test_read_archives_returns_same_source_as_folders(place: str) -> None:
    files = nih_files()
    images = {name.removeprefix("images_001/"): files.pop(name) for name in list(files) if name.endswith(".png")}
    shuffled = dict(sorted(images.items(), key=lambda item: hashlib.md5(item[0].encode()).hexdigest()))
    files |= {"images_01.tar.gz": tar_gz(dict(list(shuffled.items())[:3]) | {"images/._1.png": b"what macOS adds"})}
    files |= {"images_02.tar.gz": tar_gz(shuffled)}
    source = chestxray14.read(put(files, place))
    assert rows_with_findings(source) == EXPECTED
    assert sorted(exclusions(source)) == sorted(
        (name, "copy of another file, in an archive") for name in list(shuffled)[:3]
    )
    row = source.rows.iloc[2]
    assert row["uri"].startswith(f"{place}/images_0")
    assert row["bytes"] == len(b"pixels of 00000002_000.png")
    assert row["md5"] == hashlib.md5(b"pixels of 00000002_000.png").hexdigest()


def test_read_truncated_archive_raises(folder: str) -> None:
    files = nih_files() | {"images_01.tar.gz": tar_gz({"images/a.png": b"x"})[:-20]}
    with pytest.raises(ValueError, match=r"images_01\.tar\.gz must be a complete \.tar\.gz archive"):
        chestxray14.read(put(files, folder))


def test_read_images_in_several_folders_finds_all(folder: str) -> None:
    files = nih_files()
    for number, name in enumerate(TRAIN_VAL, 2):
        files[f"images_{number:03d}/images/{name}"] = files.pop(f"{IMAGES}/{name}")
    assert rows_with_findings(chestxray14.read(put(files, folder))) == EXPECTED


def test_read_two_tables_prefers_newer(folder: str) -> None:
    files = nih_files() | {V2017: TABLE_2017.replace("Mass", "Hernia").encode()}
    assert rows_with_findings(chestxray14.read(put(files, folder))) == EXPECTED


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: "\n".join(",".join(reversed(line.split(","))) for line in text.splitlines()),
        lambda text: text.replace("\n", ",\n").replace("[x,y],", "[x,y]"),
    ],
    ids=["byte order mark", "Windows lines", "no final newline", "columns in another order", "comma after rows only"],
)
@pytest.mark.filterwarnings("ignore:Length of header")
def test_read_rewritten_table_returns_same_source(folder: str, rewrite: Callable[[str], str]) -> None:
    files = nih_files() | {V2020: rewrite(TABLE_V2020).encode()}
    assert rows_with_findings(chestxray14.read(put(files, folder))) == EXPECTED


@pytest.mark.parametrize(
    "lines",
    ["\n".join, "\r\n".join, lambda names: "\n".join([*names, ""]), lambda names: "\ufeff" + " \n\n".join(names)],
    ids=["no final newline", "Windows lines", "final newline", "byte order mark and blank lines"],
)
def test_read_lists_with_any_line_endings_returns_same_source(
    folder: str, lines: Callable[[tuple[str, ...]], str]
) -> None:
    files = nih_files() | {"train_val_list.txt": lines(TRAIN_VAL).encode(), "test_list.txt": lines(TEST).encode()}
    assert rows_with_findings(chestxray14.read(put(files, folder))) == EXPECTED


def test_read_without_lists_leaves_official_split_missing(folder: str) -> None:
    files = nih_files()
    del files["train_val_list.txt"], files["test_list.txt"]
    assert chestxray14.read(put(files, folder)).rows["official"].isna().all()


def test_read_jpeg_and_uppercase_suffixes_are_images(folder: str) -> None:
    files = nih_files("")
    renamed = {"00000001_000.png": "00000001 000.JPG", "00000003_000.png": "00000003_000.jpeg"}
    for old, new in renamed.items():
        files[new] = files.pop(old)
        files = {name: content.replace(old.encode(), new.encode()) for name, content in files.items()}
    files |= {"README.txt": b"x", "LOG_CHESTXRAY.csv": b"x", ".00000009_000.png": b"x"}
    source = chestxray14.read(put(files, folder))
    expected = [[renamed.get(str(row[0]), row[0]), *row[1:]] for row in EXPECTED]
    assert sorted(rows_with_findings(source)) == sorted(expected)
    assert exclusions(source) == []


def test_read_unmatched_rows_and_images_are_excluded(folder: str) -> None:
    files = nih_files() | {f"{IMAGES}/00000099_000.png": b"x"}
    del files[f"{IMAGES}/00000002_000.png"]
    source = chestxray14.read(put(files, folder))
    assert exclusions(source) == [
        ("00000002_000.png", "row without an image"),
        ("00000099_000.png", "image without a row"),
    ]
    assert rows_with_findings(source) == EXPECTED[:2] + EXPECTED[3:]
    assert source.findings["Mass"].tolist() == [0.0] * 7  # in the table, but in no remaining image


def test_read_repeated_rows_and_names_keeps_only_consistent_ones(place: str) -> None:
    """Fails if the first one always counts: it may be the wrong one."""
    more = (
        "00000002_000.png,Mass,0,2,80,M,AP,2500,2048,0.168,0.168\n00000003_000.png,Hernia,0,3,74,F,PA,2500,2048,1,1\n"
    )
    different, copied = "00000001_000.png", "00000001_001.png"
    files = nih_files() | {V2020: (TABLE_V2020 + more).encode(), f"images-0/{different}": b"another image"}
    files[f"images-0/{copied}"] = files[f"{IMAGES}/{copied}"]
    source = chestxray14.read(put(files, place))
    assert exclusions(source) == [
        ("00000002_000.png", "duplicate row for an image"),
        ("00000003_000.png", "conflicting rows for one image"),
        *((name, "file name used in more than one folder") for name in (different, different, copied)),
    ]
    assert rows_with_findings(source) == EXPECTED[1:3] + EXPECTED[4:]
    assert source.rows["uri"][0] == f"{place}/images-0/{copied}"


def test_read_other_separator_in_rewritten_table_is_refused_until_set(tmp_path: Path) -> None:
    """Fails if the advice names a setting that this reader ignores."""
    folder = put(nih_files(), str(tmp_path / "nih"))
    table = Path(folder) / "Data_Entry_2017_v2020.csv"
    expected = chestxray14.read(folder, ["Effusion"]).findings
    table.write_text(table.read_text().replace("|", " & "))
    with pytest.raises(ValueError, match=r"'Effusion' also stands inside .* add separator=& to data_table"):
        chestxray14.read(folder, ["Effusion"])
    pd.testing.assert_frame_equal(chestxray14.read(folder, ["Effusion"], separator="&").findings, expected)


def test_read_empty_cells_are_unknown(folder: str) -> None:
    """Fails if empty findings count as absent, or if all images without a patient id share one patient."""
    blank = TABLE_V2020.replace("No Finding,0,8,", ",0,,").replace("Mass,0,2,", "Mass,0,,")
    source = chestxray14.read(put(nih_files() | {V2020: blank.encode()}, folder))
    assert source.findings.loc[7].isna().all()
    assert source.findings.loc[2, "Mass"] == 1.0
    assert sorted(source.findings) == ["Effusion", "Mass", "No Finding", "Pneumonia"]
    assert source.rows["patient_id"][[2, 7]].tolist() == ["00000002_000.png", "00000008_000.png"]
    assert source.notes == ("2 images have no patient id: each counts as its own patient",)


def test_read_missing_table_or_list_raises(folder: str) -> None:
    files = nih_files()
    for name, message in {
        V2020: f"data_source must contain {V2020} or {V2017} (plain, .gz or .zip); {folder} contains neither",
        "test_list.txt": f"train_val_list.txt and test_list.txt or neither; {folder} contains only train_val_list.txt",
        "train_val_list.txt": f"train_val_list.txt and test_list.txt or neither; {folder} contains only test_list.txt",
    }.items():
        path = Path(put(files, folder)) / name
        path.unlink()
        with pytest.raises(FileNotFoundError) as error:
            chestxray14.read(folder)
        assert message in str(error.value)


def test_read_missing_folder_raises(folder: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"no such folder: {folder}"):
        chestxray14.read(folder)


INVALID = {
    "missing columns": (
        {V2020: TABLE_V2020.replace("Patient ID", "Patient").replace("View Position", "View").encode()},
        "Patient Age, Patient Gender, View Position; missing: Patient ID, View Position",
    ),
    "image in both lists": (
        {"test_list.txt": "\n".join((*TEST, "00000001_001.png")).encode()},
        "an image must be in only one official list, got 1 in both: 00000001_001.png",
    ),
    "lists of other images": (
        {"test_list.txt": b"00000100_000.png", "train_val_list.txt": b""},
        "that name none of 8, e.g. 00000001_000.png; correct both lists or remove both",
    ),
}


@pytest.mark.parametrize(("changes", "message"), INVALID.values(), ids=INVALID)
def test_read_inconsistent_source_raises(folder: str, changes: dict[str, bytes], message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the end of the message is compared
        chestxray14.read(put(nih_files() | changes, folder))
    assert str(error.value).endswith(message)


@given(age=st.integers(0, 120))
def test_age_in_years_both_versions_agree(age: int) -> None:
    assert age_in_years(f"{age:03d}Y") == age_in_years(f"{age}") == float(age)


def test_age_in_years_infants_and_malformed_ages() -> None:
    assert age_in_years("011M") == pytest.approx(0.9167, abs=1e-4)
    assert age_in_years("003D") == pytest.approx(0.0082, abs=1e-4)
    assert all(math.isnan(age_in_years(text)) for text in ("", "121", "411Y", "-5", "5.5", "058X", "old"))


def test_read_malformed_age_is_missing_and_image_kept(folder: str) -> None:
    files = nih_files() | {V2020: TABLE_V2020.replace(",80,M", ",148,M").encode()}
    ages = chestxray14.read(put(files, folder)).rows["age"]
    assert list(ages.index[ages.isna()]) == [2]
    assert pd.api.types.is_float_dtype(ages)


def test_check_known_labels_unknown_label_raises_with_suggestion() -> None:
    check_known_labels(("Mass", "Edema"), {"Edema", "Mass"})
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        check_known_labels(("Mass", "Edma"), {"Edema", "Mass"})
    assert str(error.value) == (
        "data_labels must be findings of the dataset (Edema, Mass), got 'Edma'; did you mean 'Edema'?"
    )
