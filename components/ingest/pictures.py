"""The pictures of a data set, PNG and JPEG files in any folders and in .tar.gz archives, and how a table names them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from components import archives, storage
from components.records import exclusion

SUFFIXES = (".png", ".jpg", ".jpeg")
COLUMNS = {"path": "string", "uri": "string", "bytes": "int64", "md5": "string"}


def listed(entries: Iterable[storage.Entry]) -> pd.DataFrame:
    """Every picture: path below the source, uri, bytes and md5, in order of its path.

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
    return frame(found)


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
    ids, theirs = max(ways, key=lambda way: way[0].isin(way[1]).sum())
    if len(found) and not ids.isin(theirs).any():
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
    excluded = [
        exclusion(again, "row repeats an earlier row of the table"),
        exclusion(namesakes, "picture's name occurs in more than one folder"),
        exclusion(table["image_id"][~table["image_id"].isin(rows["image_id"])], "row without a picture"),
        exclusion(found["image_id"][~found["image_id"].isin(rows["image_id"])], "picture without a row"),
    ]
    return rows, pd.concat(excluded)
