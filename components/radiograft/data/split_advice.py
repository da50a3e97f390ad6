"""Says which change of the settings would make training and validation contain both classes, by trying it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from radiograft.config import Ingest
from radiograft.config.data import MULTILABEL
from radiograft.data import splits
from radiograft.data.catalog import check_classes, has_both_classes, label_class

MAX_ROWS = 100_000  # each trial hashes every patient
FRACTIONS = (0.125, 0.2, 0.3, 0.4, 0.5)
SEEDS = range(10)


def advise_splits(rows: pd.DataFrame, settings: Ingest, task: str = MULTILABEL) -> str:
    """Returns advice for data that `check_classes` rejects, or "" if there is none.

    Args:
        rows: catalog rows with `official`.
        settings: labels, fractions and seed.
        task: as in `check_classes`.
    """
    labels = settings.findings()
    if rows.empty:
        return ""
    single = [label for label in labels if not has_both_classes(label_class(rows, label))]
    if len(single) == len(labels):
        return _describe_single_class(rows, single)
    if len(rows) > MAX_ROWS:
        return ""
    changes = next((changes for changes in _changes(rows) if _works(rows, settings, changes, task)), {})
    return "set " + " and ".join(f"{name}={value}" for name, value in changes.items()) if changes else ""


def _describe_single_class(rows: pd.DataFrame, labels: Sequence[str]) -> str:
    counts = {label: int(label_class(rows, label).eq(1.0).sum()) for label in labels}
    text = ", ".join(f"{count} of {len(rows)} images have {label}" for label, count in counts.items())
    return f"{text}: a label needs images with and without it in the dataset"


def _changes(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yields changes of the settings that alter the splits, the smallest ones first."""
    tests = [] if rows["official"].notna().any() else FRACTIONS
    yield from ({"data_validation_fraction": fraction} for fraction in FRACTIONS)
    yield from ({"data_validation_fraction": max(FRACTIONS), "data_test_fraction": fraction} for fraction in tests)
    yield from ({"train_seed": seed} for seed in SEEDS)
    yield from ({"data_validation_fraction": 0.3, "train_seed": seed} for seed in SEEDS)


def _works(rows: pd.DataFrame, settings: Ingest, changes: Mapping[str, Any], task: str) -> bool:
    changed = dataclasses.replace(settings, **changes)
    split = splits.assign_splits(
        rows,
        validation_fraction=changed.data_validation_fraction,
        test_fraction=changed.data_test_fraction,
        seed=changed.train_seed,
    )
    try:
        check_classes(rows.assign(split=split), settings.findings(), task=task)
    except ValueError:
        return False
    return True
