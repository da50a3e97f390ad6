"""Split names used by datasets."""

from __future__ import annotations

import pandas as pd
import pytest

from radiograft.data import splits


def normalize(*names: str) -> list[object]:
    official = splits.official_splits(pd.Series(names, dtype="string"), "a table")
    return [None if pd.isna(name) else name for name in official]


def test_official_splits_common_names_are_normalized() -> None:
    assert normalize("Train", "val", "valid", "TEST", "testing", "") == [
        "train", "validation", "validation", "test", "test", None,
    ]  # fmt: skip


def test_official_splits_without_validation_returns_train_val() -> None:
    assert normalize("train", "test", "training") == ["train_val", "test", "train_val"]


def test_official_splits_unknown_name_raises_with_suggestion() -> None:
    with pytest.raises(ValueError, match=r"a split in a table must be one of .*, got 'tset'; did you mean 'test'"):
        normalize("train", "tset")
