"""The pictures of a data set, PNG and JPEG files in any folders and in .tar.gz archives, and how a table names them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from components import archives, storage
from components.records import exclusion
from components.validation.policy import CONTRARY_ROWS, OUTSIDE

SUFFIXES = (".png", ".jpg", ".jpeg")
OTHERS = (".bmp", ".dcm", ".dicom", ".gif", ".jp2", ".npy", ".tif", ".tiff", ".webp")
COLUMNS = {"path": "string", "uri": "string", "bytes": "int64", "md5": "string"}
LEAVING = r"^/|(?:^|/)\.\.(?:/|$)"  # a path that leads out of the folder


def listed(entries: Iterable[storage.Entry]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every picture: path below the source, uri, bytes and md5, in order of its path; and what was set aside and why.

    Files in a bucket that knows their checksums are not read. Archives are, whole, several at a time; files of OTHERS
    are set aside unread, in an archive untold.

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
    others = [entry.name for entry in entries if entry.name.lower().endswith(OTHERS)]
    strays = [exclusion(listed["path"][leaving], OUTSIDE), exclusion(others, "no PNG or JPEG")]
    return listed[~leaving].reset_index(drop=True), pd.concat(strays, ignore_index=True)


def _members(archive: storage.Entry) -> list[storage.Entry]:
    """The pictures in an archive but for hidden ones, which storage passes over too: macOS packs `._x.png` beside x."""
    folder = archive.name.rpartition("/")[0]
    return [
        storage.Entry(
            "/".join(filter(None, (folder, member.name.removeprefix("./")))),
            member.uri,
            len(member.content),
            hashlib.md5(member.content, usedforsecurity=False).hexdigest(),
        )
        for member in archives.members(archive.uri, SUFFIXES)
        if "/." not in f"/{member.name.removeprefix('./')}" or re.search(LEAVING, member.name)
    ]


def frame(entries: Iterable[storage.Entry]) -> pd.DataFrame:
    """Path, uri, bytes and md5 of entries whose checksums are known, in order of the path."""
    rows = pd.DataFrame([(e.name, e.uri, e.size, e.md5) for e in entries], columns=list(COLUMNS)).astype(COLUMNS)
    return rows.sort_values("path", kind="stable", ignore_index=True)


def file_names(paths: pd.Series[str]) -> pd.Series[str]:
    """The paths without their folders."""
    return _end(paths, 0)


def named_alike(rows: pd.DataFrame, found: pd.DataFrame, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with `image_id`, which is what tells most pictures apart: path, as much of its end as both have, file name,
    that without suffix, or SOPInstanceUID.

    Args:
        rows: of the table, with `image`.
        found: pictures with `path` and, of DICOM files, `instance_uid`; these columns are replaced by `image_id`.

    Raises:
        ValueError: the table names none of the pictures.
    """
    wanted, there = rows["image"].str.removeprefix("./"), found["path"]
    folders = min(paths.str.count("/").max() if len(paths) else 0 for paths in (wanted, there))
    ways = [(wanted, there), *((_end(wanted, count), _end(there, count)) for count in range(folders, -1, -1))]
    ways += [(file_names(wanted), file_names(there).str.replace(r"\.\w+$", "", regex=True))]
    ways += [(wanted, found["instance_uid"])] if "instance_uid" in found else []
    ids, theirs = max(ways, key=lambda way: _told_apart(*way))
    if len(found) and not among(ids, theirs).any():
        raise ValueError(
            f"{table} must name pictures below its folder by path, file name or SOPInstanceUID; none of its "
            f"{len(rows)} rows names one of the {len(found)} pictures there"
        )
    return rows.assign(image=wanted, image_id=ids), found.drop(columns="path").assign(image_id=theirs)


def _end(paths: pd.Series[str], folders: int) -> pd.Series[str]:
    """The file names with so many of the folders before them."""
    return paths.map(lambda path: "/".join(path.rsplit("/", folders + 1)[-folders - 1 :])).astype("string")


def _told_apart(ids: pd.Series[str], theirs: pd.Series[str]) -> tuple[int, int]:
    """How many pictures have an id that a row has and no other picture, and how many rows have a picture."""
    return int((among(theirs, ids) & ~theirs.duplicated(keep=False)).sum()), int(among(ids, theirs).sum())


def joined(table: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of a table that have a picture, by `image_id` and in its order, and what was set aside and why.

    Of rows that say the same of a picture, and of files of one name and content, the first stays. Where they differ
    none does, for nobody knows which is meant.

    Args:
        table: `image_id` and whatever is said of a picture; `row` is not part of that.
        found: `image_id`, `md5` and more.
    """
    again, contrary = _repeats(table, table.columns.drop(["image_id", "row"], errors="ignore"))
    copies, strangers = _repeats(found, pd.Index(["md5"]))
    excluded = [
        exclusion(table["image_id"][again], "further row of a picture"),
        exclusion(table["image_id"][contrary].unique(), CONTRARY_ROWS),
        exclusion(found["image_id"][copies | strangers], "picture's name occurs in more than one folder"),
    ]
    unclear = pd.concat([table["image_id"][contrary], found["image_id"][strangers]])
    table, found = (part[~among(part["image_id"], unclear)] for part in (table[~again], found[~copies]))
    rows = table.merge(found, on="image_id", how="inner").sort_values("image_id", ignore_index=True)
    without = table["image_id"][~among(table["image_id"], rows["image_id"])]
    leaving = without.str.contains(LEAVING)
    excluded += [
        exclusion(without[~leaving], "row without a picture"),
        exclusion(without[leaving], OUTSIDE),
        exclusion(found["image_id"][~among(found["image_id"], rows["image_id"])], "picture without a row"),
    ]
    return rows, pd.concat(excluded)


def _repeats(rows: pd.DataFrame, told: pd.Index[str]) -> tuple[pd.Series[bool], pd.Series[bool]]:
    """Rows that repeat an earlier one of the same `image_id` in all that is told, and every row of an `image_id` of
    which different things are told."""
    shared = rows[rows["image_id"].duplicated(keep=False)]
    kinds = shared.drop_duplicates(["image_id", *told])["image_id"]
    differing = among(rows["image_id"], kinds[kinds.duplicated()])
    return rows["image_id"].duplicated() & ~differing, differing


def among(ids: pd.Series[str], others: pd.Series[str]) -> pd.Series[bool]:
    """As `ids.isin(others)`, which takes ten times as long with columns of Arrow's."""
    return ids.astype(object).isin(others.astype(object))
