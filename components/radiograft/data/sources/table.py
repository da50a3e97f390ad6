"""Reader of a CSV or Parquet table beside its images. The setting data_table names the columns."""

from __future__ import annotations

import dataclasses
import logging
import posixpath
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.config import NO_FINDING
from radiograft.config.base import did_you_mean
from radiograft.config.table_layout import TableLayout
from radiograft.data import splits
from radiograft.data import table_files as table_io
from radiograft.data.sources import base, image_files, label_cells, listing, name_matching, number_cells
from radiograft.data.sources.base import Source, patient_ids
from radiograft.utils.errors import SensitiveValueError
from radiograft.utils.quoting import parse_names
from radiograft.utils.spelling import fold_case, fold_name

log = logging.getLogger(__name__)

FINDING = "finding:"  # prefix of findings' columns, whose names may clash with other columns

SEXES = {"m": "M", "male": "M", "f": "F", "female": "F", "o": "O", "other": "O"}
PAIR_COLUMNS = ("frontal", "lateral")
COLUMNS = ("image", "patient", "label", "view", "age", "sex", "split", "reader", "manufacturer", "study")


def read(
    uri: str, layout: TableLayout, labels: Sequence[str] = (), *, labeled: bool = True, numeric: bool = False
) -> Source:
    """Reads a table and the images below its folder.

    Args:
        uri: The table.
        layout: Names of the columns.
        labels: The requested labels.
        labeled: Whether the table must contain findings. Otherwise every image counts as normal.
        numeric: Whether the labels are columns of numbers, the targets of `data_task=regression`.

    Raises:
        FileNotFoundError: The table does not exist.
        ValueError: The file is not a table, lacks columns, or names none of the images.
    """
    folder, name = posixpath.dirname(uri) or ".", posixpath.basename(uri)
    table_io.check_is_table(uri, "data_source")
    cells = table_io.read(name, storage.read_bytes(uri))
    if numeric:
        table = parse_targets(cells, layout, name, labels)
    else:
        cells = cells if labeled else cells.assign(**{layout.label: NO_FINDING})
        table = parse_rows(cells, layout, name, labels=labels)
    listed = listing.list_images(listing.list_source(folder))
    if listed.images.empty and listed.excluded.empty:
        raise ValueError(f"{name} must lie in a folder above its images, and no image lies below {folder}: move it up")
    rows, images = name_matching.match_images_to_rows(table.rows, listed.images, name)
    rows = name_matching.without_rows_of(rows, listed.excluded, images, name)
    source = join_table(folder, rows, table.findings, images, numeric=numeric)
    if layout.pairs:
        source = _name_studies(source, f"{folder}/{layout.pairs}", listed.images["path"], images["image_id"])
    return source._replace(excluded=pd.concat([listed.excluded, source.excluded]), files=listed.files)


def _name_studies(source: Source, uri: str, paths: pd.Series[str], image_ids: pd.Series[str]) -> Source:
    """Adds the studies that a table of pairs names, each by its frontal image; other images keep their own.

    Args:
        source: the images.
        uri: the table of pairs.
        paths: path of each image below the folder.
        image_ids: id of each image, as in `source`, in the order of `paths`.

    Raises:
        FileNotFoundError: the table does not exist.
        ValueError: it lacks a column, names none of the images, or names an image twice.
    """
    name = posixpath.basename(uri)
    pairs = table_io.read(name, storage.read_bytes(uri))
    missing = [column for column in PAIR_COLUMNS if column not in pairs]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(PAIR_COLUMNS)}; missing: {', '.join(missing)}")
    named = pd.DataFrame({"image": pd.concat([pairs[column] for column in PAIR_COLUMNS], ignore_index=True)})
    matched, images = name_matching.match_images_to_rows(named, pd.DataFrame({"path": paths}), name)
    if repeated := int(matched["image_id"].duplicated().sum()):
        raise ValueError(f"{name} must name each image once, got {repeated} images again: remove these pairs")
    known = dict(zip(images["image_id"], image_ids, strict=True))
    frontal, lateral = matched["image_id"].map(known).to_numpy().reshape(len(PAIR_COLUMNS), -1)
    ids, own = source.rows["image_id"], source.rows.get("study_id", source.rows["image_id"])
    study = ids.map(dict(zip(frontal, frontal, strict=True)) | dict(zip(lateral, frontal, strict=True)))
    view = source.rows["view"].mask(source.rows["view"].isna() & ids.isin(lateral), "LATERAL")
    return source._replace(rows=source.rows.assign(study_id=study.astype("string").fillna(own), view=view))


