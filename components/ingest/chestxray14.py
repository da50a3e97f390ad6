"""Reader of NIH ChestX-ray14's own layout: pictures in any folders, the table, the official lists."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Iterable
from pathlib import PurePosixPath

import pandas as pd

from components import storage
from components.ingest.source import Source
from components.records import exclusion

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
PICTURES = (".png", ".jpg", ".jpeg")
COLUMNS = {
    "Image Index": "image_id",
    "Finding Labels": "findings",
    "Patient ID": "patient_id",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "view",
}
OLDEST = 120.0
YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "D": 1 / 365.25}


def read(uri: str) -> Source:
    """Reads a folder or gs:// prefix in NIH's layout.

    `official` is `train_val`, `test` or, where no lists exist, missing. Findings are those that the whole table knows.
    Of the pictures only size and checksum are read, and in a bucket not even those.

    Raises:
        FileNotFoundError: the folder, its table or one of the two lists is missing.
        ValueError: a table without its columns, a picture in both lists, or lists of other pictures.
    """
    files = {entry.name: entry for entry in storage.list_files(uri)}
    table, repeated = _read_table(files, uri)
    pictures, twice = _pictures(files.values())
    rows = table.merge(pictures, on="image_id", how="inner").sort_values("image_id", ignore_index=True)
    excluded = [
        exclusion(repeated, "row repeats an earlier row of the table"),
        exclusion(twice, "picture's name occurs in more than one folder"),
        exclusion(table["image_id"][~table["image_id"].isin(rows["image_id"])], "row without a picture"),
        exclusion(pictures["image_id"][~pictures["image_id"].isin(rows["image_id"])], "picture without a row"),
    ]
    rows["official"] = _official(rows["image_id"], _read_lists(files, uri), uri)
    known = sorted(set("|".join(table["findings"].unique()).split("|")))
    findings = rows["findings"].str.get_dummies(sep="|").astype("float64").reindex(columns=known, fill_value=0.0)
    return Source(uri, rows.drop(columns="findings"), findings, pd.concat(excluded))


def years(age: str) -> float:
    """Age in years from `57`, `058Y`, `011M` or `003D`; NaN where it is unreadable or above 120."""
    match = re.fullmatch(r"(\d+)([YMD]?)", age.strip())
    if not match:
        return float("nan")
    value = int(match[1]) * YEARS[match[2]]
    return value if value <= OLDEST else float("nan")


def _read_table(files: dict[str, storage.Entry], uri: str) -> tuple[pd.DataFrame, list[str]]:
    """The table with our column names, and the ids of its repeated rows."""
    name = next((name for table in TABLES for name in (table, table + ".gz") if name in files), None)
    if name is None:
        raise FileNotFoundError(f"data_source must hold {' or '.join(TABLES)} (plain or .gz), none is in {uri}")
    data = storage.read_bytes(files[name].uri)
    frame = pd.read_csv(
        io.BytesIO(gzip.decompress(data) if name.endswith(".gz") else data),
        dtype="string",
        keep_default_na=False,
        encoding="utf-8-sig",
        index_col=False,
    )
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    frame = frame[list(COLUMNS)].rename(columns=COLUMNS)
    frame["patient_id"] = frame["patient_id"].str.replace(r"^0+(?=\d)", "", regex=True)  # 00000001 is 1 in v2020
    frame["age"] = frame["age"].map(years).astype("float64")
    repeated = frame["image_id"].duplicated()
    return frame[~repeated], list(frame["image_id"][repeated])


def _pictures(entries: Iterable[storage.Entry]) -> tuple[pd.DataFrame, list[str]]:
    """Pictures by file name with uri, bytes and md5, and the names that occur more than once (the first one stays)."""
    chosen = [entry for entry in entries if entry.name.lower().endswith(PICTURES)]
    frame = pd.DataFrame(
        [(PurePosixPath(e.name).name, e.uri, e.size, e.md5) for e in storage.with_md5(chosen)],
        columns=["image_id", "uri", "bytes", "md5"],
    ).astype({"image_id": "string", "uri": "string", "bytes": "int64", "md5": "string"})
    twice = frame["image_id"].duplicated()
    return frame[~twice], list(frame["image_id"][twice])


def _official(image_ids: pd.Series[str], lists: dict[str, str] | None, uri: str) -> pd.Series[str]:
    official = image_ids.map(lists or {}).astype("string")
    if lists is not None and len(official) and official.isna().all():
        raise ValueError(
            f"the official lists must name the pictures, got lists in {uri} that name none of {len(official)}, e.g. "
            f"{image_ids.iloc[0]}; repair both lists or leave both out"
        )
    return official


def _read_lists(files: dict[str, storage.Entry], uri: str) -> dict[str, str] | None:
    """Official split by image id, or None where the data set has no lists."""
    present = [name for name in LISTS.values() if name in files]
    if len(present) == 1:
        raise FileNotFoundError(
            f"data_source must hold both {' and '.join(LISTS.values())} or neither; {uri} has {present[0]} only"
        )
    if not present:
        return None
    members = {split: _lines(storage.read_bytes(files[name].uri)) for split, name in LISTS.items()}
    both = sorted(set(members["train_val"]) & set(members["test"]))
    if both:
        raise ValueError(f"a picture must be in one official list only, {len(both)} are in both: {', '.join(both[:5])}")
    return {image_id: split for split, ids in members.items() for image_id in ids}


def _lines(content: bytes) -> list[str]:
    return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
