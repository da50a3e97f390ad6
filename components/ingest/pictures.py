"""The pictures of a data set, PNG and JPEG files in any folders and in .tar.gz archives, and how a table names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from components import archives, storage
from components.records import exclusion
from components.validation.policy import OUTSIDE

SUFFIXES = (".png", ".jpg", ".jpeg")
COLUMNS = {"path": "string", "uri": "string", "bytes": "int64", "md5": "string"}
LEAVING = r"^/|(?:^|/)\.\.(?:/|$)"  # a path that leads out of the folder


def listed(entries: Iterable[storage.Entry]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every picture: path below the source, uri, bytes and md5, in order of its path; and what was set aside and why.

    Files in a bucket that knows their checksums are not read. Archives are, whole, several at a time.

    Raises:
        ValueError: a damaged archive.
    """
    entries = list(entries)
    files = (entry for entry in entries if entry.name.lower().endswith(SUFFIXES))
    packed = [entry for entry in entries if entry.name.lower().endswith(archives.SUFFIX)]
    found = list(storage.with_md5(files))
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        for members in pool.map(_members, packed):
            found += members
    listed = frame(found)
    leaving = listed["path"].str.contains(LEAVING)
    return listed[~leaving].reset_index(drop=True), exclusion(listed["path"][leaving], OUTSIDE)


def _members(archive: storage.Entry) -> list[storage.Entry]:
    folder = archive.name.rpartition("/")[0]
    return [
        storage.Entry(
            "/".join(filter(None, (folder, member.name.removeprefix("./")))),
            member.uri,
            len(member.content),
            hashlib.md5(member.content, usedforsecurity=False).hexdigest(),
        )
        for member in archives.members(archive.uri, SUFFIXES)
    ]


def frame(entries: Iterable[storage.Entry]) -> pd.DataFrame:
    """Path, uri, bytes and md5 of entries whose checksums are known, in order of the path."""
    rows = pd.DataFrame([(e.name, e.uri, e.size, e.md5) for e in entries], columns=list(COLUMNS)).astype(COLUMNS)
    return rows.sort_values("path", kind="stable", ignore_index=True)


def file_names(paths: pd.Series[str]) -> pd.Series[str]:
    """The paths without their folders."""
    return paths.str.replace(r"^.*/", "", regex=True)


def named_alike(rows: pd.DataFrame, found: pd.DataFrame, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with `image_id`, which is what names most pictures: path, file name, that without suffix, or SOPInstanceUID.

    Args:
        rows: of the table, with `image`.
        found: pictures with `path` and, of DICOM files, `instance_uid`; these columns are replaced by `image_id`.

    Raises:
        ValueError: the table names none of the pictures.
    """
    wanted = rows["image"].str.removeprefix("./")
    names, theirs = file_names(wanted), file_names(found["path"])
    ways = [(wanted, found["path"]), (names, theirs), (names, theirs.str.replace(r"\.\w+$", "", regex=True))]
    ways += [(wanted, found["instance_uid"])] if "instance_uid" in found else []
    ids, theirs = max(ways, key=lambda way: among(*way).sum())
    if len(found) and not among(ids, theirs).any():
        raise ValueError(
            f"{table} must name pictures below its folder by path, file name or SOPInstanceUID; none of its "
            f"{len(rows)} rows names one of the {len(found)} pictures there"
        )
    return rows.assign(image_id=ids), found.drop(columns="path").assign(image_id=theirs)


def joined(table: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a table that have a picture, by `image_id` and in its order, and what was set aside and why."""
    repeated, twice = table["image_id"].duplicated(), found["image_id"].duplicated()
    again, namesakes = table["image_id"][repeated], found["image_id"][twice]
    table, found = table[~repeated], found[~twice]
    rows = table.merge(found, on="image_id", how="inner").sort_values("image_id", ignore_index=True)
    without = table["image_id"][~among(table["image_id"], rows["image_id"])]
    leaving = without.str.contains(LEAVING)
    excluded = [
        exclusion(again, "row repeats an earlier row of the table"),
        exclusion(namesakes, "picture's name occurs in more than one folder"),
        exclusion(without[~leaving], "row without a picture"),
        exclusion(without[leaving], OUTSIDE),
        exclusion(found["image_id"][~among(found["image_id"], rows["image_id"])], "picture without a row"),
    ]
    return rows, pd.concat(excluded)


def among(ids: pd.Series[str], others: pd.Series[str]) -> pd.Series[bool]:
    """As `ids.isin(others)`, which takes ten times as long with columns of Arrow's."""
    return ids.astype(object).isin(others.astype(object))
