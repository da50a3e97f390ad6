"""The parts of metrics.json: metrics with intervals, analyses of the published strategy, search trials and drift."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Estimate(TypedDict):
    """A value with its 95% confidence interval. Each number is None if it cannot be estimated.

    `method` is there if the interval is not the one that the field describes: `Clopper-Pearson`, `Garwood` or
    `Newcombe` where resampling and DeLong's variance give no width (see `exact_intervals`), `identical` for the
    difference of two models with the same ranking, which is 0 without a sampling error.
    """

    value: float | None
    low: float | None
    high: float | None
    method: NotRequired[str]


class Metrics(TypedDict):
    """Metrics of one label, or their means over labels.

    `ppv` and `npv` are the fractions of positive and of negative predictions that are correct. `f1` is the harmonic
    mean of `ppv` and `sensitivity`. `brier` is the mean squared difference between score and truth, 0 to 1; lower is
    better. `majority_accuracy` is the accuracy of always predicting the majority class.
    """

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


class LabelMetrics(Metrics):
    """Metrics of one label on one split. Counts cover the images with known ground truth.

    `estimable` is False if the split has too few patients with or without the label, or if nothing decides: neither
    a threshold nor, with exclusive classes, the highest score. AUROC and average precision are then None. The other
    metrics need a decision and a non-zero denominator. `threshold` is None for exclusive classes.
    `auroc` has a bootstrap interval over patients, `auroc_delong` DeLong's interval (see `delong.auroc_interval`).
    `ppv`, `npv` and `f1` are None if the split lacks a class.
    `confusion` is [[true negatives, false positives], [false negatives, true positives]].
    """

    n_images: int
    n_patients: int
    positives: int
    positive_patients: int
    negative_patients: int
    auroc_delong: Estimate
    threshold: float | None
    confusion: list[list[int]] | None
    estimable: bool


class MeanMetrics(Metrics):
    """Unweighted means over the estimable labels, listed in `labels`. The means of `accuracy` and `majority_accuracy`
    are over all labels with a threshold."""

    labels: list[str]


class ClassMetrics(TypedDict):
    """Metrics of exclusive classes on one split, for the decision for the class with the highest score.

    Counts cover the images of known class. `majority_class` is the most frequent class of training, and
    `majority_accuracy` the accuracy of always predicting it. `balanced_accuracy` is the mean sensitivity of the classes
    that the split has. `kappa` is Cohen's kappa with quadratic weights, None unless the classes are ordered. `brier` is
    the squared distance between scores and one-hot truth, 0 to 2; `log_loss` is the cross-entropy in nats. Lower is
    better for both. `confusion[i][j]` is the number of images of class i that are predicted as class j, `shares` the
    same divided by the images of class i. The macro AUROC is `mean.auroc` of the split.
    """

    names: list[str]
    n_images: int
    n_patients: int
    majority_class: str
    majority_accuracy: Estimate
    accuracy: Estimate
    balanced_accuracy: Estimate
    kappa: Estimate | None
    brier: Estimate
    log_loss: Estimate
    confusion: list[list[int]]
    shares: list[list[Estimate]]


class SplitMetrics(TypedDict):
    """Metrics of all labels of one split. `classes` is there if the labels are exclusive classes; their metrics in
    `labels` are then of one class against the rest."""

    n_images: int
    n_patients: int
    labels: dict[str, LabelMetrics]
    mean: MeanMetrics
    classes: NotRequired[ClassMetrics]


class CurvePoint(TypedDict):
    """Linear probe of one layer. `auroc` is the validation mean over the labels that are estimable there."""

    layer: str
    channels: int
    penalty: float
    auroc: Estimate


class ReducedCurvePoint(TypedDict):
    """Linear probe of one layer after a dimensionality reduction, `pca`, `pls` or `lda`; `auroc` as in `CurvePoint`."""

    layer: str
    method: str
    components: int
    penalty: float
    auroc: Estimate


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


class AurocComparison(TypedDict):
    """AUROCs of one label, or means over several.

    `difference` is challenger minus champion. It and `champion` are None if there is no champion.
    """

    challenger: Estimate
    champion: Estimate | None
    difference: Estimate | None


class GateDecision(TypedDict):
    """Decision of the promotion gate, with its reasons as sentences without a period.

    `champion` is the version in production, None if there is none. `floors` holds the minimum AUROC of each label that
    the gate checks. `labels` holds every label with an interval, with or without a minimum, and `delong` its difference
    by DeLong's method if two models were compared. `mean` is over the labels with a minimum, None if there are none.
    If the mean itself has a minimum, `mean_floor`, it is over all labels with an interval.
    """

    promote: bool
    reasons: list[str]
    champion: int | None
    margin: float
    floors: dict[str, float]
    labels: dict[str, AurocComparison]
    delong: dict[str, Estimate]
    mean: AurocComparison | None
    mean_floor: NotRequired[float]


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


class BackboneCandidate(TypedDict):
    """One backbone of a comparison.

    Attributes:
        backbone: its name.
        trial: its fine-tuning from the best cut-off.
        parameters: number of weights (scalars) of the network.
        bytes: size of the SavedModel.
        seconds_features, seconds_fine_tuning: duration of the last attempt of each stage.
        curve: validation AUROC of a linear probe by layer, from input to output.
    """

    backbone: str
    trial: Trial
    parameters: int
    bytes: int
    seconds_features: float
    seconds_fine_tuning: float
    curve: list[tuple[str, float]]


class ComparedBackbone(BackboneCandidate):
    """A backbone with its mean validation AUROC over the estimable labels, and the best one's minus its own (paired).

    The difference of the best one is None.
    """

    auroc: Estimate
    difference: Estimate | None


class BackboneComparison(TypedDict):
    """Backbones trained on the same data, the best first, compared on the same validation images."""

    backbones: list[ComparedBackbone]
    n_images: int
    n_patients: int


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
