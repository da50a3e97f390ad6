"""What ingest asks of every reader, whatever the layout of its data set: images, findings, and what was set aside."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from radiograft.config import FINDINGS, NO_FINDING
from radiograft.config.base import did_you_mean
from radiograft.data.catalog import no_boxes
from radiograft.utils.errors import SensitiveValueError

NO_PATIENTS = (
    "the data set tells no patients: each image counts as a patient of its own, so where several images show one, "
    "intervals are too narrow and a patient may be in several splits"
)

MAX_AGE = 120.0
YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}

NORMAL = ("normal", "no finding", "nofinding", "healthy", "negative")
TRUTH = dict.fromkeys(("1", "1.0", "true"), 1.0) | dict.fromkeys(("0", "0.0", "false"), 0.0)
UNCERTAIN = {"ignore": float("nan"), "zeros": 0.0, "ones": 1.0}


class Source(NamedTuple):
    """A data set as its reader found it. A reader takes where the data lie and what else it needs, and gives this.

    Attributes:
        uri: where the images lie.
        rows: image_id, uri, md5, bytes, patient_id, view, age (years), sex, official; in order of image_id, which is
            unique. What the data set does not tell is missing. `official` is the data set's own split: `train_val` (of
            which ingest draws the validation patients), `train`, `validation`, `test`, or missing.
        findings: one column a finding that the data set knows, 1.0 present, 0.0 absent, NaN unknown, index as `rows`.
            An image that is stated to show none has 1.0 in `No Finding` alone.
        excluded: image_id and reason of what was set aside.
        notes: what limits figures on this data set, a sentence each.
        boxes: where in the images findings are, see `no_boxes`.
    """

    uri: str
    rows: pd.DataFrame
    findings: pd.DataFrame
    excluded: pd.DataFrame
    notes: tuple[str, ...] = ()
    boxes: pd.DataFrame = no_boxes()


def check_known_labels(labels: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a label that the data set does not know.

    Raises:
        NamingError: with the nearest names; folders, and so patients, may have been taken for findings.
    """
    known = sorted(known)
    for label in labels:
        if label not in known:
            raise SensitiveValueError(
                f"data_labels must be findings of the data set ({', '.join(known)}), got {label!r}"
                + did_you_mean(label, known),
                f"data_labels must be findings of the data set, which has {len(known)}, got {label!r}",
            )


def patient_ids(ids: pd.Series[str], image_ids: pd.Series[str]) -> tuple[pd.Series[str], tuple[str, ...]]:
    """The patients' ids, each in one spelling, where the image's own stands in for one that is empty, and what is to
    be said of that: `00000012` and `12` in one data set are one patient, for two would be in two splits."""
    ids, merged = _similar_spelling(ids)
    unknown = ids.eq("") | ids.isna()
    some = (f"{unknown.sum()} images name no patient: each counts as a patient of its own",)
    notes = () if not unknown.any() else (NO_PATIENTS,) if unknown.all() else some
    return ids.mask(unknown, image_ids), (*notes, *merged)


def _similar_spelling(ids: pd.Series[str]) -> tuple[pd.Series[str], tuple[str, ...]]:
    plain = ids.str.replace(r"^0+(?=\d+$)", "", regex=True)
    mixed = ids.groupby(plain).transform("nunique") > 1
    count = int(plain[mixed].nunique())
    told = f"{count} patients' ids are there with and without zeros in front: they count as the same patients"
    return ids.mask(mixed, plain), (told,) * (count > 0)


def age_in_years(age: str) -> float:
    """Age in years from `57`, `57.0`, `058Y`, `011M`, `003W` or `003D`; NaN where it is unreadable or above 120."""
    match = re.fullmatch(r"(\d{1,4})(?:\.0)?([YMWD]?)", age.strip())
    if not match:
        return float("nan")
    value = int(match[1]) * YEARS[match[2]]
    return value if value <= MAX_AGE else float("nan")


def normalize_finding(name: str) -> str:
    """A finding's name as ChestX-ray14 writes it, where it knows it: `PNEUMONIA` is Pneumonia, `NORMAL` No Finding."""
    plain = name.strip().casefold().replace("_", " ")
    if plain in NORMAL:
        return NO_FINDING
    return next((known for known in FINDINGS if known.casefold().replace("_", " ") == plain), name.strip())


def findings_from_text(words: pd.Series[str], separator: str) -> pd.DataFrame:
    """Findings of cells that name them; an empty cell says nothing of any."""
    named = words.map(lambda cell: "|".join(normalize_finding(word) for word in cell.split(separator) if word.strip()))
    columns = named.str.get_dummies(sep="|").astype("float64")
    return columns.mask(named == "")


def findings_from_columns(table: pd.DataFrame, uncertain: str, blank: float) -> pd.DataFrame:
    """Findings of the columns that hold nothing but 1, 0, -1 (see UNCERTAIN) and blanks."""
    read = {**TRUTH, **dict.fromkeys(("-1", "-1.0"), UNCERTAIN[uncertain]), "": blank}
    columns = {}
    for name in table.columns:
        cells = table[name].str.strip().str.lower()
        if cells.isin(list(read)).all():
            columns[NO_FINDING if normalize_finding(name) == NO_FINDING else name] = cells.map(read).astype("float64")
    return pd.DataFrame(columns, index=table.index)
