"""Exact duplicates: one of several identical images is kept; official test splits stay complete."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.data.quality import row_checks

ELSEWHERE = "byte-identical to an image in a held-out split"
EARLIER = "byte-identical to an earlier image"
SPLITS = ("train", "validation", "test")


def rows_of(images: list[tuple[str, str]], official: bool = False) -> pd.DataFrame:
    """Rows from (content, split)."""
    rows = pd.DataFrame(images, columns=["md5", "split"], dtype="string")
    return rows.assign(official=rows["split"] if official else pd.array([None] * len(rows), dtype="string"))


def duplicates(rows: pd.DataFrame) -> dict[str, list[int]]:
    return {reason: list(rows.index[repeated]) for reason, repeated in row_checks.find_exact_duplicates(rows).items()}


def test_find_exact_duplicates_keeps_first_in_split() -> None:
    rows = rows_of([("a", "train"), ("b", "train"), ("a", "train"), ("b", "train"), ("a", "train")])
    assert duplicates(rows) == {ELSEWHERE: [], EARLIER: [2, 3, 4]}


@pytest.mark.parametrize(
    ("splits", "kept"),
    [
        (("train", "validation", "test"), 2),
        (("train", "validation"), 1),
        (("validation", "train"), 0),
        (("train", "test"), 1),
        (("test", "validation"), 0),
        (("validation", "test"), 1),
    ],
)
def test_find_exact_duplicates_keeps_most_held_out(splits: tuple[str, ...], kept: int) -> None:
    rows = rows_of([("a", split) for split in splits])
    assert duplicates(rows) == {ELSEWHERE: [row for row in range(len(splits)) if row != kept], EARLIER: []}


def test_find_exact_duplicates_official_test_split_is_kept() -> None:
    images = [("a", "train"), ("a", "test"), ("a", "test"), ("b", "validation"), ("b", "validation")]
    assert duplicates(rows_of(images)) == {ELSEWHERE: [0], EARLIER: [2, 4]}
    assert row_checks.duplicate_notes(rows_of(images)) == ()
    assert duplicates(rows_of(images, official=True)) == {ELSEWHERE: [0], EARLIER: [4]}
    assert row_checks.duplicate_notes(rows_of(images, official=True)) == (
        "1 images of the official test split are byte-identical to others in it and stay",
    )


images = st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from(SPLITS)), max_size=30)


@settings(deadline=None)
@given(images=images, official=st.booleans())
def test_find_exact_duplicates_leaves_each_content_in_one_split(images: list[tuple[str, str]], official: bool) -> None:
    rows = rows_of(images, official)
    left = rows[~pd.DataFrame(row_checks.find_exact_duplicates(rows)).any(axis="columns")]
    assert set(left["md5"]) == set(rows["md5"])
    assert all(left.groupby("md5")["split"].nunique() == 1)
    tests = rows["split"] == "test"
    if official:
        assert sum(left["split"] == "test") == sum(tests)
    else:
        assert left["md5"].is_unique
    assert set(left["md5"][left["split"] == "test"]) == set(rows["md5"][tests])


@settings(deadline=None)
@given(images=images, official=st.booleans())
def test_find_exact_duplicates_gives_one_reason_per_row(images: list[tuple[str, str]], official: bool) -> None:
    elsewhere, earlier = row_checks.find_exact_duplicates(rows_of(images, official)).values()
    assert not (elsewhere & earlier).any()
