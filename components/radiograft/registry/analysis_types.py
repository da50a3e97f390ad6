"""Types of the analyses in metrics.json: calibration, subgroups, shortcuts, localization and drift."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from radiograft.registry.result_types import Estimate, LabelMetrics


class Bin(TypedDict):
    """Images with similar scores: their number, mean score, and fraction of positives."""

    n_images: int
    predicted: float
    observed: float


class Reliability(TypedDict):
    """Reliability curve with its summary.

    `expected_error` is the mean absolute difference between mean score and fraction of positives over the bins,
    weighted by their number of images. It has no interval, because resampling biases it upward. `brier` is the mean
    squared difference between score and truth.
    """

    expected_error: float
    brier: float
    curve: list[Bin]


class LabelCalibration(TypedDict):
    """Calibration of one label, before and after scaling.

    `uninformed_brier` is the Brier score of predicting the prevalence for every image.
    """

    temperature: float
    uninformed_brier: float
    before: Reliability
    after: Reliability


class ClassReliability(TypedDict):
    """Reliability of the scores of exclusive classes.

    `curve` and `expected_error` compare the highest score with the accuracy of the class that it predicts, as in
    `Reliability`. `brier`, 0 to 2, and `log_loss`, in nats, are of all scores of an image (see `ClassMetrics`).
    """

    expected_error: float
    brier: float
    log_loss: float
    curve: list[Bin]


class ClassCalibration(TypedDict):
    """Calibration of exclusive classes, before and after all logits were divided by one temperature.

    `uninformed_brier` and `uninformed_log_loss` are those of predicting the shares of the classes for every image.
    """

    temperature: float
    n_images: int
    n_patients: int
    uninformed_brier: float
    uninformed_log_loss: float
    before: ClassReliability
    after: ClassReliability


class Calibration(TypedDict):
    """Calibration on test with temperatures from validation. The means are None if no label is estimable.

    `classes` is there for exclusive classes; all labels then have its temperature.
    """

    labels: dict[str, LabelCalibration]
    expected_error: float | None
    scaled_expected_error: float | None
    classes: NotRequired[ClassCalibration]


class Contrast(TypedDict):
    """A metric of the group, and its difference from all other images whose group is known."""

    group: Estimate
    difference: Estimate


class GroupAccuracy(TypedDict):
    """Accuracy of exclusive classes in a group, and that of always predicting the majority class of training."""

    accuracy: Contrast
    majority_accuracy: Estimate


class Subgroup(TypedDict):
    """Metrics of one group of a variable.

    `mean` holds AUROC, sensitivity and specificity as unweighted means over `compared`, the labels that are estimable
    in the group and in the rest. It is empty if there are none. `labels` holds the metrics of every label in the group.
    `classes` is there for exclusive classes if both the group and the rest have enough patients.
    """

    variable: str
    group: str
    n_images: int
    n_patients: int
    compared: list[str]
    mean: dict[str, Contrast]
    labels: dict[str, LabelMetrics]
    classes: NotRequired[GroupAccuracy]


class Shortcut(TypedDict):
    """AUROC of a variable that alone predicts a label, and AUROC of the model on the same images.

    `lead` is the AUROC of the model minus that of the variable. Intervals are DeLong's, with clustered patients.
    `warning` marks a variable that predicts nearly as well as the model.
    """

    variable: str
    label: str
    auroc: Estimate
    model: Estimate
    lead: Estimate
    warning: bool


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


class FlaggedSplit(TypedDict):
    """Images of a split whose features are out of distribution; `rate` is their fraction, resampled by patient."""

    n_images: int
    n_patients: int
    flagged: int
    rate: Estimate


class OutOfDistribution(TypedDict):
    """The out-of-distribution flag on validation, where its threshold was chosen, and on test: false alarms.

    `threshold` is the distance at `percentile` of the validation images.
    """

    percentile: float
    threshold: float
    splits: dict[str, FlaggedSplit]


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


class FusionAurocs(TypedDict):
    """AUROC by model on test, and gains of one model over another with the intervals of a paired bootstrap."""

    aurocs: dict[str, Estimate]
    gains: list[FusionGain]


class FusionGain(TypedDict):
    """AUROC of `model` minus that of `baseline`."""

    model: str
    baseline: str
    difference: Estimate


class LabelFusion(FusionAurocs):
    """The comparison for one label."""

    label: str


class KnownCovariate(TypedDict):
    """A column of patient data and the share of test images for which it is known."""

    name: str
    known: float


class FusionComparison(TypedDict):
    """Patient data alone, image alone, and both. `mean` is over the labels; None if no label is estimable."""

    covariates: list[KnownCovariate]
    labels: list[LabelFusion]
    mean: FusionAurocs | None
    n_images: int
    n_patients: int
