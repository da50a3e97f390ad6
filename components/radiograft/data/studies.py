"""Pairs the frontal and the lateral image of each study. A catalog row is then a study in place of an image.

The columns LATERAL describe the second image of a row. They are missing for a study with a frontal image only, and
absent from catalogs of single images.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from radiograft.config import Ingest
from radiograft.config.data import STUDY
from radiograft.config.data_policy import CONFLICTING_STUDY, FURTHER_FRONTAL, FURTHER_LATERAL, LATERAL_ALONE
from radiograft.data.catalog import LATERAL, exclusion
from radiograft.data.soft_labels import majority_class
from radiograft.data.sources.base import Source
from radiograft.imaging.views import FRONTAL as FRONTAL_VIEW
from radiograft.imaging.views import LATERAL as LATERAL_VIEW
from radiograft.imaging.views import projection

STUDY_COLUMN = "study_id"


def group_images(source: Source, settings: Ingest) -> Source:
    """Returns the source with one row per image or, with `data_unit=study`, one row per study.

    Raises:
        ValueError: studies are requested, and no image has a study.
    """
    if settings.data_unit == STUDY:
        return pair_studies(source, settings.findings())
    return source._replace(rows=source.rows.drop(columns=STUDY_COLUMN, errors="ignore"))


def pair_studies(source: Source, labels: Sequence[str]) -> Source:
    """Returns the source with a row for each study that has a frontal image, and its lateral image beside it.

    Of several frontal images of a study, a PA image is chosen before others, then the first by `image_id`; of several
    lateral images the first. Files that are not empty come first. The others are excluded, as are lateral images
    without a frontal one. An image without a study or with a view that is neither frontal nor lateral keeps its own
    row. A label that the frontal image leaves open is that of the other images of the study.

    Args:
        source: `rows` have the column `study_id`, which needs to be unique within a patient only.
        labels: the labels about which the images of a study must agree. If they do not, all are excluded.

    Raises:
        ValueError: no image has a study.
    """
    rows = source.rows
    if STUDY_COLUMN not in rows or rows[STUDY_COLUMN].isna().all():
        raise ValueError(
            "data_unit=study must have images whose study is known, got none: name the column of the study in "
            "data_table (study=), or a table of pairs (pairs=), or set data_unit=image"
        )
    study = _study_keys(rows)
    roles = _roles(rows["view"])
    conflicting = _in_conflict(source.findings, study, labels)
    chosen = _is_chosen(rows, study, roles) & ~conflicting
    frontal, lateral = chosen & roles.eq(FRONTAL_VIEW), chosen & roles.eq(LATERAL_VIEW) & rows["bytes"].gt(0)
    lateral &= study.isin(study[frontal])
    second = rows[lateral].set_axis(study[lateral])
    paired = {name: study.map(second[of_image]).where(frontal) for name, of_image in LATERAL.items()}
    kept = frontal | (roles.eq("") & ~conflicting)
    result = rows.assign(**paired).astype({"lateral_bytes": "Int64"})[kept]
    excluded = _excluded(rows, study, roles, conflicting, kept | lateral)
    return source._replace(
        rows=result.reset_index(drop=True),
        findings=_merged_findings(source.findings, study)[kept].reset_index(drop=True),
        excluded=pd.concat([source.excluded, *excluded]),
        notes=(*source.notes, _note(int(lateral.sum()), int(frontal.sum() - lateral.sum()))),
        readings=None,
    )


def check_laterals(rows: pd.DataFrame) -> None:
    """Checks that a network can learn from lateral images.

    Args:
        rows: catalog rows.

    Raises:
        ValueError: no training study has a lateral image.
    """
    if "lateral" not in rows or rows["lateral"][rows["split"].eq("train")].isna().all():
        raise ValueError(
            "model_views=frontal_lateral must have training studies with a lateral image, got none: set "
            "data_unit=study and check the views, or set model_views=frontal"
        )


def images_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each image of catalog rows: their frontal images, then their lateral images, in their order.

    The rows themselves are returned if they are single images. Lateral images have the view LATERAL, the patient, split
    and labels of their row, and an index after that of all rows.
    """
    if "lateral" not in rows:
        return rows
    return pd.concat([rows, laterals_of(rows)], ignore_index=False).reset_index(drop=True)


