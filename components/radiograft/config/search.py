"""Settings of a hyperparameter search."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from radiograft.config.base import Scalar, SeedSettings, setting
from radiograft.config.combinations import RECIPE_REQUIRED_BY_REGRESSION, check_search
from radiograft.config.data import REGRESSION
from radiograft.config.network import ExtractFeatures
from radiograft.config.search_parameters import SearchSpace
from radiograft.config.search_space import PRESETS, parse_space
from radiograft.config.training import AUTO_CUT_OFF, DEFAULT_BACKBONE

AUTO_STRATEGY, FEATURE_EXTRACTION, FINE_TUNING = "auto", "feature_extraction", "fine_tuning"
IMAGE_SETTINGS = ("image_size", "image_resize")  # they change the shards


@dataclasses.dataclass(frozen=True)
class Search(SeedSettings):
    """Settings of `radiograft search` and of the pipeline `hyperparameter_search`."""

    search_space: str = setting(
        "quick",
        f"Settings that are searched: {', '.join(f'`{name}`' for name in PRESETS)}, or a JSON object of ranges and "
        "choices by setting. A settings file has it as the section `search`.",
    )
    search_strategy: str = setting(
        AUTO_STRATEGY,
        "Training whose validation metric is optimized; `auto` is feature_extraction if all searched settings are its.",
        choices=(AUTO_STRATEGY, FEATURE_EXTRACTION, FINE_TUNING),
    )
    search_trials: int = setting(40, "Maximum number of trials, over all workers.", unit="trials", low=1, high=10_000)
    search_hours: float = setting(
        0.0,
        "Hours of training of each worker after which it starts no trial; 0 sets no limit.",
        unit="h",
        low=0,
        high=1e4,
    )
    search_pruner: str = setting(
        "hyperband",
        "Stops poor trials after an epoch: `hyperband`, or `median`, the median of earlier trials.",
        choices=("hyperband", "median", "none"),
    )
    search_workers: int = setting(1, "Processes or pods that share the search.", unit="workers", low=1, high=64)
    search_finalists: int = setting(
        2, "Best trials that are trained again with `search_seeds` seeds before one is chosen.", low=1, high=50
    )
    search_seeds: int = setting(3, "Seeds with which finalists and default settings are trained.", low=1, high=50)
    search_folds: int = setting(
        5,
        "Parts of the validation patients for the cross-validated estimate of the winner's metric.",
        low=2,
        high=100,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.space()

    def space(self, backbone: str = DEFAULT_BACKBONE) -> SearchSpace:
        """Returns the parsed `search_space`; the candidates of the preset `cut_offs` are those of the backbone."""
        return parse_space(self.search_space, backbone)


def resolve_strategy(values: Mapping[str, Scalar]) -> str:
    """Returns which training a search optimizes: `feature_extraction` or `fine_tuning`.

    Args:
        values: settings of all stages by name.

    Raises:
        ValueError: a search does not support a setting, a parameter has no meaning for numbers, the strategy does not have a searched setting, or fine-tuning
            would try several cut-offs in each trial. The message names the setting and the reason.
    """
    check_search(values)
    search = Search.of(values)
    parameters = search.space().parameters
    if values.get("data_task") == REGRESSION:
        _check_numbers(parameters)
    names = {name.partition(".")[0] for name in parameters}
    others = names - (set(ExtractFeatures.__dataclass_fields__) - {"model_cut_off"} | set(IMAGE_SETTINGS))
    strategy = search.search_strategy
    if strategy == AUTO_STRATEGY:
        strategy = FINE_TUNING if others else FEATURE_EXTRACTION
    if strategy == FEATURE_EXTRACTION and others:
        raise ValueError(
            f"search_strategy=feature_extraction must not search {', '.join(sorted(others))}: use fine_tuning"
        )
    cut_off = str(values["model_cut_off"])
    if strategy == FINE_TUNING and (cut_off == AUTO_CUT_OFF or "," in cut_off):
        raise ValueError(f"model_cut_off must be one layer in a search, got {cut_off!r}: search the space cut_offs")
    return strategy


def _check_numbers(searched: Collection[str]) -> None:
    """Rejects parameters that have no meaning for numbers."""
    for option, (_, reason) in RECIPE_REQUIRED_BY_REGRESSION.items():
        if (name := f"train_recipe.{option}") in searched:
            raise ValueError(
                f"search_space must not have {name} with data_task=regression, because {reason}: set it to null in the "
                "section search"
            )
