"""Counts the files below a source: used, set aside, documents, archives and ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from radiograft.config.data_policy import OF_ROWS


class FileCounts(NamedTuple):
    """Numbers of files below a source, with the members of archives. All others are images, used or set aside.

    Attributes:
        total: all files.
        documents: tables, lists and texts, whether they are read or not.
        archives: archives whose members are counted.
        ignored: files of operating systems and hidden files, by name.
    """

    total: int
    documents: int
    archives: int
    ignored: dict[str, int]


def count_files(files: FileCounts | None, used: int, excluded: pd.DataFrame) -> dict[str, Any] | None:
    """Returns the number of files by what became of them; `total` is the sum of the others. None without a listing.

    Args:
        files: numbers of the listing.
        used: number of images that are used.
        excluded: image_id and reason; reasons about rows of a table do not count as files.
    """
    if files is None:
        return None
    set_aside = int((~excluded["reason"].isin(OF_ROWS)).sum())
    return {**files._asdict(), "used": used, "set_aside": set_aside}


def files_from_json(values: Mapping[str, Any] | None) -> FileCounts | None:
    return FileCounts(*(values[name] for name in FileCounts._fields)) if values else None
