"""Decides whether labels are independent, or exclusive classes of which every image has exactly one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from radiograft.config.base import AUTO
from radiograft.config.data import BINARY, FINDINGS, MULTICLASS, MULTILABEL, REGRESSION
from radiograft.data.sources.base import most_frequent_findings
from radiograft.utils.errors import SensitiveValueError
from radiograft.utils.quoting import format_names


class TaskChoice(NamedTuple):
    """A task, one of `radiograft.config.data.TASKS`, and why, as a clause."""

    task: str
    reason: str


def exclude_other_classes(truth: pd.DataFrame) -> pd.DataFrame:
    """Returns exclusive classes without partly unknown images.

    If an image has a class, it has no other. If it has none and one is unknown, all are unknown.

    Args:
        truth: one column per class: 1.0, 0.0 or NaN.

    Example:
        >>> exclude_other_classes(pd.DataFrame({"a": [1.0, 0.0], "b": [float("nan")] * 2})).to_numpy().tolist()
        [[1.0, 0.0], [nan, nan]]
    """
    has_class, is_open = truth.eq(1.0).any(axis="columns"), truth.isna().any(axis="columns")
    return truth.where(~is_open, truth.fillna(0.0).where(has_class))


def resolve_task(requested: str, truth: pd.DataFrame, findings: pd.DataFrame, *, named: bool = True) -> TaskChoice:
    """Returns the task that the setting `data_task` selects for these labels.

    `auto` selects `binary` for a single label, `multiclass` if every image has exactly one of the labels, and otherwise
    `multilabel`. The 14 findings of ChestX-ray14 are always `multilabel`, also if a small sample has no pair of them.

    Args:
        requested: the setting.
        truth: one column per label: 1.0, 0.0 or NaN. No image is unknown for all labels.
        findings: all findings of the same images, for messages.
        named: whether messages may name findings that were not requested.

    Raises:
        SensitiveValueError: the setting is `multiclass`, and an image has several classes or none.
    """
    if requested == REGRESSION:
        return TaskChoice(requested, f"data_task={requested}")
    several, none, unknown = _not_exclusive(truth)
    if requested == MULTICLASS and (several.any() or none.any()):
        raise _not_exclusive_error(truth[several], findings[none], named=named)
    if requested != AUTO:
        return TaskChoice(requested, f"data_task={requested}")
    if truth.shape[1] == 1:
        return TaskChoice(BINARY, f"{truth.columns[0]} is the only label")
    if set(truth.columns) == set(FINDINGS):
        return TaskChoice(MULTILABEL, "the findings of ChestX-ray14 occur together")
    counts = {"several of the labels": several, "none of the labels": none, "partly unknown labels": unknown}
    found = ", ".join(f"with {what}: {int(rows.sum())}" for what, rows in counts.items() if rows.any())
    if found:
        return TaskChoice(MULTILABEL, f"there are images {found}")
    return TaskChoice(MULTICLASS, f"every image has exactly one of the {truth.shape[1]} labels")


def _not_exclusive(truth: pd.DataFrame) -> tuple[pd.Series[bool], pd.Series[bool], pd.Series[bool]]:
    """Returns which images have several labels, which have none, and for which some labels are unknown."""
    counts, unknown = truth.eq(1.0).sum(axis="columns"), truth.isna().any(axis="columns")
    return counts > 1, counts.eq(0) & ~unknown, unknown


def _not_exclusive_error(several: pd.DataFrame, none: pd.DataFrame, *, named: bool) -> SensitiveValueError:
    """Returns the error for images with several classes, given their labels, and with none, given all findings."""
    constraint = "data_task=multiclass needs images with exactly one of the labels, got"
    pair = [f"{len(several)} with several ({_most_frequent_pair(several)})"] if len(several) else []
    add = ["add the classes of the others to data_labels"] if len(none) else []
    remedy = ", or ".join([*add, "set data_task=multilabel for independent labels"])
    found = most_frequent_findings(none) if named else ""
    counted = [f"{len(none)} with none"] if len(none) else []
    nameless = " and ".join([*pair, *counted])
    full = f"{nameless} ({found})" if found else nameless
    return SensitiveValueError(f"{constraint} {full}: {remedy}", f"{constraint} {nameless}: {remedy}")


def _most_frequent_pair(several: pd.DataFrame) -> str:
    """Returns the two labels that most images share, with the number of these images."""
    present = several.eq(1.0)
    shared = {pair: int(present[list(pair)].all(axis="columns").sum()) for pair in itertools.combinations(present, 2)}
    one, other = max(shared, key=lambda pair: shared[pair])
    return f"{one} and {other}: {shared[one, other]}"


def exclusive_pair_notes(task: str, labels: Sequence[str]) -> tuple[str, ...]:
    """Returns a note for two exclusive classes, which a single label describes as well."""
    if task != MULTICLASS or len(labels) != 2:
        return ()
    note = (
        f"{labels[0]} and {labels[1]} are exclusive: each image is assigned the class with the higher score; "
        f"data_labels={format_names(labels[1:])} trains one output with a threshold, which evaluate_operating_point "
        "chooses"
    )
    return (note,)
