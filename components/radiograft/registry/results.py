"""The schema of metrics.json, the results of an evaluation, which every published version contains.

All code that reads or writes metrics.json uses this module. Keys keep their names, because registries contain them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from radiograft.registry.analysis_types import (
    Calibration,
    DriftReport,
    FusionComparison,
    Localization,
    MaskShare,
    OutOfDistribution,
    Shortcut,
    Subgroup,
    ViewComparison,
)
from radiograft.registry.result_types import Estimate, GateDecision, SplitMetrics, TargetSummary
from radiograft.registry.training_types import (
    BackboneComparison,
    BranchComparison,
    CurvePoint,
    RandomBaseline,
    ReducedCurvePoint,
    Trial,
)
from radiograft.utils import json_io

FILE = "metrics.json"
SCHEMA_VERSION = 2  # version 1 had no `schema_version`, and its search trials held `cut_off` instead of `overrides`


class SplitSummary(TypedDict):
    """Counts of one split: `pictures` is the number of images, `positives` counts the images with each label.

    If the targets are numbers, `targets` summarizes them, and `positives` is empty.
    """

    pictures: int
    patients: int
    positives: dict[str, int]
    targets: NotRequired[dict[str, TargetSummary]]


class ExclusionGroup(TypedDict):
    """Images that were excluded for one reason, with a few examples."""

    reason: str
    count: int
    examples: list[str]


class ReaderAgreement(TypedDict):
    """How far the readers of the same images agree about one label.

    `images` counts the images with two or more known readings, `disagreements` those whose readings differ, `share` is
    their ratio. `kappa` is 1 for perfect agreement and 0 for chance; None if all readings are equal. `statistic` is
    `Cohen's kappa` for two readers and `Fleiss' kappa` for more.
    """

    label: str
    images: int
    disagreements: int
    share: float
    kappa: float | None
    statistic: str


class ColorCounts(TypedDict):
    """Images that are used and those in color among them; the same of the sample that decided, 0 without a sample."""

    images: int
    in_color: int
    sampled: int
    sampled_in_color: int


class DataSummary(TypedDict):
    """The data of a run.

    `splits` counts the images that are used, `catalogued` also those that are unreadable or defective. `readers` is
    empty if no image has several readings. `network_size` is there if the images are stored larger than networks read
    them.
    """

    splits: dict[str, SplitSummary]
    excluded: list[ExclusionGroup]
    catalogued: NotRequired[dict[str, SplitSummary]]
    converted: NotRequired[dict[str, int]]
    notes: NotRequired[list[str]]
    readers: NotRequired[list[ReaderAgreement]]
    labels: NotRequired[list[str]]
    task: NotRequired[str]
    task_reason: NotRequired[str]
    image_size: NotRequired[int]
    network_size: NotRequired[int]
    image_resize: NotRequired[str]
    gray_range: NotRequired[list[int] | None]
    image_channels: NotRequired[int]
    image_enlarged_by: NotRequired[dict[str, Any]]
    color: NotRequired[ColorCounts]
    files: NotRequired[dict[str, Any] | None]
    source: NotRequired[str]
    fingerprint: NotRequired[str]


class DataLineage(TypedDict):
    """Source and fingerprint of the data, all settings of the run, and the network that enlarged the images."""

    source: str
    fingerprint: str
    settings: dict[str, bool | int | float | str]
    enlarged_by: NotRequired[dict[str, Any]]


class ConfounderGroup(TypedDict):
    """Training images of one group, such as view AP: how many there are, and how many have the label.

    `odds_ratio` compares the odds of the label in the group with those in all other groups; each patient counts once.
    """

    group: str
    n_images: int
    n_patients: int
    positives: int
    odds_ratio: Estimate


class Confounder(TypedDict):
    """Association of a variable with a label among the training images.

    `cramers_v` is 0 for independence and 1 if the variable determines the label. `p` is the p-value of the chi-square
    test, `adjusted_p` the same after Holm's correction for all pairs of variable and label. In both each patient counts
    once. `warning` marks an association that is significant and strong (see `confounders`).
    """

    variable: str
    label: str
    groups: list[ConfounderGroup]
    n_images: int
    n_patients: int
    cramers_v: float
    p: float
    adjusted_p: float
    warning: bool


class Analyses(TypedDict):
    """Analyses of the published strategy.

    `judged_on` is the split of the subgroup and shortcut analyses: test, or validation if no label is estimable on
    test. `confounders` is about training; versions of older packages lack it. `out_of_distribution` is there if the
    version has the flag, `views` if the network reads a lateral image, `patient_data` if it reads patient data, and
    `averaged_epochs`, by strategy, if the mean weights of several epochs were kept, and `distilled_epochs` likewise if
    their mean predictions were distilled.
    """

    calibration: Calibration
    judged_on: str
    subgroups: list[Subgroup]
    shortcuts: list[Shortcut]
    confounders: NotRequired[list[Confounder]]
    out_of_distribution: NotRequired[OutOfDistribution]
    views: NotRequired[ViewComparison]
    patient_data: NotRequired[FusionComparison]
    averaged_epochs: NotRequired[dict[str, list[int]]]
    distilled_epochs: NotRequired[dict[str, list[int]]]


class PredictionResults(Analyses):
    """The part of metrics.json that follows from the predictions.

    `metrics` and `thresholds` are by strategy, then by split or label. `kept_epochs` is by strategy; 0 is the state
    before training. `random_baseline` is None if it was not requested, and `backbone_comparison` if the run trained one
    backbone. `reduced_curve` is empty if the run compared no reductions. Versions of older packages lack both.
    """

    published: str
    operating_point: str
    thresholds: dict[str, dict[str, float]]
    metrics: dict[str, dict[str, SplitMetrics]]
    cut_off_curve: list[CurvePoint]
    reduced_curve: NotRequired[list[ReducedCurvePoint]]
    cut_off_search: list[Trial]
    backbone_comparison: NotRequired[BackboneComparison | None]
    random_baseline: RandomBaseline | None
    kept_epochs: dict[str, int]
    data: DataSummary


class EvaluationResults(PredictionResults):
    """The content of metrics.json.

    `localisation` is None if no test image has annotated boxes, and `mask_share` without `evaluate_masks`. Versions of
    older packages lack `mask_share`. `branches` is there if the network is attention-guided.
    """

    schema_version: int
    lineage: DataLineage
    gate: GateDecision
    localisation: Localization | None  # stored text
    mask_share: NotRequired[MaskShare | None]
    drift: DriftReport
    branches: NotRequired[BranchComparison]
    warnings: list[str]


REQUIRED = {  # keys and the JSON types of their values
    "published": str,
    "thresholds": dict,
    "metrics": dict,
    "kept_epochs": dict,
    "data": dict,
    "lineage": dict,
    "gate": dict,
    "warnings": list,
    "judged_on": str,
}


def write_results(folder: Path, results: EvaluationResults) -> None:
    """Writes metrics.json to `folder`."""
    (folder / FILE).write_text(json.dumps(results, indent=2, allow_nan=False), encoding="utf-8")


def read_results(folder: Path) -> EvaluationResults:
    """Reads metrics.json from `folder`.

    Raises:
        FileNotFoundError: the file is missing.
        ValueError: the file is malformed (see `parse_results`).
    """
    path = folder / FILE
    return parse_results(json_io.parse_json_object(path.read_bytes(), str(path)), str(path))


def parse_results(values: Mapping[str, Any], name: str = FILE) -> EvaluationResults:
    """Converts the content of metrics.json to the current schema version.

    Args:
        values: the JSON object.
        name: file name for error messages.

    Raises:
        ValueError: a key is missing or its value has another type, or the schema is newer than this package.
    """
    version = values.get("schema_version", 1)
    if version not in (1, SCHEMA_VERSION):
        raise ValueError(f"{name} must have schema_version 1 or {SCHEMA_VERSION}, got {version!r}")
    for key, kind in REQUIRED.items():
        if not isinstance(values.get(key), kind):
            raise ValueError(f"{name} must have `{key}` of type {kind.__name__}, got {values.get(key)!r:.80}")
    results: Any = {**values, "schema_version": SCHEMA_VERSION}
    if version == 1:
        try:
            results["cut_off_search"] = [_trial_of_version_1(trial) for trial in values.get("cut_off_search", ())]
        except (LookupError, TypeError) as error:
            raise ValueError(f"{name} must list trials in `cut_off_search`, got a malformed one: {error!r}") from error
    return results  # type: ignore[no-any-return]


def _trial_of_version_1(row: Mapping[str, Any]) -> Trial:
    return Trial(
        overrides={"model_cut_off": row["cut_off"]},
        trainable_weights=row["trainable_weights"],
        epochs=row["epochs"],
        best_epoch=row["best_epoch"],
        metrics={"val_auroc": row["val_auroc"], "val_loss": row["val_loss"]},
    )
