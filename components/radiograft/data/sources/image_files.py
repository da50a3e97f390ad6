"""Lists the PNG and JPEG files of a dataset, in folders and .tar.gz archives, and joins them with a table's rows."""

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
UNSUPPORTED = (".bmp", ".dcm", ".dicom", ".gif", ".jp2", ".npy", ".tif", ".tiff", ".webp")
COLUMNS = {"path": "string", "uri": "string", "bytes": "int64", "md5": "string"}
OUTSIDE_PATH = r"^/|(?:^|/)\.\.(?:/|$)"  # absolute paths and paths with ..


def list_images(entries: Iterable[storage.ObjectInfo]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Lists the images of a dataset, including those in archives.

    Files are read only to compute checksums that the storage does not provide. Archives are read in parallel. Files
    with a suffix in UNSUPPORTED are excluded; inside archives they are ignored.

    Returns:
        The images with path below the source, uri, bytes and md5, sorted by path; and the excluded files as
        `exclusion` rows.

    Raises:
        ValueError: An archive is corrupt.
    """
    entries = list(entries)
    files = (entry for entry in entries if entry.name.lower().endswith(SUFFIXES))
    archives = [entry for entry in entries if entry.name.lower().endswith(tar_archive.SUFFIX)]
    images = list(storage.with_md5(files))
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        for members in pool.map(_list_members, archives):
            images += members
    frame = image_frame(images)
    outside = frame["path"].str.contains(OUTSIDE_PATH)
    unsupported = [entry.name for entry in entries if entry.name.lower().endswith(UNSUPPORTED)]
    excluded = [exclusion(frame["path"][outside], OUTSIDE), exclusion(unsupported, "not a PNG or JPEG file")]
    return frame[~outside].reset_index(drop=True), pd.concat(excluded, ignore_index=True)


def _list_members(archive: storage.ObjectInfo) -> list[storage.ObjectInfo]:
    """Lists the images in an archive except hidden ones, such as the `._x.png` that macOS adds for each `x.png`."""
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
        if re.search(OUTSIDE_PATH, name) or not storage.is_hidden(name)  # paths outside the folder are reported
    ]


def image_frame(entries: Iterable[storage.ObjectInfo]) -> pd.DataFrame:
    """Returns a row with path, uri, bytes and md5 per entry, sorted by path; the md5 must be known."""
    rows = pd.DataFrame([(e.name, e.uri, e.size, e.md5) for e in entries], columns=list(COLUMNS)).astype(COLUMNS)
    return rows.sort_values("path", kind="stable", ignore_index=True)


def file_names(paths: pd.Series[str]) -> pd.Series[str]:
    """Returns the last component of each path."""
    return _path_ends(paths, 0)


def match_images_to_rows(rows: pd.DataFrame, images: pd.DataFrame, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds a common `image_id` to a table's rows and to the images.

    The id is the part of the path that identifies most images: the whole path, its last components, the file name,
    the file name without suffix, or the SOPInstanceUID.

    Args:
        rows: Rows of the table with the column `image`.
        images: Images with `path` and, for DICOM files, `instance_uid`; `path` is dropped.
        table: Name of the table, for messages.

    Raises:
        ValueError: The table names none of the images.
    """
    names, paths = rows["image"], images["path"]
    depth = min(column.str.count("/").max() if len(column) else 0 for column in (names, paths))
    candidates = [(names, paths)]
    candidates += [(_path_ends(names, folders), _path_ends(paths, folders)) for folders in range(depth, -1, -1)]
    file_names_in_rows, file_names_of_images = candidates[-1]
    candidates.append((file_names_in_rows, file_names_of_images.str.replace(r"\.\w+$", "", regex=True)))
    if "instance_uid" in images:
        candidates.append((names, images["instance_uid"]))
    row_ids, image_ids = max(candidates, key=lambda candidate: _count_matches(names, *candidate))
    if len(images) and not isin(row_ids, image_ids).any():
        raise ValueError(
            f"{table} must name images below its folder by path, file name or SOPInstanceUID; none of its "
            f"{len(rows)} rows names one of the {len(images)} images there"
        )
    return rows.assign(image_id=row_ids), images.drop(columns="path").assign(image_id=image_ids)


def _path_ends(paths: pd.Series[str], folders: int) -> pd.Series[str]:
    """Returns the file names, each with up to this number of parent folders."""
    return paths.map(lambda path: "/".join(path.rsplit("/", folders + 1)[-folders - 1 :])).astype("string")


def _count_matches(names: pd.Series[str], row_ids: pd.Series[str], image_ids: pd.Series[str]) -> tuple[int, int]:
    """Counts the images whose id is unique among images and among the table's distinct names, and the matched rows."""
    distinct = row_ids[~names.duplicated()]
    unique = isin(image_ids, distinct[~distinct.duplicated(keep=False)]) & ~image_ids.duplicated(keep=False)
    return int(unique.sum()), int(isin(row_ids, image_ids).sum())


def join_labels(table: pd.DataFrame, images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Joins a table's rows with the images by `image_id`.

    Rows of one image are merged if they name one patient and split; a view, sex or age that differs becomes unknown.
    Of several images with the same id and content the first is kept. Images with contradictory rows, and images with
    the same id but different content, are excluded.

    Args:
        table: `image_id` and other columns; missing values and "" are unknown. Of columns of numbers but age, which
            hold findings, the maximum counts.
        images: `image_id`, `md5` and other columns.

    Returns:
        One row per image, sorted by `image_id`; and the excluded rows and images as `exclusion` rows.
    """
    row_ids, image_ids = table["image_id"], images["image_id"]
    merged, conflicting = _merge_rows(table[isin(row_ids, image_ids)])
    contents = images.drop_duplicates(["image_id", "md5"])["image_id"]
    ambiguous = contents[contents.duplicated()]
    kept = images[~image_ids.duplicated() & ~isin(image_ids, pd.concat([conflicting, ambiguous]))]
    unmatched = row_ids[~row_ids.duplicated() & ~isin(row_ids, image_ids)]
    outside = unmatched.str.contains(OUTSIDE_PATH)
    repeated = image_ids[image_ids.duplicated() | isin(image_ids, ambiguous)]
    excluded = [
        exclusion(row_ids[row_ids.duplicated() & ~isin(row_ids, conflicting)], "duplicate row for an image"),
        exclusion(conflicting, CONFLICTING_ROWS),
        exclusion(repeated, "file name used in more than one folder"),
        exclusion(unmatched[~outside], "row without an image"),
        exclusion(unmatched[outside], OUTSIDE),
        exclusion(image_ids[~isin(image_ids, row_ids)], "image without a row"),
    ]
    rows = merged.merge(kept, on="image_id", how="inner").sort_values("image_id", ignore_index=True)
    return rows, pd.concat(excluded)


OPTIONAL = ("view", "sex", "age", "manufacturer")  # columns that may differ between rows of an image


def _merge_rows(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Merges the rows of each `image_id`. Returns the merged rows, and the ids whose rows contradict each other."""
    shared = rows["image_id"].duplicated(keep=False)
    findings = [str(name) for name in rows.select_dtypes("float64") if name not in OPTIONAL]
    groups = rows[shared].replace("", pd.NA).groupby("image_id", as_index=False)
    merged, differs = groups.first(), groups.nunique().drop(columns="image_id").gt(1)
    for name in rows.columns.intersection(list(OPTIONAL)):
        merged[name] = merged[name].mask(differs[name])
    merged[findings] = groups[findings].max()[findings]
    conflicting = differs.drop(columns=[*OPTIONAL, *findings], errors="ignore").any(axis="columns")
    return pd.concat([rows[~shared], merged[~conflicting]]), merged["image_id"][conflicting]


def isin(ids: pd.Series[str], others: pd.Series[str]) -> pd.Series[bool]:
    """Returns `ids.isin(others)`, ten times as fast as on Arrow-backed columns."""
    return ids.astype(object).isin(others.astype(object))
