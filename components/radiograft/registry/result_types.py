"""The parts of metrics.json: metrics with intervals, analyses of the published strategy, and counts of the data."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Estimate(TypedDict):
    """A value with its 95% confidence interval. Each number is None if it cannot be estimated."""

    value: float | None
    low: float | None
    high: float | None


class LabelMetrics(TypedDict):
    """Metrics of one label on one split. Counts cover the images with known ground truth.

    `estimable` is False if the split has too few patients with or without the label, or if there is no threshold.
    AUROC and average precision are then None. The other metrics need a threshold and a non-zero denominator.
    `auroc` has a bootstrap interval over patients, `auroc_delong` DeLong's interval (see `delong.auroc_interval`).
    `ppv` and `npv` are the fractions of positive and of negative predictions that are correct. `f1` is the harmonic
    mean of `ppv` and `sensitivity`. These three are None if the split lacks a class. `brier` is the mean squared
    difference between score and truth, 0 to 1; lower is better.
    `majority_accuracy` is the accuracy of always predicting the majority class.
    `confusion` is [[true negatives, false positives], [false negatives, true positives]].
    """

    n_images: int
    n_patients: int
    positives: int
    positive_patients: int
    negative_patients: int
    auroc: Estimate
    auroc_delong: Estimate
    average_precision: Estimate
    accuracy: Estimate
    majority_accuracy: float | None
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    brier: Estimate
    threshold: float | None
    confusion: list[list[int]] | None
    estimable: bool


class MeanMetrics(TypedDict):
    """Unweighted means over the estimable labels, listed in `labels`. The means of `accuracy` and `majority_accuracy`
    are over all labels with a threshold."""

    auroc: Estimate
    average_precision: Estimate
    accuracy: Estimate
    majority_accuracy: float | None
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    brier: Estimate
    labels: list[str]


class SplitMetrics(TypedDict):
    """Metrics of all labels of one split."""

    n_images: int
    n_patients: int
    labels: dict[str, LabelMetrics]
    mean: MeanMetrics


class CurvePoint(TypedDict):
    """Linear probe of one layer. `auroc` is the validation mean over the labels that have both classes."""

    layer: str
    channels: int
    penalty: float
    auroc: Estimate


class Bin(TypedDict):
    """Images of similar score: their number, mean score, and share of positives."""

    n_images: int
    predicted: float
    observed: float


class Reliability(TypedDict):
    """`expected_error` is the mean distance of the bins' score and share of positives, weighted by their images; it
    has no interval, because resampling adds to a mean of distances. `brier` is the mean squared distance of score and
    truth."""

    expected_error: float
    brier: float
    curve: list[Bin]


class LabelCalibration(TypedDict):
    """`uninformed_brier` is that of giving every image the share of positives."""

    temperature: float
    uninformed_brier: float
    before: Reliability
    after: Reliability


class Calibration(TypedDict):
    """Measured on test with temperatures from validation; the means are None where no label is estimable."""

    labels: dict[str, LabelCalibration]
    expected_error: float | None
    scaled_expected_error: float | None


class Contrast(TypedDict):
    """A figure in the group, and there minus that of all other images whose group is known."""

    group: Estimate
    difference: Estimate


class Subgroup(TypedDict):
    """One group of a variable (`groups`).

    `mean` holds AUROC, sensitivity and specificity as unweighted means over `compared`, the labels that are estimable
    in the group and in the rest; it is empty where there is none. `labels` has every label's figures in the group.
    """

    variable: str
    group: str
    n_images: int
    n_patients: int
    compared: list[str]
    mean: dict[str, Contrast]
    labels: dict[str, LabelMetrics]


class Shortcut(TypedDict):
    """A variable that alone predicts a label with `auroc`; `lead` is the model's AUROC minus that, on the same
    images. Intervals are DeLong's by patients."""

    variable: str
    label: str
    auroc: Estimate
    model: Estimate
    lead: Estimate
    warning: bool


class AurocComparison(TypedDict):
    """AUROCs of one label, or of the mean of several. `champion` and `difference`, challenger minus champion, are None
    where there is no champion."""

    challenger: Estimate
    champion: Estimate | None
    difference: Estimate | None


