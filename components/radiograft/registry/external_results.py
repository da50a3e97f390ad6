"""The schema of an external evaluation: a published version on another archive than the one it was trained on."""

from __future__ import annotations

from typing import TypedDict

from radiograft.registry.analysis_types import Calibration, Shortcut, Subgroup
from radiograft.registry.result_types import Estimate, SplitMetrics
from radiograft.registry.results import Confounder, ExclusionGroup

SCHEMA_VERSION = 1


class AurocLoss(TypedDict):
    """AUROC of one label, or a mean over labels, on the version's test split and on the external set.

    `loss` is internal minus external. Its interval resamples the patients of the two sets independently.
    """

    internal: Estimate
    external: Estimate
    loss: Estimate


class Comparison(TypedDict):
    """Internal and external AUROC of the labels that are estimable on both; `mean` is None if there are none."""

    labels: dict[str, AurocLoss]
    mean: AurocLoss | None


class CommonLabels(TypedDict):
    """Labels of version and archive.

    Attributes:
        common: the evaluated labels, as the version names them.
        version_only: labels of the version that the archive lacks.
        archive_only: findings of the archive that the version does not predict; long names are left out.
        renamed: finding of the archive -> label of the version.
    """

    common: list[str]
    version_only: list[str]
    archive_only: list[str]
    renamed: dict[str, str]


class Overlap(TypedDict):
    """Images that were left out because the version has seen them, or other images of these patients, in training."""

    seen_images: int
    other_images_of_seen_patients: int


class Robustness(TypedDict):
    """AUROC on corrupted images, as means over `labels`.

    `mean` is the mean over the corruptions by severity. In both, the first entry is the AUROC without corruption.
    """

    corruption_set: str
    labels: list[str]
    severities: list[int]
    mean: list[Estimate]
    corruptions: dict[str, list[Estimate]]


class ExternalResults(TypedDict):
    """Content of metrics.json of an external evaluation. Thresholds and temperatures are those of the version.

    `internal` holds the metrics of the version's test split for the common labels.
    """

    schema_version: int
    model: str
    version: int
    name: str
    created: str
    source: str
    fingerprint: str
    settings: dict[str, bool | int | float | str]
    labels: CommonLabels
    overlap: Overlap
    thresholds: dict[str, float]
    metrics: SplitMetrics
    internal: SplitMetrics
    comparison: Comparison
    calibration: Calibration
    subgroups: list[Subgroup]
    shortcuts: list[Shortcut]
    confounders: list[Confounder]
    robustness: Robustness | None
    excluded: list[ExclusionGroup]
    warnings: list[str]
