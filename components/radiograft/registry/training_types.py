"""Types of the parts of metrics.json that describe training: curves, searches and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from radiograft.registry.result_types import Estimate

CurveMetric = Literal["auroc", "r2"]
CURVE_TITLES: dict[CurveMetric, str] = {"auroc": "AUROC", "r2": "R²"}  # the higher the better


def curve_metric(points: Sequence[Mapping[str, Any]]) -> CurveMetric:
    """Returns the metric of a curve: `r2` if the targets are numbers, else `auroc`.

    Example:
        >>> curve_metric([{"layer": "top_conv", "auroc": 0.9}])
        'auroc'
    """
    return "r2" if points and "r2" in points[0] else "auroc"


class CurvePoint(TypedDict):
    """Linear probe of one layer. `auroc` is the validation mean over the labels that are estimable there.

    If the targets are numbers, `r2` takes its place, also in `ReducedCurvePoint`.
    """

    layer: str
    channels: int
    penalty: float
    auroc: NotRequired[Estimate]
    r2: NotRequired[Estimate]


class ReducedCurvePoint(TypedDict):
    """Linear probe of one layer after a dimensionality reduction, `pca`, `pls` or `lda`; `auroc` as in `CurvePoint`."""

    layer: str
    method: str
    components: int
    penalty: float
    auroc: NotRequired[Estimate]
    r2: NotRequired[Estimate]


class RandomBaseline(TypedDict):
    """AUROC of a linear classifier on the features of a pretrained and of a randomly initialized backbone.

    `metric` is there if it is another metric than `auroc`.
    """

    pretrained: Estimate
    random: Estimate
    n_images: int
    n_patients: int
    split: str
    metric: NotRequired[CurveMetric]


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


class BranchStage(TypedDict):
    """Training of one branch of an attention-guided network: `global`, `local`, `fusion`, or `random_...` of a control.

    The other attributes are those of `Trial`.
    """

    branch: str
    epochs: int
    best_epoch: int
    metrics: dict[str, float]


class BranchResult(BranchStage):
    """A branch with its AUROC, the mean over the estimable labels and of each, and the fusion's minus its own (paired).

    The difference of the fusion is None.
    """

    auroc: Estimate
    difference: Estimate | None
    labels: dict[str, Estimate]


class BranchComparison(TypedDict):
    """Branches of an attention-guided network on the same images of a split.

    `crop_share` is the mean area of the crops as a fraction of the image.
    """

    branches: list[BranchResult]
    split: str
    n_images: int
    n_patients: int
    crop_share: float


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