class GateDecision(TypedDict):
    """The gate's decision, with its reasons as plain sentences without a full stop.

    `champion` is the version in production, None if there is none. `labels` holds every label that could be judged,
    whether it counts (it has a floor) or not, and `delong` its difference by DeLong's method where there are two
    models; `mean` is over the judged labels that count, None if there is none.
    """

    promote: bool
    reasons: list[str]
    champion: int | None
    margin: float
    floors: dict[str, float]
    labels: dict[str, AurocComparison]
    delong: dict[str, Estimate]
    mean: AurocComparison | None


class Score(TypedDict):
    """Score at one overlap: the fraction of annotated boxes that were found, and the false positives per image."""

    overlap: float
    accuracy: Estimate
    false_positives: Estimate


class LabelLocalization(TypedDict):
    """Scores of one label: map -> measure (`iou`, `iobb`) -> one score per overlap."""

    n_images: int
    n_patients: int
    n_boxes: int
    maps: dict[str, dict[str, list[Score]]]


class Localization(TypedDict):
    """Scores of all labels that have boxes in the split."""

    split: str
    heat_thresholds: list[float]
    overlaps: list[float]
    labels: dict[str, LabelLocalization]


class Side(TypedDict):
    """Number of images and patients that a test used from one of the two samples."""

    pictures: int
    patients: int


class DriftTest(TypedDict):
    """Result of one test.

    `value` is the distance between the samples, `chance` the 95th percentile of the distance when the same patients
    are assigned to the samples at random, and `p` the p-value. All three are None if there are too few patients or the
    variable is not recorded.
    """

    measure: str
    value: float | None
    chance: float | None
    p: float | None
    reference: Side
    new: Side
    verdict: str


class DriftReport(TypedDict):
    """All tests by name (see NAMES), with summaries of both samples.

    `labels` holds the test of each label's scores, with uncorrected p-values. The test `score` is that of `label`, the
    label with the smallest p-value, which is multiplied by the number of labels (Bonferroni). `shares` holds each
    category's fraction of the images in the reference and in the new sample, `ages` the median ages in years, and
    `shifted` the names of the significant tests.
    """

    level: float
    tests: dict[str, DriftTest]
    labels: dict[str, DriftTest]
    label: str
    shares: dict[str, dict[str, tuple[float, float]]]
    ages: tuple[float | None, float | None]
    shifted: list[str]


class RandomBaseline(TypedDict):
    """AUROC of a linear classifier on the features of a pretrained and of a randomly initialized backbone."""

    pretrained: Estimate
    random: Estimate
    n_images: int
    n_patients: int
    split: str


class Trial(TypedDict):
    """One training of a search.

    Attributes:
        overrides: the settings in which it differs from the other trials, such as `model_cut_off`.
        trainable_weights: number of trained weights (scalars).
        epochs: number of epochs that were run.
        best_epoch: the epoch that was kept; 0 is the state before training.
        metrics: validation metrics of the weights that were kept; their names begin with `val_`.
    """

    overrides: dict[str, bool | int | float | str]
    trainable_weights: int
    epochs: int
    best_epoch: int
    metrics: dict[str, float]


class SplitSummary(TypedDict):
    """Counts of one split: `pictures` is the number of images, `positives` counts the images with each label."""

    pictures: int
    patients: int
    positives: dict[str, int]


class ExclusionGroup(TypedDict):
    """Images that were left out for one reason, with a few examples."""

    reason: str
    count: int
    examples: list[str]


class DataSummary(TypedDict):
    """The data of a run: `splits` after and `catalogued` before unreadable images and defects were left out."""

    splits: dict[str, SplitSummary]
    excluded: list[ExclusionGroup]
    catalogued: NotRequired[dict[str, SplitSummary]]
    converted: NotRequired[dict[str, int]]
    notes: NotRequired[list[str]]
    labels: NotRequired[list[str]]
    image_size: NotRequired[int]
    source: NotRequired[str]
    fingerprint: NotRequired[str]


class DataLineage(TypedDict):
    """Where the data came from, their fingerprint, and every setting of the run."""

    source: str
    fingerprint: str
    settings: dict[str, bool | int | float | str]
