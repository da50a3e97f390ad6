"""The images of a data set, PNG and JPEG files in any folders and in .tar.gz archives, and how a table names them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from radiograft import storage
from radiograft.config.data_policy import CONFLICTING_ROWS, OUTSIDE
from radiograft.data.catalog import exclusion
from radiograft.storage import tar_archive

SUFFIXES = (".png", ".jpg", ".jpeg")
OTHERS = (".bmp", ".dcm", ".dicom", ".gif", ".jp2", ".npy", ".tif", ".tiff", ".webp")
COLUMNS = {"path": "string", "uri": "string", "bytes": "int64", "md5": "string"}
LEAVING = r"^/|(?:^|/)\.\.(?:/|$)"  # a path that leads out of the folder


def list_images(entries: Iterable[storage.ObjectInfo]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every image: path below the source, uri, bytes and md5, in order of its path; and what was set aside and why.

    Files in a bucket that knows their checksums are not read. Archives are, whole, several at a time; files of OTHERS
    are set aside unread, in an archive untold.

    Raises:
        ValueError: a damaged archive.
    """
    entries = list(entries)
    files = (entry for entry in entries if entry.name.lower().endswith(SUFFIXES))
    packed = [entry for entry in entries if entry.name.lower().endswith(tar_archive.SUFFIX)]
    found = list(storage.with_md5(files))
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        for members in pool.map(_members, packed):
            found += members
    listed = image_frame(found)
    leaving = listed["path"].str.contains(LEAVING)
    others = [entry.name for entry in entries if entry.name.lower().endswith(OTHERS)]
    strays = [exclusion(listed["path"][leaving], OUTSIDE), exclusion(others, "no PNG or JPEG")]
    return listed[~leaving].reset_index(drop=True), pd.concat(strays, ignore_index=True)


def _members(archive: storage.ObjectInfo) -> list[storage.ObjectInfo]:
    """The images in an archive but for hidden ones, which storage passes over too: macOS packs `._x.png` beside x."""
    folder = archive.name.rpartition("/")[0]
    return [
        storage.ObjectInfo(
            "/".join(filter(None, (folder, name))),
            member.uri,
            len(member.content),
            hashlib.md5(member.content, usedforsecurity=False).hexdigest(),
        )
        for member in tar_archive.iter_members(archive.uri, SUFFIXES)
        for name in [member.name.removeprefix("./")]
        if re.search(LEAVING, name) or not storage.is_hidden(name)  # what leads out of the folder is told
    ]


def image_frame(entries: Iterable[storage.ObjectInfo]) -> pd.DataFrame:
    """Path, uri, bytes and md5 of entries whose checksums are known, in order of the path."""
    rows = pd.DataFrame([(e.name, e.uri, e.size, e.md5) for e in entries], columns=list(COLUMNS)).astype(COLUMNS)
    return rows.sort_values("path", kind="stable", ignore_index=True)


def file_names(paths: pd.Series[str]) -> pd.Series[str]:
    """The paths without their folders."""
    return _end(paths, 0)


def match_images_to_rows(rows: pd.DataFrame, found: pd.DataFrame, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with `image_id`, which is what tells most images apart: path, as much of its end as both have, file name,
    that without suffix, or SOPInstanceUID.

    Args:
        rows: of the table, with `image`.
        found: images with `path` and, of DICOM files, `instance_uid`; these columns are replaced by `image_id`.

    Raises:
        ValueError: the table names none of the images.
    """
    wanted, there = rows["image"], found["path"]
    folders = min(paths.str.count("/").max() if len(paths) else 0 for paths in (wanted, there))
    ends = [(_end(wanted, count), _end(there, count)) for count in range(folders, -1, -1)]
    names, files = ends[-1]
    ways = [(wanted, there), *ends, (names, files.str.replace(r"\.\w+$", "", regex=True))]
    ways += [(wanted, found["instance_uid"])] if "instance_uid" in found else []
    ids, theirs = max(ways, key=lambda way: _told_apart(wanted, *way))
    if len(found) and not isin(ids, theirs).any():
        raise ValueError(
            f"{table} must name images below its folder by path, file name or SOPInstanceUID; none of its "
            f"{len(rows)} rows names one of the {len(found)} images there"
        )
    return rows.assign(image_id=ids), found.drop(columns="path").assign(image_id=theirs)


def _end(paths: pd.Series[str], folders: int) -> pd.Series[str]:
    """The file names with so many of the folders before them."""
    return paths.map(lambda path: "/".join(path.rsplit("/", folders + 1)[-folders - 1 :])).astype("string")


def _told_apart(wanted: pd.Series[str], ids: pd.Series[str], theirs: pd.Series[str]) -> tuple[int, int]:
    """How many images have an id that no other image has, and of the paths in the table one alone; and how many
    rows have an image."""
    paths = ids[~wanted.duplicated()]
    alone = isin(theirs, paths[~paths.duplicated(keep=False)]) & ~theirs.duplicated(keep=False)
    return int(alone.sum()), int(isin(ids, theirs).sum())


def join_labels(table: pd.DataFrame, found: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The images of which a table tells something, with all that its rows tell, in order of `image_id`; and what was
    set aside and why.

    Of images of one name and content the first stays. Of rows that tell different things of an image, and of
    images of one name and different content, none does: nobody knows which is meant.

    Args:
        table: `image_id` and what is told, missing or "" where nothing is.
        found: `image_id`, `md5` and more.
    """
    ids, theirs = table["image_id"], found["image_id"]
    told, contrary = _told(table[isin(ids, theirs)])
    contents = found.drop_duplicates(["image_id", "md5"])["image_id"]
    unlike = contents[contents.duplicated()]
    unclear = pd.concat([contrary, unlike])
    images = found[~theirs.duplicated() & ~isin(theirs, unclear)]
    without = ids[~ids.duplicated() & ~isin(ids, theirs)]
    leaving = without.str.contains(LEAVING)
    excluded = [
        exclusion(ids[ids.duplicated() & ~isin(ids, contrary)], "duplicate row for an image"),
        exclusion(contrary, CONFLICTING_ROWS),
        exclusion(theirs[theirs.duplicated() | isin(theirs, unlike)], "file name used in more than one folder"),
        exclusion(without[~leaving], "row without an image"),
        exclusion(without[leaving], OUTSIDE),
        exclusion(theirs[~isin(theirs, ids)], "image without a row"),
    ]
    rows = told.merge(images, on="image_id", how="inner").sort_values("image_id", ignore_index=True)
    return rows, pd.concat(excluded)


def _told(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[str]]:
    """One row an `image_id` with what any of its rows tells, and the ids of which rows tell different things."""
    shared = rows["image_id"].duplicated(keep=False)
    parts = rows[shared].replace("", pd.NA).groupby("image_id", as_index=False)
    merged = parts.first()
    contrary = parts.nunique().drop(columns="image_id").gt(1).any(axis="columns")
    return pd.concat([rows[~shared], merged[~contrary]]), merged["image_id"][contrary]


def isin(ids: pd.Series[str], others: pd.Series[str]) -> pd.Series[bool]:
    """As `ids.isin(others)`, which takes ten times as long with columns of Arrow's."""
    return ids.astype(object).isin(others.astype(object))
