"""What a published version predicts for an image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from radiograft.models.spec import ModelSpec


class Prediction(NamedTuple):
    """The prediction of one label.

    Attributes:
        label: name of the label.
        probability: 0 to 1.
        threshold: from validation; None if validation could not choose one, and for exclusive classes.
        positive: whether the probability reaches the threshold, None without one. Of exclusive classes, only that with
            the highest probability is positive.
    """

    label: str
    probability: float
    threshold: float | None
    positive: bool | None


class TargetValue(NamedTuple):
    """The predicted number of one target, in the unit of the training data."""

    label: str
    value: float


def decide(spec: ModelSpec, probabilities: np.ndarray) -> list[Prediction]:
    """Returns the prediction of each label from the probabilities of an image, float32 [labels]."""
    values = dict(zip(spec.labels, map(float, probabilities), strict=True))
    if spec.is_exclusive:
        highest = max(values, key=lambda label: values[label])
        return [Prediction(label, value, None, label == highest) for label, value in values.items()]
    thresholds = spec.thresholds or {}
    return [
        Prediction(label, value, thresholds.get(label), value >= thresholds[label] if label in thresholds else None)
        for label, value in values.items()
    ]


class Distance(NamedTuple):
    """How far an image is from the training images.

    Attributes:
        ood_distance: Mahalanobis distance of its features.
        is_out_of_distribution: whether the distance exceeds the threshold of the version.
    """

    ood_distance: float
    is_out_of_distribution: bool
