"""Names that data sets give to their own splits."""

from __future__ import annotations

import pandas as pd
import pytest

from radiograft.data import splits


def named(*names: str) -> list[object]:
    found = splits.official_splits(pd.Series(names, dtype="string"), "a table")
    return [None if pd.isna(name) else name for name in found]


def test_common_names_of_splits_are_known() -> None:
    assert named("Train", "val", "valid", "TEST", "testing", "") == [
        "train", "validation", "validation", "test", "test", None,
    ]  # fmt: skip


def test_without_validation_it_is_drawn_from_train() -> None:
    assert named("train", "test", "training") == ["train_val", "test", "train_val"]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"a split in a table must be one of .*, got 'tset'; did you mean 'test'"):
        named("train", "tset")
