"""Where the published network fails and looks: the report's pictures, and heat maps held against drawn boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.gallery import LabelFigures, gallery
from radiograft.explain.localization import Localisation, localise
from radiograft.reporting.section import Section


class Looks(NamedTuple):
    """`figures` show test pictures of a few of the `labels`; `localisation` is None where no boxes are drawn."""

    labels: tuple[str, ...]
    figures: list[LabelFigures]
    localisation: Localisation | None

    def sections(self) -> list[Section]:
        """Parts of the report: worst calls, heat maps with their scores."""
        return [Section(f"{name}.html.j2", {**self._asdict()}) for name in ("where_it_fails", "where_it_looks")]

    def pictures(self) -> list[tuple[str, np.ndarray]]:
        """Name and pixels, uint8 [height, width, 3], of every figure."""
        return [picture for figures in self.figures for picture in figures.pictures()]


def look(
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    data: Shards,
    test: pd.DataFrame,
    thresholds: Mapping[str, float],
    samples: int,
    seed: int,
) -> Looks:
    """Heat maps of the published model, of all pictures with boxes and of a few others.

    Args:
        model: built in the scope of the strategy.
        test: its predictions on test in stored order.
        thresholds: by label.
        samples: resamplings of patients behind each interval.
        seed: of the resampling and of the random control.
    """
    heat_maps = HeatMaps(model, strategy)
    figures = gallery(data, "test", test, thresholds, heat_maps)
    return Looks(data.labels, figures, localise(data, heat_maps, samples, seed))