def laterals_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the lateral images of catalog rows of studies as rows of single images, with the index of their study."""
    second = rows[rows["lateral"].notna()]
    columns = {of_image: second[name] for name, of_image in LATERAL.items()}
    return second.assign(**columns, view=LATERAL_VIEW.upper()).astype({"bytes": "int64"})


def keep_images(rows: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Returns the catalog rows whose frontal image is kept; a lateral image that is not kept becomes missing.

    Args:
        rows: catalog rows.
        kept: those rows of `images_of(rows)` that are kept, with their index.
    """
    if "lateral" not in rows:
        return rows.loc[kept.index]
    second = pd.Series(range(len(rows)), rows.index)[rows["lateral"].notna()]
    is_dropped = ~(len(rows) + pd.Series(range(len(second)), second.index)).isin(kept.index)
    rows = rows.assign(lateral=rows["lateral"].mask(is_dropped.reindex(rows.index, fill_value=False)))
    return rows[pd.Series(range(len(rows)), rows.index).isin(kept.index)]


def _study_keys(rows: pd.DataFrame) -> pd.Series[str]:
    """Returns a key of each image's study, which is the image's own without a study."""
    keys = rows["patient_id"].astype("string") + "\n" + rows[STUDY_COLUMN].astype("string")
    return keys.fillna("\n\n" + rows["image_id"].astype("string")).astype(object)


def _roles(views: pd.Series[str]) -> pd.Series[str]:
    """Returns `frontal`, `lateral` or "" for each view; an unknown view counts as frontal, as for single images."""
    return views.map({view: projection(view) for view in views.dropna().unique()}).astype(object).fillna(FRONTAL_VIEW)


def _in_conflict(findings: pd.DataFrame, study: pd.Series[str], labels: Sequence[str]) -> pd.Series[bool]:
    """Returns whether the images of each image's study differ about a label; an unknown label differs from none."""
    shared = study.duplicated(keep=False)
    known = majority_class(findings.loc[shared, [label for label in labels if label in findings]])
    differ = known.groupby(study[shared]).transform("nunique").gt(1).any(axis="columns")
    return differ.reindex(findings.index, fill_value=False)


def _is_chosen(rows: pd.DataFrame, study: pd.Series[str], roles: pd.Series[str]) -> pd.Series[bool]:
    keys = pd.DataFrame(
        {
            "study": study,
            "role": roles,
            "empty": rows["bytes"].eq(0),
            "other": ~rows["view"].fillna("").str.startswith("PA").astype(bool),
            "image_id": rows["image_id"],
        }
    )
    ordered = keys.sort_values(["empty", "other", "image_id"], kind="stable")
    return (~ordered.duplicated(["study", "role"])).reindex(rows.index)


def _merged_findings(findings: pd.DataFrame, study: pd.Series[str]) -> pd.DataFrame:
    shared = study.duplicated(keep=False)
    of_study = findings[shared].groupby(study[shared]).transform("max")
    return findings.fillna(of_study)


def _excluded(
    rows: pd.DataFrame,
    study: pd.Series[str],
    roles: pd.Series[str],
    conflicting: pd.Series[bool],
    used: pd.Series[bool],
) -> list[pd.DataFrame]:
    """Returns the images that no row uses, with the reason, as `exclusion` rows with their URI."""
    has_frontal = study.isin(study[roles.eq(FRONTAL_VIEW)])
    reasons = pd.Series(FURTHER_LATERAL, rows.index, dtype=object)
    reasons = reasons.mask(rows["bytes"].eq(0), "empty file").mask(~has_frontal, LATERAL_ALONE)
    reasons = reasons.mask(roles.eq(FRONTAL_VIEW), FURTHER_FRONTAL).mask(conflicting, CONFLICTING_STUDY)
    left = rows[~used].assign(reason=reasons[~used])
    return [
        exclusion(group["image_id"], str(reason)).assign(uri=group["uri"].tolist())
        for reason, group in left.groupby("reason")
    ]


def _note(both: int, alone: int) -> str:
    return (
        f"{both + alone:,} studies have a frontal image: {both:,} of them also a lateral image that is used, "
        f"{alone:,} do not"
    )
