"""Settings of a hyperparameter search."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import SeedSettings, setting
from radiograft.config.search_space import PRESETS, SearchSpace, parse_space
from radiograft.config.training import DEFAULT_BACKBONE

AUTO_STRATEGY, FEATURE_EXTRACTION, FINE_TUNING = "auto", "feature_extraction", "fine_tuning"


@dataclasses.dataclass(frozen=True)
class Search(SeedSettings):
    """Settings of a hyperparameter search. Only `radiograft search` reads them."""

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
        "Hours of training of each worker after which it starts no trial; 0 does not limit them.",
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
