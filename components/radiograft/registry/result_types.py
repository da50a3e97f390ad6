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


class TargetSummary(TypedDict):
    """Known values of a target in a split: their number, patients, mean, standard deviation (of the sample), median and
    range; None without known values. `unknown` counts the other images."""

    known: int
    unknown: int
    patients: int
    mean: float | None
    deviation: float | None
    median: float | None
    low: float | None
    high: float | None


class TargetMetrics(TypedDict):
    """Metrics of a number on one split, in its unit except `r2`. Counts cover the images with a known value.

    `mae` is the mean absolute error, `rmse` the root of the mean squared error. `r2` is the coefficient of
    determination: 1 is perfect, 0 is always predicting the mean of the split, and it has no lower bound. `mean_error`
    is the mean of prediction minus truth, `limit_low` and `limit_high` are Bland and Altman's limits of agreement, the
    mean error minus and plus 1.96 standard deviations of the errors. `baseline_mae` is the error of always predicting
    `median`, that of training, and `baseline_rmse` that of `mean`. `mae_difference` is `mae` minus `baseline_mae` on
    the same resamples. `estimable` is False if the split has too few patients with a known value, or only one value;
    the metrics are then None.
    """

    n_images: int
    n_patients: int
    estimable: bool
    mean: float
    median: float
    mae: Estimate
    rmse: Estimate
    r2: Estimate
    mean_error: Estimate
    limit_low: Estimate
    limit_high: Estimate
    baseline_mae: Estimate
    baseline_rmse: Estimate
    mae_difference: Estimate


class RegressionMetrics(TypedDict):
    """Metrics of all targets of a split. `r2` is the mean over the estimable ones, listed in `estimable`."""

    targets: dict[str, TargetMetrics]
    estimable: list[str]
    r2: Estimate


class SplitMetrics(TypedDict):
    """Metrics of all labels of one split. `classes` is there if the labels are exclusive classes; their metrics in
    `labels` are then of one class against the rest. `regression` is there if the targets are numbers; `labels` is then
    empty and the means are not estimable."""

    n_images: int
    n_patients: int
    labels: dict[str, LabelMetrics]
    mean: MeanMetrics
    classes: NotRequired[ClassMetrics]
    regression: NotRequired[RegressionMetrics]


class ErrorComparison(TypedDict):
    """What the gate compares of a target: R² with its minimum, and the mean absolute errors of two models.

    `difference` is challenger minus champion, and `tolerance` its largest allowed value, both in the target's unit.
    They and `champion` are None if there is no champion.
    """

    r2: Estimate
    minimum: float
    challenger: Estimate
    champion: Estimate | None
    difference: Estimate | None
    tolerance: float | None


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
    If the mean itself has a minimum, `mean_floor`, it is over all labels with an interval. `targets` is there if the
    targets are numbers; `floors`, `labels` and `delong` are then empty.
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
    targets: NotRequired[dict[str, ErrorComparison]]
