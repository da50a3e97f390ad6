"""Parses label cells: lists of findings in one cell, and columns of yes and no.

Names match regardless of case, white space, Unicode form and `_`. No cell is quoted in a message.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from radiograft.config import FINDINGS, NO_FINDING
from radiograft.config.table_layout import NO_SEPARATOR, TableLayout
from radiograft.utils.quoting import list_items, split_quoted, unquote
from radiograft.utils.spelling import doubted_name, fold_name, is_unknown

MAX_NAMES = 200  # PadChest has 193 labels
MAX_NAME = 100  # characters of a name that is searched for marks of doubt
MAX_CELL = 10_000  # characters; a longer cell cannot be a list of labels
NORMAL = frozenset(
    {"normal", "no finding", "no findings", "nofinding", "no abnormality", "no abnormalities", "unremarkable",
     "healthy", "negative"}
)  # fmt: skip
YES = frozenset({"yes", "y", "true", "t", "positive", "pos", "present", "+"})
NO = frozenset({"no", "n", "false", "f", "negative", "neg", "absent"})
# What a word that means unknown, or an uncertain mark, says of a finding. An empty cell says nothing and is NaN. Of the
# rows of an image the maximum counts: present, then unknown, then absent.
UNKNOWN = 0.5
UNCERTAIN = {"ignore": UNKNOWN, "zeros": 0.0, "ones": 1.0}
SEPARATORS = {  # regular expressions by the value of `separator`
    name: TableLayout(separator=name).between()
    for name in ("comma", "semicolon", "|", "/", "newline", "tab", "+", "&", "\\", "^", "#", "~", "\u00b7", "\u2022",
                 "<br>", "dash", "and", "any")
}  # fmt: skip
KNOWN = {fold_name(name): name for name in FINDINGS} | dict.fromkeys(NORMAL, NO_FINDING)


def normalize_finding(name: str) -> str:
    """Returns the spelling of a finding in ChestX-ray14; other findings keep their name.

    Example:
        >>> normalize_finding("PNEUMONIA"), normalize_finding("normal")
        ('Pneumonia', 'No Finding')
    """
    return KNOWN.get(fold_name(name), name.strip())


class Cell(NamedTuple):
    """The findings in a cell as written, and whether it leaves any finding open: it is empty or has an unknown word."""

    names: tuple[str, ...]
    is_open: bool


def parse_cell(text: str, separator: str, labels: Iterable[str] = ()) -> Cell:
    """Splits a cell into findings.

    Args:
        text: findings with a separator between them, or a printed list; each may be in quotes.
        separator: regular expression.
        labels: folded names of labels, which are read whole even if they contain the separator or are unknown words.

    Example:
        >>> parse_cell("['pneumonia', ' effusion']", ";"), parse_cell("Mass|todo", r"[|]")
        (Cell(names=('pneumonia', 'effusion'), is_open=False), Cell(names=('Mass',), is_open=True))
    """
    if len(text) > MAX_CELL:
        return Cell((), True)
    if fold_name(text) in labels:
        return Cell((text.strip(),), False)
    items = list_items(text, separator)
    parts = map(unquote, split_quoted(text, separator)) if items is None else items
    folded = [(part.strip(), fold_name(part)) for part in parts]
    names = tuple(name for name, key in folded if key in labels or not is_unknown(key))
    has_unknown = any(key and key not in labels and is_unknown(key) for _, key in folded)
    return Cell(names, has_unknown or not names)


def findings_from_text(cells: pd.Series[str], layout: TableLayout, labels: Sequence[str] = ()) -> pd.DataFrame:
    """Returns one column per finding from cells that list findings.

    Values are 1.0 and 0.0. In an empty cell every finding is NaN; in a cell with an unknown word every other finding is
    UNKNOWN, and so is a label that is only suspected, such as `Mass?` or `possible Mass`.

    Args:
        cells: Text, lists of findings.
        layout: `label` is the column's name, for messages.
        labels: The requested labels, whose spelling is kept.

    Raises:
        ValueError: The column has more than MAX_NAMES different findings, or a label also occurs inside other cells.
    """
    codes, distinct = pd.factorize(cells.fillna("").astype(object))
    counts = np.bincount(codes, minlength=len(distinct))
    requested = {fold_name(label): label for label in labels}
    _check_words(distinct, layout, requested)
    parsed = [parse_cell(text, layout.between(), requested) for text in distinct]
    doubted = _doubted_labels({name for cell in parsed for name in cell.names}, requested)
    doubts = [{doubted[name] for name in cell.names if name in doubted} for cell in parsed]
    parsed = [cell._replace(names=tuple(name for name in cell.names if name not in doubted)) for cell in parsed]
    spellings = _spellings(parsed, counts, requested, layout, len(distinct))
    if layout.separator != NO_SEPARATOR:
        _check_labels_are_whole(list(distinct), counts, layout, requested, {n for cell in parsed for n in cell.names})
    columns = sorted(set(spellings.values()))
    place = {name: columns.index(name) for name in columns}
    values = np.zeros((len(distinct), len(columns)))
    for row, cell in enumerate(parsed):
        if cell.is_open:
            values[row] = UNKNOWN if distinct[row].strip() else np.nan
        values[row, [place[spellings[key]] for key in doubts[row] & set(spellings)]] = UNKNOWN
        values[row, [place[spellings[fold_name(name)]] for name in cell.names]] = 1.0
    return pd.DataFrame(values[codes], columns=columns, index=cells.index)


def _doubted_labels(names: Iterable[str], requested: Mapping[str, str]) -> dict[str, str]:
    """Returns the folded label of each name that only suspects one; a label that is spelled like that is certain."""
    short = {name for name in names if len(name) <= MAX_NAME and fold_name(name) not in requested}
    return {name: label for name in short if (label := doubted_name(name)) in requested}


def known_only(findings: pd.DataFrame) -> pd.DataFrame:
    """Returns the findings with NaN in place of UNKNOWN."""
    return findings.mask(findings == UNKNOWN)


def findings_from_folders(classes: pd.Series[str], labels: Sequence[str] = ()) -> pd.DataFrame:
    """Returns one column per class folder: 1.0, 0.0 or NaN. A name is one finding, whatever signs it contains.

    Raises:
        ValueError: There are more than MAX_NAMES folders.
    """
    count = classes.nunique()
    if count > MAX_NAMES:
        raise ValueError(
            f"data_source must have at most {MAX_NAMES} class folders, got {count:,}; use data_format=table"
        )
    return known_only(findings_from_text(classes, TableLayout(separator=NO_SEPARATOR), labels))


def _check_words(distinct: Iterable[str], layout: TableLayout, requested: Mapping[str, str]) -> None:
    texts = [text for text in map(fold_name, distinct) if not is_unknown(text)]
    if requested and texts and not set(texts) & set(requested) and all(as_number(text) is not None for text in texts):
        raise ValueError(
            f"the column {layout.label!r} holds numbers ({len(texts):,} different), and data_labels names none of "
            "them; name a column of findings, or one of 1 and 0, or set data_task=regression to learn numbers"
        )


def _spellings(
    parsed: Sequence[Cell], counts: np.ndarray, requested: Mapping[str, str], layout: TableLayout, distinct: int
) -> dict[str, str]:
    """Maps each folded name to one spelling: that of the label, of ChestX-ray14, or the most frequent one."""
    written: dict[str, Counter[str]] = {}
    for cell, count in zip(parsed, counts.tolist(), strict=True):
        for name in cell.names:
            written.setdefault(fold_name(name), Counter())[name] += count
        if len(written) > MAX_NAMES:
            raise ValueError(
                f"{layout.label} holds {distinct:,} different texts with more than {MAX_NAMES} different findings, the "
                "most that a column of labels may have; name another column in data_table, label=..., or the separator "
                "of findings"
            )
    return {
        key: requested.get(key) or KNOWN.get(key) or min(names, key=lambda name: (-names[name], name))
        for key, names in written.items()
    }


def _check_labels_are_whole(
    distinct: Sequence[str], counts: np.ndarray, layout: TableLayout, requested: Mapping[str, str], names: set[str]
) -> None:
    """Rejects a separator with which a label is not found in cells that contain it beside other findings."""
    hidden = [key for key in requested if any(_holds(name, key) for name in names)]
    if not hidden:
        return
    has_label = {option: _has_any(distinct, separator, hidden) for option, separator in SEPARATORS.items()}
    best = max(SEPARATORS, key=lambda option: int(counts[has_label[option]].sum()))
    missed = int(counts[has_label[best] & ~_has_any(distinct, layout.between(), hidden)].sum())
    labels = ", ".join(repr(requested[key]) for key in hidden)
    raise ValueError(
        f"a label must be a whole finding, but {labels} also stands inside {missed} other cells of the column "
        f"{layout.label!r}, which would count as negative; add separator={best} to data_table, which reads them, or "
        f"separator={NO_SEPARATOR} if each cell is one finding"
    )


def _holds(name: str, key: str) -> bool:
    """Returns whether a folded label is one of several parts of a name."""
    folded = fold_name(name)
    if key == folded or key not in folded:
        return False
    return any(key in map(fold_name, re.split(separator, name)) for separator in SEPARATORS.values())


def _has_any(distinct: Sequence[str], separator: str, labels: Iterable[str]) -> np.ndarray:
    wanted = set(labels)
    found = [any(fold_name(name) in wanted for name in parse_cell(text, separator).names) for text in distinct]
    return np.array(found, dtype=bool)


def truth_value(text: str, uncertain: str, blank: float = float("nan")) -> float | None:
    """Returns 1.0, 0.0 or UNKNOWN for a cell of yes or no, and None for any other text.

    Args:
        text: such as `1`, `0.0`, `-1`, `Yes`, `FALSE`, `n/a`.
        uncertain: meaning of -1, a key of UNCERTAIN.
        blank: value of an empty cell.

    Example:
        >>> [truth_value(text, uncertain="ones") for text in ("Yes", "0.0", "-1", "todo", "7")]
        [1.0, 0.0, 1.0, 0.5, None]
    """
    key = fold_name(unquote(text.strip()))
    if not key:
        return blank
    if key in YES or key in NO:
        return float(key in YES)
    if is_unknown(key):
        return UNKNOWN
    number = as_number(key)
    return {1.0: 1.0, 0.0: 0.0, -1.0: UNCERTAIN[uncertain]}.get(number) if number is not None else None


def as_number(text: str) -> float | None:
    """Returns the number that a text represents, with a decimal point or comma, or None."""
    try:
        return float(re.sub(r"^([+-]?\d+),(\d+)$", r"\1.\2", text)) if "_" not in text else None
    except ValueError:
        return None


def truth_column(cells: pd.Series[str], uncertain: str, blank: float = float("nan")) -> pd.Series[float] | None:
    """Returns a column of yes and no as numbers, see `truth_value`, or None if it holds any other text."""
    distinct = cells.unique()
    if len(distinct) > MAX_NAMES:
        return None
    values = {text: truth_value(text, uncertain, blank) for text in distinct}
    return None if None in values.values() else cells.map(values).astype("float64")


def findings_from_columns(table: pd.DataFrame, uncertain: str, blank: float) -> pd.DataFrame:
    """Returns the columns of yes and no as findings.

    Args:
        table: Cells as text.
        uncertain: Meaning of -1, a key of UNCERTAIN.
        blank: Value of an empty cell.
    """
    columns = {}
    for name in table.columns:
        values = truth_column(table[name], uncertain, blank)
        if values is not None:
            columns[NO_FINDING if normalize_finding(name) == NO_FINDING else name] = values
    return pd.DataFrame(columns, index=table.index)


def check_columns_of_labels(table: pd.DataFrame, labels: Iterable[str], findings: Iterable[str]) -> None:
    """Rejects labels that name a column which does not hold yes and no.

    Raises:
        ValueError: the column holds numbers, or other texts.
    """
    known = set(map(fold_name, findings))
    columns = {fold_name(name): name for name in table.columns}
    for label in labels:
        key = fold_name(label)
        if key in columns and key not in known:
            raise ValueError(describe_column(label, table[columns[key]]))


def describe_column(name: str, cells: pd.Series[str]) -> str:
    """Returns why a column does not hold findings, without quoting a cell."""
    others = pd.Series([text for text in cells.unique() if truth_value(text, "ignore") is None], dtype="string")
    count = int(cells.isin(others).sum())
    if all(as_number(text) is not None for text in others):
        return (
            f"{name} holds numbers ({len(others):,} other than 1, 0 and -1), and a label is present or absent: set "
            "data_task=regression to learn the number, or add a column of 1 and 0, such as whether it exceeds a limit"
        )
    return (
        f"{name} must hold 1 and 0, yes and no, -1 or words for unknown, got {len(others):,} other texts in {count:,} "
        f"cells; correct them, or set label={name} in data_table and name its findings in data_labels"
    )
