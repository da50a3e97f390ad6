"""Reader of CheXpert's layout: train.csv, valid.csv and, where it is, test.csv, with the images by their paths."""

from __future__ import annotations

import pandas as pd

from radiograft import storage
from radiograft.config.data import TableLayout
from radiograft.data import table_files as table_io
from radiograft.data.sources import image_files
from radiograft.data.sources.base import Source
from radiograft.data.sources.table import join_table, parse_rows

TABLES = {"train": "train.csv", "validation": "valid.csv", "test": "test.csv"}
PATH = r"((?:train|valid|test)/(patient\d+)/.+)$"  # what stands before it is the name of a release
FINDINGS = (
    "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation",
    "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
VALID_TESTS = "CheXpert's test.csv is not there: its valid.csv, which radiologists labeled, is the test split"


def read(uri: str, layout: TableLayout) -> Source:
    """Reads a folder or gs:// prefix in CheXpert's layout.

    A finding that a report does not mention is absent, and -1 is what the layout says; its columns are CheXpert's own.
    Without test.csv the validation patients are drawn from train.csv, and valid.csv tests.

    Raises:
        FileNotFoundError: the folder, train.csv or valid.csv is missing.
        ValueError: a table without its columns.
    """
    files = {entry.name: entry for entry in storage.list_files(uri)}
    tables = {split: found for split, name in TABLES.items() if (found := _table(files, name)) is not None}
    missing = [TABLES[split] for split in ("train", "validation") if split not in tables]
    if missing:
        raise FileNotFoundError(
            f"data_source must hold train.csv and valid.csv, {' and '.join(missing)} is not in {uri}"
        )
    official = {} if "test" in tables else {"train": "train_val", "validation": "test"}
    table = pd.concat([part.assign(split=official.get(split, split)) for split, part in tables.items()])
    table = table.reset_index(drop=True).fillna("")
    whole = parse_rows(
        table, TableLayout(image="Path", age="Age", sex="Sex", uncertain=layout.uncertain), "train.csv", blank=0.0
    )
    found, strays = image_files.list_images(files.values())
    rows = whole.rows.assign(image_id=whole.rows["image"])
    source = join_table(uri, rows, whole.findings.filter(list(FINDINGS)), found.rename(columns={"path": "image_id"}))
    notes = (*source.notes, *(VALID_TESTS,) * ("test" not in tables))
    return source._replace(excluded=pd.concat([strays, source.excluded]), notes=notes)


def _table(files: dict[str, storage.ObjectInfo], name: str) -> pd.DataFrame | None:
    """A table with the paths as they are below the source, patients and views, or None where it is not there."""
    found = table_io.first_table(files, [name])
    if found is None:
        return None
    table = table_io.read_csv(*found)
    missing = [column for column in ("Path", *FINDINGS) if column not in table]
    if missing:
        raise ValueError(f"{name} must have CheXpert's columns; missing: {', '.join(missing)}")
    parts = table["Path"].str.extract(PATH)
    table["Path"], table["patient"] = parts[0].fillna(table["Path"]), parts[1].fillna("")
    lateral = table["Path"].str.contains("lateral")
    table["view"] = table.get("AP/PA", pd.Series("", table.index, dtype="string")).mask(lateral, "LATERAL")
    return table
