"""Finds the image that each row of a table names: by path, then file name, then file name without suffix."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

import pandas as pd

from radiograft.data.sources.image_files import isin
from radiograft.data.sources.listing import OUTSIDE_PATH, SUFFIXES, UNSUPPORTED_SUFFIXES
from radiograft.utils.errors import SensitiveValueError
from radiograft.utils.spelling import fold_case, fold_id

log = logging.getLogger(__name__)

SUFFIX = re.compile(rf"(?:{'|'.join(map(re.escape, (*SUFFIXES, *UNSUPPORTED_SUFFIXES)))})(?:\.gz)?$")


def match_images_to_rows(rows: pd.DataFrame, images: pd.DataFrame, table: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Adds a common `image_id` to a table's rows and to the images.

    The id is the part of the path that identifies most images: the whole path, its last components, the file name,
    the file name without suffix, or the SOPInstanceUID. Remaining rows match if path, name or name without suffix
    differ only in case, separator, Unicode form, suffix, or leading zeros and `.0` of a number from those of exactly
    one image.

    Args:
        rows: Rows of the table with the column `image`.
        images: Images with `path` and, for DICOM files, `instance_uid`; `path` is dropped.
        table: Name of the table, for messages.

    Raises:
        SensitiveValueError: The table names none of the images.
    """
    names, paths = rows["image"], images["path"]
    row_ids, image_ids = _match_exactly(names, images)
    row_ids = _match_alike(names, row_ids, paths, image_ids)
    if len(images) and not isin(row_ids, image_ids).any():
        message = (
            f"{table} must name images below its folder by path, file name or SOPInstanceUID; none of its "
            f"{len(rows)} rows names one of the {len(images)} images there"
        )
        example = f", such as {names.iloc[0]!r}; an image is {paths.iloc[0]!r}" if len(names) else ""
        raise SensitiveValueError(message + example, message)
    return rows.assign(image_id=row_ids), images.drop(columns="path").assign(image_id=image_ids)


def without_rows_of(rows: pd.DataFrame, set_aside: pd.DataFrame, images: pd.DataFrame, table: str) -> pd.DataFrame:
    """Returns the rows without those of files that are set aside, which count once, as files.

    Args:
        rows: Rows with `image` and `image_id` from `match_images_to_rows`.
        set_aside: `image_id`, the path, and reason of the files.
        images: Images with `image_id`.
        table: Name of the table.
    """
    left = rows[~isin(rows["image_id"], images["image_id"])]
    if left.empty or set_aside.empty:
        return rows
    try:
        matched, files = match_images_to_rows(left, set_aside[["image_id"]].set_axis(["path"], axis="columns"), table)
    except SensitiveValueError:
        return rows
    return rows.drop(index=matched.index[isin(matched["image_id"], files["image_id"])])


def _match_exactly(names: pd.Series[str], images: pd.DataFrame) -> tuple[pd.Series[str], pd.Series[str]]:
    """Returns the ids of rows and images by the part of the path that identifies most images."""
    paths = images["path"]
    depth = min(column.str.count("/").max() if len(column) else 0 for column in (names, paths))
    candidates = [(names, paths)]
    candidates += [(_path_ends(names, folders), _path_ends(paths, folders)) for folders in range(depth, -1, -1)]
    file_names_in_rows, file_names_of_images = candidates[-1]
    candidates.append((file_names_in_rows, file_names_of_images.str.replace(r"\.\w+$", "", regex=True)))
    if "instance_uid" in images:
        candidates.append((names, images["instance_uid"]))
    return max(candidates, key=lambda candidate: _count_matches(names, *candidate))


def _match_alike(
    names: pd.Series[str], row_ids: pd.Series[str], paths: pd.Series[str], image_ids: pd.Series[str]
) -> pd.Series[str]:
    """Gives the remaining rows the id of the only image with the same path, name, stem or number, spelled otherwise."""
    left = ~isin(row_ids, image_ids)
    free = ~isin(image_ids, row_ids) & ~image_ids.duplicated(keep=False)
    if not left.any() or not free.any():
        return row_ids
    left &= ~names.str.contains(OUTSIDE_PATH).astype(bool)
    found = row_ids.astype(object)
    for key in KEYS:
        if not left.any():
            break
        keys_of_rows = pd.Series(names.map(key), dtype=object)
        of_images = pd.Series(image_ids.to_numpy(dtype=object), index=paths.map(key).to_numpy(dtype=object))
        of_images = of_images[~of_images.index.duplicated(keep=False)]
        distinct = keys_of_rows[~names.duplicated()]
        clear = (
            left & ~keys_of_rows.isin(distinct[distinct.duplicated(keep=False)]) & keys_of_rows.isin(of_images.index)
        )
        target = keys_of_rows[clear].map(of_images)
        target = target[target.isin(image_ids[free])]
        found[target.index] = target
        left[target.index] = False
        free &= ~image_ids.isin(target)
    matched = int((found != row_ids).sum())
    if matched:
        log.info("%d rows name their image with another case, Unicode form, folder or suffix", matched)
    return found.astype("string")


def _fold_path(path: str) -> str:
    return fold_case(path.replace("\\", "/")).removeprefix("/")


def _fold_file_name(path: str) -> str:
    return _fold_path(path).rpartition("/")[2]


def _fold_stem(path: str) -> str:
    return SUFFIX.sub("", _fold_file_name(path))


def _fold_number(path: str) -> str:
    return fold_id(_fold_stem(path))


KEYS: tuple[Callable[[str], str], ...] = (_fold_path, _fold_file_name, _fold_stem, _fold_number)


def _path_ends(paths: pd.Series[str], folders: int) -> pd.Series[str]:
    """Returns the file names, each with up to this number of parent folders."""
    return paths.map(lambda path: "/".join(path.rsplit("/", folders + 1)[-folders - 1 :])).astype("string")


def _count_matches(names: pd.Series[str], row_ids: pd.Series[str], image_ids: pd.Series[str]) -> tuple[int, int]:
    """Counts the images whose id is unique among images and among the table's distinct names, and the matched rows."""
    distinct = row_ids[~names.duplicated()]
    unique = isin(image_ids, distinct[~distinct.duplicated(keep=False)]) & ~image_ids.duplicated(keep=False)
    return int(unique.sum()), int(isin(row_ids, image_ids).sum())
