"""Joins the images of a dataset with a table's rows."""

from __future__ import annotations

import pandas as pd

from radiograft.config.data_policy import CONFLICTING_ROWS, OUTSIDE, REPEATED_NAME
from radiograft.config.patient_data import COVARIATE
from radiograft.data.catalog import exclusion
from radiograft.data.sources.listing import OUTSIDE_PATH

NO_ROW = "image without a row"


def file_names(paths: pd.Series[str]) -> pd.Series[str]:
    """Returns the last component of each path."""
    return paths.map(lambda path: path.rpartition("/")[2]).astype("string")


def join_labels(table: pd.DataFrame, images: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Joins a table's rows with the images by `image_id`.

    Rows of one image are merged if they name one patient and split; a view, sex or age that differs becomes unknown.
    Of several images with the same id and content the first is kept. Images with contradictory rows, and images with
    the same id but different content, are excluded.

    Args:
        table: `image_id` and other columns; missing values and "" say nothing. Of columns of numbers but age, which
            hold findings, the maximum counts.
        images: `image_id`, `md5` and other columns.

    Returns:
        One row per image, sorted by `image_id`; and the excluded rows and images as `exclusion` rows.
    """
    row_ids, image_ids = table["image_id"].astype(object), images["image_id"].astype(object)  # Arrow's isin is slow
    has_image = isin(row_ids, image_ids)
    merged, conflicting = _merge_rows(table[has_image])
    contents = images.drop_duplicates(["image_id", "md5"])["image_id"]
    ambiguous = contents[contents.duplicated()]
    kept = images[~image_ids.duplicated() & ~isin(image_ids, pd.concat([conflicting, ambiguous]))]
    unmatched = row_ids[~has_image].drop_duplicates()
    outside = unmatched.str.contains(OUTSIDE_PATH)
    reasons = _reasons(images, row_ids, conflicting, ambiguous)
    excluded = [
        exclusion(row_ids[row_ids.duplicated() & ~isin(row_ids, conflicting)], "duplicate row for an image"),
        *(exclusion(image_ids[reasons == reason], reason) for reason in (CONFLICTING_ROWS, REPEATED_NAME)),
        exclusion(unmatched[~outside], "row without an image"),
        exclusion(unmatched[outside], OUTSIDE),
        exclusion(image_ids[reasons == NO_ROW], NO_ROW),
    ]
    rows = merged.merge(kept, on="image_id", how="inner").sort_values("image_id", ignore_index=True)
    return rows, pd.concat(excluded)


OPTIONAL = ("view", "sex", "age", "manufacturer")  # columns that may differ between rows of an image


def _reasons(
    images: pd.DataFrame, row_ids: pd.Series[str], conflicting: pd.Series[str], ambiguous: pd.Series[str]
) -> pd.Series[str]:
    """Returns the one reason why each image is not kept, missing for those that are."""
    image_ids = images["image_id"]
    reasons = pd.Series(pd.NA, index=images.index, dtype="string")
    for mask, reason in (
        (image_ids.duplicated(), REPEATED_NAME),
        (isin(image_ids, conflicting), CONFLICTING_ROWS),
        (isin(image_ids, ambiguous), REPEATED_NAME),
        (~isin(image_ids, row_ids), NO_ROW),
    ):
        reasons = reasons.mask(mask & reasons.isna(), reason)
    return reasons


def _merge_rows(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Merges the rows of each `image_id`. Returns the merged rows, and the ids whose rows contradict each other."""
    shared = rows["image_id"].duplicated(keep=False)
    findings = [str(name) for name in rows.select_dtypes("float64") if name not in OPTIONAL]
    groups = rows[shared].replace("", pd.NA).groupby("image_id", as_index=False)
    merged, differs = groups.first(), groups.nunique().drop(columns="image_id").gt(1)
    optional = [name for name in map(str, rows) if name in OPTIONAL or name.startswith(COVARIATE)]
    for name in optional:
        merged[name] = merged[name].mask(differs[name])
    merged[findings] = groups[findings].max()[findings]
    conflicting = differs.drop(columns=[*optional, *findings], errors="ignore").any(axis="columns")
    return pd.concat([rows[~shared], merged[~conflicting]]), merged["image_id"][conflicting]


def isin(ids: pd.Series[str], others: pd.Series[str]) -> pd.Series[bool]:
    """Returns `ids.isin(others)`, ten times as fast as on Arrow-backed columns."""
    return ids.astype(object).isin(others.astype(object)) if len(others) else pd.Series(False, ids.index)
