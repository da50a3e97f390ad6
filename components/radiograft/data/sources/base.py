"""What every dataset reader returns, and the functions that readers share: patient ids, ages and labels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from radiograft.config.base import did_you_mean, parse_columns
from radiograft.config.patient_data import covariate_column
from radiograft.data.catalog import no_boxes
from radiograft.data.file_counts import FileCounts
from radiograft.utils.errors import SensitiveValueError
from radiograft.utils.spelling import fold_id, fold_name, is_unknown

NO_PATIENTS = (
    "the dataset has no patient ids: each image counts as its own patient; if several images show one patient, "
    "confidence intervals are too narrow and the patient may be in several splits"
)

SPOILED_IDS = re.compile(r"\d(?:[.,]\d+)?E\+\d+|\d{1,2}-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)(?:-\d+)?")
MAX_AGE = 120.0
MAX_LISTED = 30  # names in a message
MAX_CHARACTERS, MAX_WORDS = 40, 5  # of a name that a message lists; longer ones may be sentences of a report
NEGATIONS = ("no ", "not ", "without ", "negative for ")
ANONYMOUS = frozenset({"anonymous", "anonymized", "anonymised", "anon", "deidentified", "de-identified", "removed"})
YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


class Source(NamedTuple):
    """A dataset as its reader returns it.

    Attributes:
        uri: Folder, prefix or file that holds the images.
        rows: One row per image, sorted by the unique `image_id`, with the columns image_id, uri, md5, bytes,
            patient_id, view, age (years), sex and official. Unknown values are missing. `official` is the dataset's
            own split: `train_val` (ingest draws the validation patients from it), `train`, `validation`, `test`, or
            missing. Columns of `covariate_cells` follow, and if the dataset names studies study_id, unique
            within a patient.
        findings: One column per finding, with the index of `rows`: 1.0 present, 0.0 absent, NaN unknown. An image
            labeled as normal has 1.0 in `No Finding` only.
        excluded: `image_id` and `reason` of every excluded image, row or box.
        notes: Limitations of the dataset, one sentence each.
        boxes: Bounding boxes of findings, see `no_boxes`.
        readings: Every row of the images that have several: `image_id`, `reader` ("" if unknown), and the findings in
            the order of `findings`: 1.0, 0.0, `label_cells.UNKNOWN` if the row says so, NaN if it says nothing.
        files: Numbers of the files below `uri`; None if it is a single file.
    """

    uri: str
    rows: pd.DataFrame
    findings: pd.DataFrame
    excluded: pd.DataFrame
    notes: tuple[str, ...] = ()
    boxes: pd.DataFrame = no_boxes()
    readings: pd.DataFrame | None = None
    files: FileCounts | None = None


def match_labels(source: Source, labels: Iterable[str]) -> Source:
    """Returns the source with its findings spelled as the labels that differ only in case, white space or Unicode form.

    Raises:
        SensitiveValueError: Several findings differ from a label only in this, and none is spelled like it.
    """
    names = [str(name) for name in source.findings]
    spellings: dict[str, str] = {}
    for label in labels:
        matches = [name for name in names if fold_name(name) == fold_name(label)]
        if label in matches or not matches:
            continue
        if len(matches) > 1:
            message = f"data_labels must be spelled as in the dataset, got {label!r}, which may be"
            raise SensitiveValueError(
                f"{message} {' or '.join(map(repr, matches))}", f"{message} {len(matches)} findings"
            )
        spellings[matches[0]] = label
    boxes = source.boxes.assign(finding=source.boxes["finding"].replace(spellings))
    return source._replace(findings=source.findings.rename(columns=spellings), boxes=boxes)


def check_known_labels(labels: Iterable[str], known: Iterable[str]) -> None:
    """Checks that the dataset has a finding for every label.

    Raises:
        SensitiveValueError: A label is unknown. The message lists the findings, which may be names of patients if
            folders were read as findings. It leaves out names that may be sentences of a report.
    """
    known = sorted(known)
    short = _without_sentences(known)
    more = f" and {len(known) - len(short[:MAX_LISTED])} more" if len(known) > len(short[:MAX_LISTED]) else ""
    for label in labels:
        if label not in known:
            raise SensitiveValueError(
                f"data_labels must be findings of the dataset ({', '.join(short[:MAX_LISTED])}{more}), got {label!r}"
                + did_you_mean(label, short),
                f"data_labels must be findings of the dataset, which has {len(known)}, got {label!r}",
            )


def _without_sentences(names: Iterable[str]) -> list[str]:
    return [
        name
        for name in names
        if len(name) <= MAX_CHARACTERS and len(name.split()) <= MAX_WORDS and not name.endswith((".", "!", "?"))
    ]


def most_frequent_findings(findings: pd.DataFrame, count: int = 10) -> str:
    """Returns the most frequent findings with their numbers of images, such as `No Finding: 20, Hernia: 3`."""
    numbers = findings.eq(1.0).sum().sort_values(ascending=False, kind="stable")
    names = _without_sentences(str(name) for name in numbers.index[numbers > 0])
    return ", ".join(f"{name}: {numbers[name]}" for name in names[:count])


def contained_notes(findings: pd.DataFrame, labels: Iterable[str], *, named: bool = True) -> tuple[str, ...]:
    """Returns a note for each label whose words are part of other findings, such as Pneumonia and `viral pneumonia`.

    Args:
        findings: As `Source.findings`.
        labels: Names of columns of `findings`.
        named: Whether the notes list these findings.
    """
    notes = []
    for label in labels:
        within = re.compile(rf"(?<!\w){re.escape(fold_name(label))}(?!\w)")
        others = [name for name in map(str, findings) if name != label and within.search(fold_name(name))]
        others = [name for name in others if not fold_name(name).startswith(NEGATIONS)]
        count = int((findings[others].eq(1.0).any(axis="columns") & findings[label].eq(0.0)).sum()) if others else 0
        if count:
            listed = ", ".join(map(repr, _without_sentences(others)[:3])) if named else ""
            notes.append(
                f"{label!r} is also part of {len(others)} other findings{listed and f' ({listed})'}: "
                f"their {count} images count as negative for {label}"
            )
    return tuple(notes)


def patient_ids(ids: pd.Series[str], image_ids: pd.Series[str]) -> tuple[pd.Series[str], tuple[str, ...]]:
    """Normalizes patient ids and replaces missing ids by the image's id.

    Ids such as `00000012`, `12` and `12.0` in one dataset become one patient, who would otherwise be in two splits; see
    `fold_id`. Words such as `unknown` and `anonymous` are no ids.

    Returns:
        The patient ids, and notes about replaced and merged ids.
    """
    ids, notes = _merge_spellings(ids.astype("string"))
    missing = ids.isna()
    if missing.any():
        some_missing = f"{missing.sum()} images have no patient id: each counts as its own patient"
        notes = (NO_PATIENTS if missing.all() else some_missing, *notes)
    return ids.mask(missing, image_ids), notes


def _merge_spellings(ids: pd.Series[str]) -> tuple[pd.Series[str], tuple[str, ...]]:
    """Replaces ids of one patient by one id, and unknown words by missing values."""
    codes, distinct = pd.factorize(ids.astype(object), use_na_sentinel=True)
    folded = pd.Series([_fold_patient(text) for text in distinct], dtype="string")
    mixed = folded.notna() & folded.duplicated(keep=False)
    count = int(folded[mixed].nunique())
    note = (
        f"{count} patient ids are spelled in several ways (leading zeros, .0, white space or Unicode form): "
        "each is one patient"
    )
    spoiled = sum(map(bool, map(SPOILED_IDS.fullmatch, distinct)))
    spoiled_note = (
        f"{spoiled} patient ids look like numbers or dates that a spreadsheet rewrote (1.2E+11, 3-Jan): several "
        "patients may have become one; export the table with these ids as text"
    )
    merged = pd.Series(distinct, dtype="string").str.strip().mask(folded.isna()).mask(mixed, folded)
    found = pd.Series(merged.to_numpy(dtype=object)[codes] if len(distinct) else None, ids.index, dtype="string")
    return found.mask(ids.isna()), (*([note] if count else []), *([spoiled_note] if spoiled else []))


def _fold_patient(text: str) -> str | None:
    """Returns the id without differences of spelling, or None for a word that means unknown."""
    if text.isdigit() and text.isascii() and text[0] != "0":
        return text
    return None if is_unknown(text) or fold_name(text) in ANONYMOUS else fold_id(text)


def ages_in_years(ages: pd.Series[str]) -> pd.Series[float]:
    """Returns `age_in_years` of each text, float64."""
    return ages.map({age: age_in_years(age) for age in ages.unique()}).astype("float64")


def without_unknown(cells: pd.Series[str]) -> pd.Series[str]:
    """Returns the cells with missing values in place of empty cells and words such as `unknown`, `nan` or `n/a`."""
    return cells.mask(
        cells.map({cell: is_unknown(cell) for cell in cells.dropna().unique()}).astype("boolean").fillna(True)
    )


def covariate_cells(table: pd.DataFrame, covariates: str, name: str) -> pd.DataFrame:
    """Returns the columns of patient data that `data_covariates` names, under `covariate_column`, as text.

    Args:
        table: Cells as text.
        covariates: Value of the setting.
        name: Name of the table, for messages.

    Raises:
        SensitiveValueError: The table does not have a column.
    """
    columns = parse_columns("data_covariates", covariates)
    for column in columns:
        if column not in table:
            message = f"{name} must have the column {column!r}, which data_covariates names, got"
            listed = f"{', '.join(map(str, table.columns))}{did_you_mean(column, map(str, table.columns))}"
            raise SensitiveValueError(f"{message} {listed}", f"{message} {len(table.columns)} others")
    cells = {covariate_column(column): without_unknown(table[column].str.strip()) for column in columns}
    return pd.DataFrame(cells, index=table.index)


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
