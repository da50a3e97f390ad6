"""Which patients train, validate and test. A patient is drawn by hash, so that one never moves when data are added."""

from __future__ import annotations

import hashlib

import pandas as pd

from radiograft.config.base import did_you_mean
from radiograft.data.catalog import SPLITS
from radiograft.utils.errors import SensitiveValueError

NAMES = {  # of splits, as data sets name them
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
    "train_val": "train_val",
}
NAMED = 100  # patients in a message
HELD_OUT_LEAST = ("train_val", "train", "validation", "test")


def draw_split(patient_id: str, purpose: str, seed: int) -> float:
    """A number in [0, 1) that depends on patient, purpose and seed alone."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def official_splits(names: pd.Series[str], place: str) -> pd.Series[str]:
    """The data set's own split from how it names it; missing where the name is empty.

    Without a validation split `train` becomes `train_val`, of which validation patients are drawn.

    Raises:
        NamingError: a name that is not one of NAMES.
    """
    lower = names.str.lower()
    strange = sorted(set(lower) - {"", *NAMES})
    if strange:
        asked = f"a split in {place} must be one of {', '.join(NAMES)}, got"
        raise SensitiveValueError(
            f"{asked} {strange[0]!r}{did_you_mean(strange[0], NAMES)}", f"{asked} {len(strange)} others"
        )
    found = lower.map(NAMES).astype("string")
    return found if found.eq("validation").any() else found.replace("train", "train_val")


def assign_splits(rows: pd.DataFrame, *, validation_fraction: float, test_fraction: float, seed: int) -> pd.Series[str]:
    """The split of each row (`train`, `validation`, `test`) from its `patient_id` and `official` list.

    Official splits are honored; of the patients in `train_val` the fraction asked for validates. Without any the test
    patients are drawn too. Rows in no official split, where there are some, get a missing value.

    Raises:
        ValueError: a patient has images in several official splits.
    """
    has_lists = bool(rows["official"].notna().any())
    if has_lists:
        _refuse_overlap(rows)

    def split(patient: str, official: str | None) -> str | None:
        if has_lists and official is None:
            return None
        if official in SPLITS:
            return official
        if not has_lists and draw_split(patient, "test", seed) < test_fraction:
            return "test"
        return "validation" if draw_split(patient, "validation", seed) < validation_fraction else "train"

    official = rows["official"].astype(object).where(rows["official"].notna(), None)
    chosen = [split(patient, listed) for patient, listed in zip(rows["patient_id"], official, strict=True)]
    return pd.Series(chosen, index=rows.index, dtype="string")


def find_leaks(rows: pd.DataFrame) -> pd.Series[bool]:
    """Rows of patients who are also in an official split that is held out more, by `patient_id` and `official`."""
    rank = rows["official"].map({name: rank for rank, name in enumerate(HELD_OUT_LEAST)})
    return rank.lt(rank.groupby(rows["patient_id"]).transform("max")).fillna(False).astype(bool)


def _refuse_overlap(rows: pd.DataFrame) -> None:
    leaking = sorted(rows["patient_id"][find_leaks(rows)].unique(), key=lambda patient: (len(patient), patient))
    if leaking:
        more = ", ..." if len(leaking) > NAMED else ""
        raise ValueError(
            f"a patient must be in one split only, {len(leaking)} are in several of the data set's own: "
            f"{', '.join(leaking[:NAMED])}{more}; repair the splits, or set data_policy to patient_overlap=drop, which "
            "keeps of such a patient the images in the split held out most"
        )
