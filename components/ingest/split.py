"""Which patients train, validate and test. A patient is drawn by hash, so that one never moves when data are added."""

from __future__ import annotations

import hashlib

import pandas as pd

from components.records import SPLITS


def draw(patient_id: str, purpose: str, seed: int) -> float:
    """A number in [0, 1) that depends on patient, purpose and seed alone."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def assign(rows: pd.DataFrame, *, validation_fraction: float, test_fraction: float, seed: int) -> pd.Series[str]:
    """The split of each row (`train`, `validation`, `test`) from its `patient_id` and `official` list.

    Official splits are honoured; of the patients in `train_val` the fraction asked for validates. Without any the test
    patients are drawn too. Rows in no official split, where there are some, get a missing value.

    Raises:
        ValueError: a patient has pictures in both official lists.
    """
    has_lists = bool(rows["official"].notna().any())
    if has_lists:
        _refuse_overlap(rows)

    def split(patient: str, official: str | None) -> str | None:
        if has_lists and official is None:
            return None
        if official in SPLITS:
            return official
        if not has_lists and draw(patient, "test", seed) < test_fraction:
            return "test"
        return "validation" if draw(patient, "validation", seed) < validation_fraction else "train"

    official = rows["official"].astype(object).where(rows["official"].notna(), None)
    chosen = [split(patient, listed) for patient, listed in zip(rows["patient_id"], official, strict=True)]
    return pd.Series(chosen, index=rows.index, dtype="string")


def _refuse_overlap(rows: pd.DataFrame) -> None:
    lists_of_patient = rows.groupby("patient_id")["official"].nunique()
    leaking = sorted(lists_of_patient.index[lists_of_patient > 1])
    if leaking:
        raise ValueError(
            f"a patient must be in one split only, {len(leaking)} are in both official lists: "
            f"{', '.join(leaking[:30])}; repair the lists"
        )
