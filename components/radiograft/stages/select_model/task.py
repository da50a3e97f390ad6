"""Collects the trials of a cut-off search, each from its own pod, and selects the best model."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from radiograft.backbones import get_backbone
from radiograft.models.spec import ModelSpec
from radiograft.training.search import results as search_results

CURVES = Path("logs", "fine_tuning")  # TensorBoard logs in a model's folder

log = logging.getLogger(__name__)


def list_cut_offs(text: str, feature_model: Path) -> list[str]:
    """Returns the cut-offs that the setting `model_cut_off` selects for a saved network; see `parse_cut_offs`."""
    from radiograft.models.artifact import load_model  # TensorFlow, which `select_model` does not need
    from radiograft.models.cut_offs import parse_cut_offs

    spec = ModelSpec.read(feature_model)
    cut_offs = parse_cut_offs(text, load_model(feature_model), get_backbone(spec.backbone), spec.head)
    log.info("cut-off candidates: %s", ", ".join(cut_offs))
    return cut_offs


def select_model(models: Sequence[Path], model: Path) -> None:
    """Copies the model of the best trial to the folder `model`, with the training curves of all trials.

    Its search.json contains all trials.

    Args:
        models: folders that fine_tune wrote, one for each cut-off.
        model: folder of the result.

    Raises:
        ValueError: there are no models, or a search.json does not contain exactly one trial.
    """
    by_model = [search_results.read_trials(folder) for folder in models]
    if not by_model or any(len(trials) != 1 for trials in by_model):
        raise ValueError(
            f"there must be at least one model, with one trial each, got {[len(trials) for trials in by_model]} trials"
        )
    trials = [trial for (trial,) in by_model]
    best = search_results.best_trial(trials)
    shutil.copytree(models[trials.index(best)], model, ignore=shutil.ignore_patterns("logs"), dirs_exist_ok=True)
    for folder, trial in zip(models, trials, strict=True):
        if (folder / CURVES).is_dir():
            shutil.copytree(folder / CURVES, model / CURVES / str(trial["overrides"]["model_cut_off"]))
    search_results.write_trials(model, trials)
    log.info(
        "cut-off search: best of %d is %s, validation AUROC %.3f",
        len(trials),
        best["overrides"]["model_cut_off"],
        best["metrics"]["val_auroc"],
    )
