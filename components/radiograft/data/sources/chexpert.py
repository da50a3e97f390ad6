"""Reader of CheXpert: train.csv, valid.csv and optionally test.csv, which name the images by path."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from radiograft import storage
from radiograft.config.table_layout import TableLayout
from radiograft.data import table_files as table_io
from radiograft.data.sources import listing
from radiograft.data.sources.base import Source
from radiograft.data.sources.table import join_table, parse_rows

TABLES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
PATH = r"((?:train|valid|test)/(patient\d+)/.+)$"  # the path may begin with the name of a release
FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
VALID_TESTS = "CheXpert's test.csv is missing: valid.csv, which radiologists labeled, is the test split"


def read(uri: str, layout: TableLayout, labels: Sequence[str] = ()) -> Source:
    """Reads a folder or object store prefix in CheXpert's layout.

    A finding that a report does not mention is absent. If test.csv is missing, valid.csv is the test split and the
    validation patients are drawn from train.csv.

    Args:
        uri: Folder or prefix.
        layout: Only `uncertain`, the meaning of -1, and `covariates` are used; the columns are CheXpert's own.
        labels: The requested labels.

    Raises:
        FileNotFoundError: The folder, train.csv or valid.csv is missing.
        ValueError: A table lacks columns.
    """
    files = {entry.name: entry for entry in listing.list_source(uri)}
    tables = {split: table for split, name in TABLES.items() if (table := _read_table(files, name)) is not None}
    missing = [TABLES[split] for split in ("train", "validation") if split not in tables]
    if missing:
        raise FileNotFoundError(
            f"data_source must contain train.csv and valid.csv; {' and '.join(missing)} is missing from {uri}"
        )
    official = {} if "test" in tables else {"train": "train_val", "validation": "test"}
    table = pd.concat([part.assign(split=official.get(split, split)) for split, part in tables.items()])
    table = table.reset_index(drop=True).fillna("")
    columns = TableLayout(image="Path", age="Age", sex="Sex", uncertain=layout.uncertain, covariates=layout.covariates)
    parsed = parse_rows(table, columns, "train.csv", blank=0.0, labels=[name for name in labels if name in FINDINGS])
    listed = listing.list_images(files.values())
    rows = parsed.rows.assign(image_id=parsed.rows["image"])
    source = join_table(
        uri, rows, parsed.findings.filter(list(FINDINGS)), listed.images.rename(columns={"path": "image_id"})
    )
    notes = source.notes if "test" in tables else (*source.notes, VALID_TESTS)
    excluded = pd.concat([listed.excluded, source.excluded])
    return source._replace(excluded=excluded, notes=notes, files=listed.files)


def _read_table(files: dict[str, storage.ObjectInfo], name: str) -> pd.DataFrame | None:
    """Reads a table and adds patients and views; paths become relative to the source. None if it is missing."""
    packed = table_io.first_table(files, [name])
    if packed is None:
        return None
    table = table_io.read_csv(*packed)
    missing = [column for column in ("Path", *FINDINGS) if column not in table]
    if missing:
        raise ValueError(f"{name} must have CheXpert's columns; missing: {', '.join(missing)}")
    table["Path"] = table["Path"].str.replace("\\", "/", regex=False)
    parts = table["Path"].str.extract(PATH)
    table["Path"], table["patient"] = parts[0].fillna(table["Path"]), parts[1].fillna("")
    lateral = table["Path"].str.contains("lateral")
    table["view"] = table.get("AP/PA", pd.Series("", table.index, dtype="string")).mask(lateral, "LATERAL")
    return table
