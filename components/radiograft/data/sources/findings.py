"""What data sets say is or is not in a picture, as columns of 1.0, 0.0 and NaN for what is unknown."""

from __future__ import annotations

import pandas as pd

from radiograft.config import FINDINGS, NO_FINDING

NORMAL = ("normal", "no finding", "nofinding", "healthy", "negative")
TRUTH = dict.fromkeys(("1", "1.0", "true"), 1.0) | dict.fromkeys(("0", "0.0", "false"), 0.0)
UNCERTAIN = {"ignore": float("nan"), "zeros": 0.0, "ones": 1.0}


def finding(name: str) -> str:
    """A finding's name as ChestX-ray14 writes it, where it knows it: `PNEUMONIA` is Pneumonia, `NORMAL` No Finding."""
    plain = name.strip().casefold().replace("_", " ")
    if plain in NORMAL:
        return NO_FINDING
    return next((known for known in FINDINGS if known.casefold().replace("_", " ") == plain), name.strip())


def from_words(words: pd.Series[str], separator: str) -> pd.DataFrame:
    """Findings of cells that name them; an empty cell says nothing of any."""
    named = words.map(lambda cell: "|".join(finding(word) for word in cell.split(separator) if word.strip()))
    columns = named.str.get_dummies(sep="|").astype("float64")
    return columns.mask(named == "")


def from_columns(table: pd.DataFrame, uncertain: str, blank: float) -> pd.DataFrame:
    """Findings of the columns that hold nothing but 1, 0, -1 (see UNCERTAIN) and blanks."""
    read = {**TRUTH, **dict.fromkeys(("-1", "-1.0"), UNCERTAIN[uncertain]), "": blank}
    columns = {}
    for name in table.columns:
        cells = table[name].str.strip().str.lower()
        if cells.isin(list(read)).all():
            columns[NO_FINDING if finding(name) == NO_FINDING else name] = cells.map(read).astype("float64")
    return pd.DataFrame(columns, index=table.index)
