"""Reader of NIH ChestX-ray14's own layout: images in any folders or archives, the table, the official lists."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from radiograft import storage
from radiograft.data import table_files as table_io
from radiograft.data.catalog import BOX_COLUMNS, CORNERS, exclusion, no_boxes
from radiograft.data.sources import image_files
from radiograft.data.sources.base import Source, age_in_years, patient_ids
from radiograft.data.sources.image_files import isin
from radiograft.utils.errors import SensitiveValueError

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
COLUMNS = {
    "Image Index": "image_id",
    "Finding Labels": "findings",
    "Patient ID": "patient_id",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "view",
}

BOX_TABLE = "BBox_List_2017.csv"
BOX_HEADER = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")  # NIH put commas into a column's name
IMAGE_SIDE = 1024  # pixels of the square images that the boxes were drawn on
BOX_FINDINGS = {"Infiltrate": "Infiltration"}  # the data set's own name for what the box table calls otherwise


def read(uri: str) -> Source:
    """Reads a folder or gs:// prefix in NIH's layout.

    `official` is `train_val`, `test` or, where no lists exist, missing. Findings are those that the whole table knows,
    boxes those of `BBox_List_2017.csv`, where it is.
    Of the images only size and checksum are read, and in a bucket not even those; archives are read once.

    Raises:
        FileNotFoundError: the folder, its table or one of the two lists is missing.
        ValueError: a table without its columns, an image in both lists, or lists of other images.
    """
    files = {entry.name: entry for entry in storage.list_files(uri)}
    table = _read_table(files, uri)
    found, strays = image_files.list_images(files.values())
    found["image_id"] = image_files.file_names(found.pop("path"))
    rows, excluded = image_files.join_labels(table, found)
    drawn, not_drawn = _read_boxes(files, rows["image_id"])
    rows["official"] = _official(rows["image_id"], _read_lists(files, uri), uri)
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    known = sorted(set("|".join(table["findings"].unique()).split("|")) - {""})
    named = rows["findings"].fillna("")
    findings = named.str.get_dummies(sep="|").astype("float64").reindex(columns=known, fill_value=0.0)
    findings = findings.mask(named == "")
    excluded = pd.concat([strays, excluded, not_drawn])
    return Source(uri, rows.drop(columns="findings"), findings, excluded, notes, drawn)


def _read_table(files: dict[str, storage.ObjectInfo], uri: str) -> pd.DataFrame:
    """The table with our column names."""
    found = table_io.first_table(files, TABLES)
    if found is None:
        raise FileNotFoundError(f"data_source must hold {' or '.join(TABLES)} (plain, .gz or .zip), none is in {uri}")
    name, content = found
    frame = table_io.read_csv(name, content)
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    frame = frame[list(COLUMNS)].rename(columns=COLUMNS)
    frame["patient_id"] = frame["patient_id"].str.replace(r"^0+(?=\d)", "", regex=True)  # 00000001 is 1 in v2020
    frame["age"] = frame["age"].map(age_in_years).astype("float64")
    return frame


def _read_boxes(
    files: Mapping[str, storage.ObjectInfo], image_ids: pd.Series[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    found = table_io.first_table(files, [BOX_TABLE])
    return read_boxes(found[1], image_ids) if found else (no_boxes(), exclusion([], ""))


def _official(image_ids: pd.Series[str], lists: dict[str, str] | None, uri: str) -> pd.Series[str]:
    official = image_ids.map(lists or {}).astype("string")
    if lists is not None and len(official) and official.isna().all():
        asked = f"the official lists must name the images, got lists in {uri} that name none of {len(official)}"
        mend = "; repair both lists or leave both out"
        raise SensitiveValueError(f"{asked}, e.g. {image_ids.iloc[0]}{mend}", f"{asked}{mend}")
    return official


def _read_lists(files: dict[str, storage.ObjectInfo], uri: str) -> dict[str, str] | None:
    """Official split by image id, or None where the data set has no lists."""
    present = [name for name in LISTS.values() if name in files]
    if len(present) == 1:
        raise FileNotFoundError(
            f"data_source must hold both {' and '.join(LISTS.values())} or neither; {uri} has {present[0]} only"
        )
    if not present:
        return None
    members = {split: _lines(name, storage.read_bytes(files[name].uri)) for split, name in LISTS.items()}
    both = sorted(set(members["train_val"]) & set(members["test"]))
    if both:
        asked = f"an image must be in one official list only, {len(both)} are in both"
        raise SensitiveValueError(f"{asked}: {', '.join(both[:5])}", asked)
    return {image_id: split for split, ids in members.items() for image_id in ids}


def _lines(name: str, content: bytes) -> list[str]:
    return [line.strip() for line in table_io.decode_text(name, content).splitlines() if line.strip()]


def read_boxes(content: bytes, image_ids: pd.Series[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The boxes of the images that are there, as `records.no_boxes` describes them, and what was set aside and why.

    A box that reaches over its image's edge is cut there.

    Raises:
        ValueError: the table has another header, or is not UTF-8.
    """
    table = table_io.read_csv(BOX_TABLE, content)
    if tuple(table.columns[: len(BOX_HEADER)]) != BOX_HEADER:
        raise ValueError(
            f"{BOX_TABLE} must begin with the columns {', '.join(BOX_HEADER)}, got {', '.join(table.columns)}"
        )
    table = table[list(BOX_HEADER)].set_axis(list(BOX_COLUMNS), axis="columns")
    table["finding"] = table["finding"].replace(BOX_FINDINGS)
    left, top, width, height = (
        pd.to_numeric(table[column], errors="coerce").astype("float64") / IMAGE_SIDE for column in CORNERS
    )
    table["x"], table["y"] = left.clip(0, 1), top.clip(0, 1)
    table["width"] = (left + width).clip(0, 1) - table["x"]
    table["height"] = (top + height).clip(0, 1) - table["y"]
    known = isin(table["image_id"], image_ids)
    inside = (table["width"] > 0) & (table["height"] > 0)
    excluded = [
        exclusion(table["image_id"][~known], "bounding box for a missing image"),
        exclusion(table["image_id"][known & ~inside], "bounding box outside its image"),
    ]
    return table[known & inside].astype(BOX_COLUMNS).reset_index(drop=True), pd.concat(excluded)
