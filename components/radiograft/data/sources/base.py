"""What every dataset reader returns, and the functions that readers share: patient ids, ages and findings."""

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
    "the dataset has no patient ids: each image counts as its own patient; if several images show one patient, "
    "confidence intervals are too narrow and the patient may be in several splits"
)

MAX_AGE = 120.0
YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}

NORMAL = ("normal", "no finding", "nofinding", "healthy", "negative")
TRUTH = dict.fromkeys(("1", "1.0", "true"), 1.0) | dict.fromkeys(("0", "0.0", "false"), 0.0)
UNCERTAIN = {"ignore": float("nan"), "zeros": 0.0, "ones": 1.0}


class Source(NamedTuple):
    """A dataset as its reader returns it.

    Attributes:
        uri: Folder, prefix or file that holds the images.
        rows: One row per image, sorted by the unique `image_id`, with the columns image_id, uri, md5, bytes,
            patient_id, view, age (years), sex and official. Unknown values are missing. `official` is the dataset's
            own split: `train_val` (ingest draws the validation patients from it), `train`, `validation`, `test`, or
            missing.
        findings: One column per finding, with the index of `rows`: 1.0 present, 0.0 absent, NaN unknown. An image
            labeled as normal has 1.0 in `No Finding` only.
        excluded: `image_id` and `reason` of every excluded image, row or box.
        notes: Limitations of the dataset, one sentence each.
        boxes: Bounding boxes of findings, see `no_boxes`.
        readings: Every row of the images that have several: `image_id`, `reader` ("" if unknown), and the findings in
            the order of `findings`, whose values are the maximum of these.
    """

    uri: str
    rows: pd.DataFrame
    findings: pd.DataFrame
    excluded: pd.DataFrame
    notes: tuple[str, ...] = ()
    boxes: pd.DataFrame = no_boxes()
    readings: pd.DataFrame | None = None


def check_known_labels(labels: Iterable[str], known: Iterable[str]) -> None:
    """Checks that the dataset has a finding for every label.

    Raises:
        SensitiveValueError: A label is unknown. The message lists the findings, which may be names of patients if
            folders were read as findings.
    """
    known = sorted(known)
    for label in labels:
        if label not in known:
            raise SensitiveValueError(
                f"data_labels must be findings of the dataset ({', '.join(known)}), got {label!r}"
                + did_you_mean(label, known),
                f"data_labels must be findings of the dataset, which has {len(known)}, got {label!r}",
            )


def patient_ids(ids: pd.Series[str], image_ids: pd.Series[str]) -> tuple[pd.Series[str], tuple[str, ...]]:
    """Normalizes patient ids and replaces missing ids by the image's id.

    `00000012` and `12` in one dataset become one patient, who would otherwise be in two splits.

    Returns:
        The patient ids, and notes about replaced and merged ids.
    """
    ids, notes = _merge_zero_padded_ids(ids)
    missing = ids.eq("") | ids.isna()
    if missing.any():
        some_missing = f"{missing.sum()} images have no patient id: each counts as its own patient"
        notes = (NO_PATIENTS if missing.all() else some_missing, *notes)
    return ids.mask(missing, image_ids), notes


def _merge_zero_padded_ids(ids: pd.Series[str]) -> tuple[pd.Series[str], tuple[str, ...]]:
    unpadded = ids.str.replace(r"^0+(?=\d+$)", "", regex=True)
    mixed = ids.groupby(unpadded).transform("nunique") > 1
    count = int(unpadded[mixed].nunique())
    note = f"{count} patient ids occur with and without leading zeros: both forms count as the same patient"
    return ids.mask(mixed, unpadded), (note,) if count else ()


def age_in_years(age: str) -> float:
    """Parses an age such as `57`, `57.0`, `058Y`, `011M`, `003W` or `003D`.

    Returns:
        The age in years, or NaN if it is malformed or above 120.

    Example:
        >>> age_in_years("006M")
        0.5
    """
    match = re.fullmatch(r"(\d{1,4})(?:\.0)?([YMWD]?)", age.strip())
    if not match:
        return float("nan")
    value = int(match[1]) * YEARS[match[2]]
    return value if value <= MAX_AGE else float("nan")


def normalize_finding(name: str) -> str:
    """Returns the spelling of a finding in ChestX-ray14; other findings keep their name.

    Example:
        >>> normalize_finding("PNEUMONIA"), normalize_finding("normal")
        ('Pneumonia', 'No Finding')
    """
    key = name.strip().casefold().replace("_", " ")
    if key in NORMAL:
        return NO_FINDING
    return next((known for known in FINDINGS if known.casefold().replace("_", " ") == key), name.strip())


def findings_from_text(cells: pd.Series[str], separator: str) -> pd.DataFrame:
    """Returns one column per finding from cells that list findings; in an empty cell every finding is unknown."""
    names = cells.map(lambda cell: "|".join(normalize_finding(name) for name in cell.split(separator) if name.strip()))
    columns = names.str.get_dummies(sep="|").astype("float64")
    return columns.mask(names == "")


def findings_from_columns(table: pd.DataFrame, uncertain: str, blank: float) -> pd.DataFrame:
    """Returns the columns that contain only 1, 0, -1 and blanks as findings.

    Args:
        table: Cells as text.
        uncertain: Meaning of -1, a key of UNCERTAIN.
        blank: Value of an empty cell.
    """
    values = {**TRUTH, **dict.fromkeys(("-1", "-1.0"), UNCERTAIN[uncertain]), "": blank}
    columns = {}
    for name in table.columns:
        cells = table[name].str.strip().str.lower()
        if cells.isin(list(values)).all():
            columns[NO_FINDING if normalize_finding(name) == NO_FINDING else name] = cells.map(values).astype("float64")
    return pd.DataFrame(columns, index=table.index)
