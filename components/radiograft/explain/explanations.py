"""What the report explains: the most confident errors, heat maps, and how well heat maps localize findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.config import Evaluate
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.class_errors import MAX_LISTED, ErrorPair, PairFigures, draw_errors, find_errors
from radiograft.explain.gallery import LabelFigures, decide_labels, draw_gallery
from radiograft.explain.localization import localize
from radiograft.explain.mask_share import score_masks
from radiograft.explain.numeric_errors import draw_largest_errors, known_truth
from radiograft.models.spec import ModelSpec
from radiograft.registry.analysis_types import Localization, MaskShare
from radiograft.reporting.html import ReportSection


class Explanations(NamedTuple):
    """Images and scores that explain the predictions.

    Attributes:
        labels: all labels.
        figures: test images for a few of the labels.
        localization: None if no boxes are annotated.
        errors: errors between exclusive classes, the most frequent first; None if the labels are independent.
        pairs: figures of the most frequent of them.
        truth: known values by target and position if the targets are numbers, else None. `figures` are then the largest
            errors.
        has_class_map: whether the head pools a class map.
        mask_share: share of heat inside the masks of `evaluate_masks`; None without them.
    """

    labels: tuple[str, ...]
    figures: list[LabelFigures]
    localization: Localization | None
    errors: Sequence[ErrorPair] | None = None
    pairs: Sequence[PairFigures] = ()
    truth: Mapping[str, Mapping[int, float]] | None = None
    has_class_map: bool = False
    mask_share: MaskShare | None = None

    def sections(self) -> list[ReportSection]:
        """Returns the report sections: error analysis, and explanations with localization scores."""
        if self.truth is not None:
            return [ReportSection("numeric_errors.html.j2", self._asdict())]
        errors = "error_analysis" if self.errors is None else "class_errors"
        content = {**self._asdict(), "max_listed": MAX_LISTED}
        return [ReportSection(f"{name}.html.j2", content) for name in (errors, "explanations")]

    def images(self) -> list[tuple[str, np.ndarray]]:
        """Returns group name and pixels, uint8 [height, width, 3], of every figure."""
        of_labels = [image for figures in self.figures for image in figures.images()]
        return [*of_labels, *(image for figures in self.pairs for image in figures.images())]


def explain_predictions(
    model: keras.Model,
    spec: ModelSpec,
    strategy: tf.distribute.Strategy,
    data: Shards,
    test: pd.DataFrame,
    thresholds: Mapping[str, float],
    settings: Evaluate,
) -> Explanations:
    """Computes heat maps of the published model for all images with boxes and for a few others.

    Args:
        model: the model, built in the scope of `strategy`.
        test: its predictions on test in stored order.
        thresholds: label -> threshold.
        settings: number of resamples of the patients, their seed, and `evaluate_masks`.

    Raises:
        ValueError: as `score_masks`.
    """
    heat_maps = HeatMaps(model, strategy, spec.tensors, get_backbone(spec.backbone).taps)
    if spec.is_numeric:
        figures = draw_largest_errors(data, "test", test, heat_maps)
        return Explanations(data.labels, figures, None, truth=known_truth(test, data.labels))
    decisions = decide_labels(test, data.labels, thresholds, exclusive=spec.is_exclusive)
    figures = draw_gallery(data, "test", test, decisions, heat_maps)
    intervals = settings.evaluate_bootstrap_samples, settings.train_seed
    localization, masks = localize(data, heat_maps, *intervals), settings.evaluate_masks
    explanations = Explanations(
        data.labels,
        figures,
        localization,
        has_class_map=bool(spec.tensors.class_map),
        mask_share=score_masks(data, masks, heat_maps, *intervals) if masks else None,
    )
    if not spec.is_exclusive:
        return explanations
    errors = find_errors(test, data.labels)
    without_errors = [label._replace(worst={}) for label in figures]  # the pairs of classes show them
    return explanations._replace(figures=without_errors, errors=errors, pairs=draw_errors(data, "test", errors))
