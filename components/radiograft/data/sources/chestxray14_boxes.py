"""NIH's boxes around findings, drawn by radiologists in part of the test pictures."""

from __future__ import annotations

import pandas as pd

from radiograft.data.catalog import BOX_COLUMNS, CORNERS, exclusion
from radiograft.data.sources.image_files import among
from radiograft.data.tables import io as table_io

TABLE = "BBox_List_2017.csv"
HEADER = ("Image Index", "Finding Label", "Bbox [x", "y", "w", "h]")  # NIH put commas into a column's name
SIDE = 1024  # pixels of the square pictures that the boxes were drawn on
FINDINGS = {"Infiltrate": "Infiltration"}  # the data set's own name for what the box table calls otherwise


def read(content: bytes, image_ids: pd.Series[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The boxes of the pictures that are there, as `records.no_boxes` describes them, and what was set aside and why.

    A box that reaches over its picture's edge is cut there.

    Raises:
        ValueError: the table has another header, or is not UTF-8.
    """
    table = table_io.read_csv(TABLE, content)
    if tuple(table.columns[: len(HEADER)]) != HEADER:
        raise ValueError(f"{TABLE} must begin with the columns {', '.join(HEADER)}, got {', '.join(table.columns)}")
    table = table[list(HEADER)].set_axis(list(BOX_COLUMNS), axis="columns")
    table["finding"] = table["finding"].replace(FINDINGS)
    left, top, width, height = (
        pd.to_numeric(table[column], errors="coerce").astype("float64") / SIDE for column in CORNERS
    )
    table["x"], table["y"] = left.clip(0, 1), top.clip(0, 1)
    table["width"] = (left + width).clip(0, 1) - table["x"]
    table["height"] = (top + height).clip(0, 1) - table["y"]
    known = among(table["image_id"], image_ids)
    inside = (table["width"] > 0) & (table["height"] > 0)
    excluded = [
        exclusion(table["image_id"][~known], "box of a picture that is not there"),
        exclusion(table["image_id"][known & ~inside], "box that is not inside its picture"),
    ]
    return table[known & inside].astype(BOX_COLUMNS).reset_index(drop=True), pd.concat(excluded)
