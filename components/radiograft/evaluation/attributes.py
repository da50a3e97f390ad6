"""What the catalogue knows of a picture besides its pixels: who was taken, how, and where the file came from."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable

import numpy as np
import pandas as pd

AGES = {"under 18": 0, "18 to 39": 18, "40 to 59": 40, "60 to 79": 60, "80 and over": 80}  # years, from
MOST_GROUPS = 20


def groups(rows: pd.DataFrame) -> dict[str, pd.Series[str]]:
    """Which group each picture is in, by variable: `sex`, `age`, `view`, `source`.

    A variable is there when it has two groups or more; only its 20 largest groups count. The source is the folder of
    the picture's file.

    Args:
        rows: of the catalogue, of one split.

    Returns:
        Series of strings with the index of `rows`, missing where nothing is known.
    """
    bands = pd.cut(rows["age"], [*AGES.values(), np.inf], right=False, labels=list(AGES))
    columns = {
        "sex": rows["sex"].astype("string"),
        "age": bands.astype("string"),
        "view": rows["view"].astype("string"),
        "source": sources(rows["uri"]),
    }
    known = {name: column.where(column.isin(_largest(column))) for name, column in columns.items()}
    return {name: column for name, column in known.items() if column.nunique() > 1}


def order(variable: str, names: Iterable[str]) -> list[str]:
    """Names of a variable's groups as a reader expects them: ages rising, all else by name."""
    return sorted(names, key=list(AGES).index if variable == "age" else str)


def sources(uris: pd.Series[str]) -> pd.Series[str]:
    """The folder of each file, without what all folders have in common."""
    folders = {uri: posixpath.dirname(uri) + "/" for uri in uris.unique()}
    shared = posixpath.commonprefix(list(folders.values()))
    start = shared.rfind("/") + 1
    return uris.map({uri: folder[start:].strip("/") or "." for uri, folder in folders.items()}).astype("string")


def _largest(column: pd.Series[str]) -> list[str]:
    counts = column[column != ""].value_counts()
    return list(counts.index[:MOST_GROUPS])
