"""Splits: patients stay whole, official splits are kept, and adding data moves no patient."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.data.splits import assign_splits, draw_split, is_drawn

patients = st.lists(st.integers(1, 400).map(str), min_size=1, max_size=60)
fractions = st.floats(0.01, 0.5)
seeds = st.integers(0, 2**32)


def rows_of(patient_ids: list[str], official: list[str | None] | None = None) -> pd.DataFrame:
    official = official or [None] * len(patient_ids)
    return pd.DataFrame({"patient_id": patient_ids, "official": official}, dtype="string")


def split(rows: pd.DataFrame, validation: float = 0.3, test: float = 0.2, seed: int = 0) -> list[str | None]:
    chosen = assign_splits(rows, validation_fraction=validation, test_fraction=test, seed=seed)
    return [None if pd.isna(name) else str(name) for name in chosen]


def split_of_patient(rows: pd.DataFrame, **values: float) -> dict[str, str | None]:
    return dict(zip(rows["patient_id"], split(rows, **values), strict=True))  # type: ignore[arg-type]


def test_draw_split_values_are_stable() -> None:
    """The first eight bytes of the SHA-256 of `0/test/1` as a fraction. A change would move all patients."""
    assert draw_split("1", "test", 0) == 0x635C3EB1B0441041 / 2**64
    assert draw_split("1", "validation", 0) == pytest.approx(0.8438612555953662, abs=1e-15)
    assert draw_split("2", "validation", 7) == pytest.approx(0.496109325835368, abs=1e-15)


@given(patient=st.text(max_size=12), purpose=st.sampled_from(["test", "validation"]), seed=seeds)
def test_draw_split_is_in_unit_interval(patient: str, purpose: str, seed: int) -> None:
    assert 0 <= draw_split(patient, purpose, seed) < 1


def test_assign_splits_official_lists_are_kept() -> None:
    patient_ids = [str(number) for number in range(1, 401)]
    official: list[str | None] = ["test" if number % 4 == 0 else "train_val" for number in range(1, 401)]
    chosen = split(rows_of(patient_ids, official), validation=0.25)
    assert all((name == "test") == (listed == "test") for name, listed in zip(chosen, official, strict=True))
    assert 55 <= chosen.count("validation") <= 95  # a quarter of 300 +- 2.5 standard deviations


def test_assign_splits_without_lists_draws_test_and_validation() -> None:
    chosen = split(rows_of([str(number) for number in range(2000)]), validation=0.3, test=0.2)
    assert 355 <= chosen.count("test") <= 445  # a fifth of 2000
    assert 429 <= chosen.count("validation") <= 531  # three tenths of the other 1600
    assert chosen.count("train") == 2000 - chosen.count("test") - chosen.count("validation")


@given(patient_ids=patients, validation=fractions, test=fractions, seed=seeds)
def test_assign_splits_keeps_patients_whole(patient_ids: list[str], validation: float, test: float, seed: int) -> None:
    rows = rows_of(patient_ids)
    chosen = pd.Series(split(rows, validation, test, seed))
    assert chosen.groupby(rows["patient_id"].to_numpy()).nunique().max() == 1


@given(before=patients, added=patients, validation=fractions, test=fractions, seed=seeds, listed=st.booleans())
def test_assign_splits_added_data_moves_no_patient(
    before: list[str], added: list[str], validation: float, test: float, seed: int, listed: bool
) -> None:
    def split_patients(patient_ids: list[str]) -> dict[str, str | None]:
        official: list[str | None] = ["test" if int(p) % 5 == 0 else "train_val" for p in patient_ids]
        rows = rows_of(patient_ids, official if listed else None)
        return split_of_patient(rows, validation=validation, test=test, seed=seed)

    assert split_patients(before).items() <= split_patients(added + before).items()


@settings(deadline=None)
@given(smaller=fractions, larger=fractions, seed=seeds)
def test_assign_splits_larger_fraction_only_adds_patients(smaller: float, larger: float, seed: int) -> None:
    rows = rows_of([str(number) for number in range(100)], ["train_val"] * 100)
    smaller, larger = sorted((smaller, larger))
    few, many = (
        {patient for patient, name in split_of_patient(rows, validation=part, seed=seed).items() if name != "train"}
        for part in (smaller, larger)
    )
    assert few <= many


def test_assign_splits_depends_on_seed() -> None:
    rows = rows_of([str(number) for number in range(200)])
    assert split(rows, seed=0) != split(rows, seed=1)


def test_assign_splits_official_validation_draws_nothing() -> None:
    official: list[str | None] = ["train", "validation", "test"] * 100
    rows = rows_of([str(number) for number in range(300)], official)
    assert split(rows, validation=0.5, test=0.5) == official


def test_assign_splits_unlisted_rows_get_missing_value() -> None:
    rows = rows_of(["1", "2", "2", "3"], ["test", "train_val", None, None])
    chosen = split(rows, validation=0.01)
    assert (chosen[0], chosen[2], chosen[3]) == ("test", None, None)
    assert chosen[1] == "train"


def test_assign_splits_keeps_index() -> None:
    rows = rows_of(["1", "2", "3"], ["train_val", "test", "train_val"]).set_index(pd.Index([7, 5, 9]))
    assert list(assign_splits(rows, validation_fraction=0.01, test_fraction=0.2, seed=0).index) == [7, 5, 9]


def test_assign_splits_patient_overlap_raises() -> None:
    rows = rows_of(["12", "9", "12", "9", "4"], ["train_val", "test", "test", "train_val", "test"])
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        split(rows)
    assert str(error.value) == (
        "a patient must be in one split only, got 2 in several of the dataset's own splits: 9, 12; repair the splits, "
        "or set data_policy to patient_overlap=drop, which keeps such a patient in one split: test before validation "
        "before training"
    )


@given(patient_ids=patients, test=fractions, seed=seeds)
def test_is_drawn_recognizes_drawn_splits(patient_ids: list[str], test: float, seed: int) -> None:
    rows = rows_of(patient_ids)
    drawn = rows.assign(split=split(rows, test=test, seed=seed))
    assert is_drawn(drawn, test, seed)
    moved = drawn.assign(split=drawn["split"].map({"test": "train", "train": "test", "validation": "test"}))
    assert not is_drawn(moved, test, seed)
