"""Assigns patients to train, validation and test splits by hash, so that adding data never moves a patient."""

from __future__ import annotations

import functools
import hashlib

import pandas as pd

from radiograft.config.base import did_you_mean
from radiograft.data.catalog import SPLITS
from radiograft.utils.errors import SensitiveValueError

NAMES = {  # split names used by datasets
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("train_val", "trainval"), "train_val"),
}
NAMED = 100  # maximum number of patients listed in an error message
HELD_OUT_LEAST = ("train_val", "train", "validation", "test")


def draw_split(patient_id: str, purpose: str, seed: int) -> float:
    """Returns a number in [0, 1) that depends only on patient, purpose and seed.

    Example:
        >>> round(draw_split("1", "test", seed=0), 3)
        0.388
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def official_splits(names: pd.Series[str], place: str) -> pd.Series[str]:
    """Normalizes the dataset's own split names; an empty name becomes a missing value.

    Without a validation split, `train` becomes `train_val`, from which validation patients are drawn later.

    Args:
        names: split name of each row.
        place: where the names come from, for error messages.

    Raises:
        SensitiveValueError: a name is not one of NAMES.
    """
    lower = names.str.lower()
    unknown = sorted(set(lower) - {"", *NAMES})
    if unknown:
        constraint = f"a split in {place} must be one of {', '.join(NAMES)}, got"
        raise SensitiveValueError(
            f"{constraint} {unknown[0]!r}{did_you_mean(unknown[0], NAMES)}", f"{constraint} {len(unknown)} others"
        )
    official = lower.map(NAMES).astype("string")
    return official if official.eq("validation").any() else official.replace("train", "train_val")


def assign_splits(rows: pd.DataFrame, *, validation_fraction: float, test_fraction: float, seed: int) -> pd.Series[str]:
    """Assigns each row to `train`, `validation` or `test`.

    Official splits are kept. Validation patients are drawn from those in `train_val`. If the dataset has no official
    splits, test patients are drawn too. If it has some, rows in none of them get a missing value.

    Args:
        rows: `patient_id` and `official`, the dataset's own split.
        validation_fraction: fraction of the `train_val` patients held out for validation.
        test_fraction: fraction of all patients held out for testing, if there are no official splits.
        seed: random seed.

    Raises:
        ValueError: a patient is in several official splits.
    """
    has_official = bool(rows["official"].notna().any())
    if has_official:
        _check_overlap(rows)

    @functools.cache  # hashes each patient once
    def split(patient: str, official: str | None) -> str | None:
        if has_official and official is None:
            return None
        if official in SPLITS:
            return official
        if not has_official and draw_split(patient, "test", seed) < test_fraction:
            return "test"
        return "validation" if draw_split(patient, "validation", seed) < validation_fraction else "train"

    official = rows["official"].astype(object).where(rows["official"].notna(), None)
    assigned = [split(*pair) for pair in zip(rows["patient_id"].astype(object), official, strict=True)]
    return pd.Series(assigned, index=rows.index, dtype="string")


def is_drawn(rows: pd.DataFrame, test_fraction: float, seed: int) -> bool:
    """Returns whether the test split is the one that `assign_splits` draws if the dataset has no official splits.

    Args:
        rows: `patient_id` and `split`.
        test_fraction: fraction of all patients held out for testing.
        seed: random seed.
    """
    patients = rows.drop_duplicates("patient_id")
    drawn = patients["patient_id"].map(lambda patient: draw_split(str(patient), "test", seed) < test_fraction)
    return bool(drawn.eq(patients["split"].eq("test")).all())


def move_boxed_patients(
    splits: pd.Series[str], patients: pd.Series[str], boxed: pd.Series[bool], *, fraction: float, seed: int
) -> pd.Series[str]:
    """Moves test patients with boxes to training, each with all images.

    Args:
        splits: split of each row.
        patients: patient of each row.
        boxed: whether a row's image has a box.
        fraction: fraction of the test patients with boxes who move.
        seed: random seed.
    """
    candidates = set(patients[boxed & splits.eq("test")])
    moved = {patient for patient in candidates if draw_split(str(patient), "boxes", seed) < fraction}
    return splits.mask(patients.isin(list(moved)) & splits.eq("test"), "train")


def find_leaks(rows: pd.DataFrame) -> pd.Series[bool]:
    """Returns which rows belong to a patient who is also in a more held-out official split.

    `HELD_OUT_LEAST` orders the splits.

    Args:
        rows: `patient_id` and `official`.
    """
    rank = rows["official"].map({name: rank for rank, name in enumerate(HELD_OUT_LEAST)})
    return rank.lt(rank.groupby(rows["patient_id"]).transform("max")).fillna(False).astype(bool)


def check_patients(rows: pd.DataFrame) -> None:
    """Checks that there are enough patients to draw the splits from, since all images of a patient share a split.

    Args:
        rows: `patient_id` and `official`.

    Raises:
        ValueError: there are fewer patients than splits to draw.
    """
    has_official = bool(rows["official"].notna().any())
    drawn = rows[rows["official"] == "train_val"] if has_official else rows
    parts = ("train", "validation") if has_official else SPLITS
    count = drawn["patient_id"].nunique()
    if 0 < count < len(parts):
        raise ValueError(
            f"images are split by patient, so {', '.join(parts)} need at least {len(parts)} patients, got {count} with "
            f"{len(drawn)} images; check the column or the names that identify patients, or add patients"
        )


def _check_overlap(rows: pd.DataFrame) -> None:
    leaking = sorted(rows["patient_id"][find_leaks(rows)].unique(), key=lambda patient: (len(patient), patient))
    if leaking:
        more = ", ..." if len(leaking) > NAMED else ""
        raise ValueError(
            f"a patient must be in one split only, got {len(leaking)} in several of the dataset's own splits: "
            f"{', '.join(leaking[:NAMED])}{more}; repair the splits, or set data_policy to patient_overlap=drop, which "
            "keeps such a patient in one split: test before validation before training"
        )