def join_table(
    uri: str, rows: pd.DataFrame, findings: pd.DataFrame, images: pd.DataFrame, *, numeric: bool = False
) -> Source:
    """Joins rows and findings, which share an index, with the images by `image_id`."""
    kept, kept_findings, excluded = with_findings(rows, findings, images, numeric=numeric)
    kept["patient_id"], notes = patient_ids(kept["patient_id"], kept["image_id"])
    return Source(uri, kept, kept_findings, excluded, notes, readings=find_readings(rows, findings))


def find_readings(rows: pd.DataFrame, findings: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of images with several, see `Source.readings`, but not those that list parts of one reading."""
    shared = rows["image_id"].duplicated(keep=False) & rows["reader"].notna()
    return rows.loc[shared, ["image_id", "reader"]].join(findings.add_prefix(FINDING))


def with_findings(
    rows: pd.DataFrame, findings: pd.DataFrame, images: pd.DataFrame, *, numeric: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Joins rows and findings with the images, as `image_files.join_labels` does.

    Returns:
        The rows that have an image, their findings with the same index, and the excluded rows and images.
    """
    table = rows.drop(columns=["image", "reader"]).join(findings.add_prefix(FINDING))
    kept, excluded = image_files.join_labels(table, images)
    is_finding = kept.columns.str.startswith(FINDING)
    kept_findings = kept.loc[:, is_finding].rename(columns=lambda name: name.removeprefix(FINDING))
    return kept.loc[:, ~is_finding], kept_findings if numeric else label_cells.known_only(kept_findings), excluded


class ParsedTable(NamedTuple):
    """Rows and findings of a table, with the same index.

    `rows` has the columns image (as written in the table), patient_id ("" if unknown), view, age, sex, official, reader
    ("" if unknown, missing if the rows of an image are parts of one reading), those of `covariate_cells` and, if the
    table has them, manufacturer and study_id.
    Values of `findings` are 1.0, 0.0, `label_cells.UNKNOWN` and, if the row says nothing, NaN.
    """

    rows: pd.DataFrame
    findings: pd.DataFrame


def parse_rows(
    table: pd.DataFrame, layout: TableLayout, name: str, blank: float = float("nan"), labels: Sequence[str] = ()
) -> ParsedTable:
    """Parses a table whose cells are text.

    Args:
        table: Cells as text.
        layout: Names of the columns, which match regardless of case, white space and Unicode form.
        name: Name of the table, for messages.
        blank: Value of an empty cell in a finding's column.
        labels: The requested labels.

    Raises:
        SensitiveValueError: A column that `layout` names is missing, a split is unknown, or no column contains
            findings. Column names are sensitive: if the header is missing, they are the first image's cells.
        ValueError: The column of a label holds no labels, see `label_cells`.
    """
    layout = _match_columns(table, layout)
    rows = _read_rows(table, layout, name)
    if _has_text_labels(table, layout, labels):
        readings = rows["image"] + "\n" + rows["reader"]
        findings = _merge_findings(readings, _findings_in_text(_cells(table, layout, "label"), layout, labels))
        has_readers = layout.reader in table
        return ParsedTable(rows if has_readers else rows.assign(reader=pd.Series(None, rows.index, "string")), findings)
    named = [column for field in COLUMNS if (column := getattr(layout, field))]
    other_columns = table.drop(columns=[*named, *parse_names(layout.covariates)], errors="ignore")
    findings = label_cells.findings_from_columns(other_columns, layout.uncertain, blank)
    label_cells.check_columns_of_labels(other_columns, labels, map(str, findings))
    if findings.empty:
        message = f"{name} must have findings in a text column (data_table label=...) or in columns of 1 and 0, got"
        raise SensitiveValueError(
            f"{message} the columns {', '.join(table.columns)}", f"{message} {len(table.columns)} columns"
        )
    return ParsedTable(rows, findings)


def parse_targets(table: pd.DataFrame, layout: TableLayout, name: str, targets: Sequence[str]) -> ParsedTable:
    """Parses a table whose targets are columns of numbers. A target may be a column with another meaning, such as age.

    Args:
        table: Cells as text.
        layout: Names of the other columns.
        name: Name of the table, for messages.
        targets: Names of the target columns.

    Raises:
        SensitiveValueError: A column that `layout` names, or a target, is missing.
        ValueError: A target holds other texts than numbers and words for unknown.
    """
    layout = _match_columns(table, layout)
    rows = _read_rows(table, layout, name)
    columns = {fold_name(column): column for column in table.columns}
    missing = [target for target in targets if fold_name(target) not in columns]
    if missing:
        message = f"data_labels must name columns of {name} with data_task=regression, got {missing[0]!r}; it has"
        raise SensitiveValueError(
            f"{message} {', '.join(table.columns)}{did_you_mean(missing[0], table.columns)}",
            f"{message} {len(table.columns)} others",
        )
    numbers = {target: number_cells.number_column(target, table[columns[fold_name(target)]]) for target in targets}
    return ParsedTable(rows, pd.DataFrame(numbers, index=table.index))


def _cells(table: pd.DataFrame, layout: TableLayout, field: str) -> pd.Series[str]:
    column = getattr(layout, field)
    return table[column].str.strip() if column in table else pd.Series("", table.index, dtype="string")


def _read_rows(table: pd.DataFrame, layout: TableLayout, name: str) -> pd.DataFrame:
    """Returns the columns that are no findings, see `ParsedTable`."""
    _check_columns(table, layout, name)

    def cells(field: str) -> pd.Series[str]:
        return _cells(table, layout, field)

    rows = pd.DataFrame(
        {
            "image": cells("image").str.replace("\\", "/", regex=False).str.removeprefix("./"),
            "patient_id": cells("patient"),
            "view": base.without_unknown(cells("view")).str.upper(),
            "sex": cells("sex").str.lower().map(SEXES).astype("string"),
            "official": splits.official_splits(base.without_unknown(cells("split")).fillna(""), name),
            "reader": cells("reader"),
        }
    ).assign(age=base.ages_in_years(cells("age")))
    rows = rows.join(base.covariate_cells(table, layout.covariates, name))
    if layout.manufacturer in table:
        rows["manufacturer"] = cells("manufacturer").mask(lambda text: text == "")
    if layout.study:
        rows["study_id"] = cells("study").mask(lambda text: text == "")
    return rows


def _has_text_labels(table: pd.DataFrame, layout: TableLayout, labels: Sequence[str]) -> bool:
    """Returns whether the column `label` is read: it was named, or a label has no column of its own."""
    own_columns = bool(labels) and set(map(fold_name, labels)) <= set(map(fold_name, table.columns)) - {"label"}
    return layout.label in table and (fold_case(layout.label) != TableLayout.label or not own_columns)


def _findings_in_text(cells: pd.Series[str], layout: TableLayout, labels: Sequence[str]) -> pd.DataFrame:
    """Reads a column of findings; one of only yes and no, or 1 and 0, is that of a single label."""
    truth = label_cells.truth_column(cells, layout.uncertain) if len(labels) == 1 else None
    if truth is not None and not cells.map(fold_name).isin(list(map(fold_name, labels))).any():
        log.info(
            "%s: yes or 1 is %r (%d rows), no or 0 is without it (%d rows)",
            layout.label, labels[0], truth.eq(1.0).sum(), truth.eq(0.0).sum(),
        )  # fmt: skip
        return truth.to_frame(labels[0])
    return label_cells.findings_from_text(cells, layout, labels)


def _merge_findings(images: pd.Series[str], findings: pd.DataFrame) -> pd.DataFrame:
    """Gives every row of an image the findings of all its rows, since some tables have one row per finding.

    Args:
        images: Image and reader of each row; readers are merged later.
        findings: Findings of each row.
    """
    shared = images.duplicated(keep=False)
    merged = findings[shared].groupby(images[shared]).transform("max")
    return pd.concat([findings[~shared], merged]).loc[findings.index]


def _match_columns(table: pd.DataFrame, layout: TableLayout) -> TableLayout:
    """Returns the layout with the table's own spelling of the columns."""
    folded = table.columns.map(fold_case)
    spelled = {}
    for field in COLUMNS:
        column = getattr(layout, field)
        matches = table.columns[folded == fold_case(column)]
        if column and column not in table and len(matches) == 1:
            spelled[field] = str(matches[0])
    return dataclasses.replace(layout, **spelled)


def _check_columns(table: pd.DataFrame, layout: TableLayout, name: str) -> None:
    for field in COLUMNS:
        column = getattr(layout, field)
        if column not in table and (field == "image" or layout.named(field)):
            message = f"{name} must have the column {column!r}, which data_table sets as {field}=, got"
            columns = f"{', '.join(table.columns)}{did_you_mean(column, table.columns)}"
            raise SensitiveValueError(f"{message} {columns}", f"{message} {len(table.columns)} others")
    if table.empty:
        raise ValueError(f"{name} must have rows below its header, got none")
