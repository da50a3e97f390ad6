"""Reader of NIH ChestX-ray14: images in any folders or archives, the table, the official lists and the boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from radiograft import storage
from radiograft.config.table_layout import TableLayout
from radiograft.data import table_files as table_io
from radiograft.data.catalog import BOX_COLUMNS, CORNERS, exclusion, no_boxes
from radiograft.data.sources import image_files, label_cells, listing
from radiograft.data.sources.base import Source, ages_in_years, covariate_cells, patient_ids
from radiograft.data.sources.image_files import isin
from radiograft.utils.errors import SensitiveValueError

TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
COLUMNS = {
    "Image Index": "image_id",
    "Finding Labels": "findings",
    "Patient ID": "patient_id",
    "Patient Age": "age",
    "Patient Gender": "sex",
    "View Position": "view",
}

BOX_TABLE = "BBox_List_2017.csv"
# The commas in the column name "Bbox [x,y,w,h]" split it into four.
BOX_HEADER = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")
IMAGE_SIDE = 1024  # pixels per side of the square images on which the boxes were drawn
BOX_FINDINGS = {"Infiltrate": "Infiltration"}  # names in the box table that differ from those in the label table


def read(uri: str, labels: Sequence[str] = (), covariates: str = "", separator: str = TableLayout.separator) -> Source:
    """Reads a folder or object store prefix in NIH's layout.

    `official` is `train_val` or `test`, or missing if the dataset has no lists. Every finding in the table gets a
    column, even if no image shows it. Boxes come from `BBox_List_2017.csv`, if present. Image files are read only to
    compute checksums that the storage does not provide; archives are read once.

    Args:
        uri: Folder or prefix.
        labels: The requested labels.
        covariates: Further columns of the table, see `covariate_cells`.
        separator: Separator between findings, as in `TableLayout`; NIH's own tables have bars.

    Raises:
        FileNotFoundError: The folder, its table or one of the two lists is missing.
        ValueError: A table lacks columns, an image is in both lists, or the lists name none of the images.
    """
    files = {entry.name: entry for entry in listing.list_source(uri)}
    table = _read_table(files, uri, covariates)
    listed = listing.list_images(files.values())
    files = {name: entry for name, entry in files.items() if "/" not in name}  # frees those of a million images
    images = listed.images
    images["image_id"] = image_files.file_names(images.pop("path"))
    rows, excluded_rows = image_files.join_labels(table, images)
    boxes, excluded_boxes = _read_boxes(files, rows["image_id"])
    rows["official"] = _official_splits(rows["image_id"], _read_lists(files, uri), uri)
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    layout = TableLayout(label="Finding Labels", separator=separator)
    known = label_cells.findings_from_text(table["findings"].drop_duplicates(), layout, labels).columns
    findings = label_cells.known_only(label_cells.findings_from_text(rows["findings"], layout, labels))
    findings = findings.reindex(columns=known, fill_value=0.0).mask(findings.isna().all(axis="columns"))
    excluded = pd.concat([listed.excluded, excluded_rows, excluded_boxes])
    return Source(uri, rows.drop(columns="findings"), findings, excluded, notes, boxes, files=listed.files)


def _read_table(files: dict[str, storage.ObjectInfo], uri: str, covariates: str) -> pd.DataFrame:
    """Reads the label table and renames its columns to those of `Source.rows`."""
    table = table_io.first_table(files, TABLES)
    if table is None:
        raise FileNotFoundError(
            f"data_source must contain {' or '.join(TABLES)} (plain, .gz or .zip); {uri} contains neither"
        )
    name, content = table
    frame = table_io.read_csv(name, content)
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    further = covariate_cells(frame, covariates, name)
    frame = frame[list(COLUMNS)].rename(columns=COLUMNS).join(further)
    frame["patient_id"] = frame["patient_id"].str.replace(r"^0+(?=\d)", "", regex=True)  # v2020 writes 1 for 00000001
    frame["age"] = ages_in_years(frame["age"])
    return frame


def _read_boxes(
    files: Mapping[str, storage.ObjectInfo], image_ids: pd.Series[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = table_io.first_table(files, [BOX_TABLE])
    return read_boxes(table[1], image_ids) if table else (no_boxes(), exclusion([], ""))


def _official_splits(image_ids: pd.Series[str], lists: dict[str, str] | None, uri: str) -> pd.Series[str]:
    official = image_ids.map(lists or {}).astype("string")
    if lists is not None and len(official) and official.isna().all():
        message = f"the official lists must name the images, got lists in {uri} that name none of {len(official)}"
        remedy = "; correct both lists or remove both"
        raise SensitiveValueError(f"{message}, e.g. {image_ids.iloc[0]}{remedy}", f"{message}{remedy}")
    return official


def _read_lists(files: dict[str, storage.ObjectInfo], uri: str) -> dict[str, str] | None:
    """Returns the official split by image id, or None if the dataset has no lists."""
    present = [name for name in LISTS.values() if name in files]
    if len(present) == 1:
        raise FileNotFoundError(
            f"data_source must contain both {' and '.join(LISTS.values())} or neither; {uri} contains only {present[0]}"
        )
    if not present:
        return None
    members = {split: _lines(name, storage.read_bytes(files[name].uri)) for split, name in LISTS.items()}
    both = sorted(set(members["train_val"]) & set(members["test"]))
    if both:
        message = f"an image must be in only one official list, got {len(both)} in both"
        raise SensitiveValueError(f"{message}: {', '.join(both[:5])}", message)
    return {image_id: split for split, ids in members.items() for image_id in ids}


def _lines(name: str, content: bytes) -> list[str]:
    return [line.strip() for line in table_io.decode_text(name, content).splitlines() if line.strip()]


def read_boxes(content: bytes, image_ids: pd.Series[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Parses the box table and clips each box to its image.

    Args:
        content: `BBox_List_2017.csv`, unpacked.
        image_ids: Images of the dataset.

    Returns:
        The boxes of these images in the columns of `no_boxes`, and the excluded boxes as `exclusion` rows.

    Raises:
        ValueError: The header is not NIH's, or the text is not UTF-8.
    """
    table = table_io.read_csv(BOX_TABLE, content)
    if tuple(table.columns[: len(BOX_HEADER)]) != BOX_HEADER:
        raise ValueError(
            f"{BOX_TABLE} must begin with the columns {', '.join(BOX_HEADER)}, got {', '.join(table.columns)}"
        )
    table = table[list(BOX_HEADER)].set_axis(list(BOX_COLUMNS), axis="columns")
    table["finding"] = table["finding"].replace(BOX_FINDINGS)
    left, top, width, height = (
        pd.to_numeric(table[column], errors="coerce").astype("float64") / IMAGE_SIDE for column in CORNERS
    )
    table["x"], table["y"] = left.clip(0, 1), top.clip(0, 1)
    table["width"] = (left + width).clip(0, 1) - table["x"]
    table["height"] = (top + height).clip(0, 1) - table["y"]
    known = isin(table["image_id"], image_ids)
    inside = (table["width"] > 0) & (table["height"] > 0)
    excluded = [
        exclusion(table["image_id"][~known], "bounding box for a missing image"),
        exclusion(table["image_id"][known & ~inside], "bounding box outside its image"),
    ]
    return table[known & inside].astype(BOX_COLUMNS).reset_index(drop=True), pd.concat(excluded)
