"""Lists the trials of the searches, each of which runs in its own pod, and selects the best model."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from radiograft.backbones import get_backbone
from radiograft.config import AUTO_CUT_OFF, ExtractFeatures
from radiograft.models.spec import ModelSpec
from radiograft.training.search import results as search_results
from radiograft.utils.quoting import quote_name

if TYPE_CHECKING:
    from radiograft.training.search.comparison import BackboneTrial

CURVES = Path("logs", "fine_tuning")  # TensorBoard logs in a model's folder

log = logging.getLogger(__name__)


def list_backbones(settings: ExtractFeatures) -> list[str]:
    """Returns the overrides of each trial of a backbone comparison.

    The cut-off of the settings applies to its backbone, or to all if it is `auto`; the others take their default.

    Example:
        >>> list_backbones(ExtractFeatures(compare_backbones="densenet121,resnet50"))
        ['model_backbone=densenet121,model_cut_off=conv5_block16_2_conv', \
'model_backbone=resnet50,model_cut_off=conv5_block3_3_conv']
    """
    trials = []
    for name in settings.backbones_to_compare():
        given = settings.model_cut_off == AUTO_CUT_OFF or name == settings.model_backbone
        cut_off = settings.model_cut_off if given else get_backbone(name).default_cut_off
        trials.append(_overrides(model_backbone=name, model_cut_off=cut_off))
    log.info("backbones: %s", ", ".join(settings.backbones_to_compare()))
    return trials


def select_backbone(trials: Sequence[BackboneTrial], chosen: BackboneTrial) -> None:
    """Copies the best backbone to `chosen`, with a comparison of all; see `choose_candidate`."""
    from radiograft.training.search.comparison import choose_candidate  # TensorFlow, which the other tasks do not need

    candidates = choose_candidate(trials, chosen)
    for candidate in candidates:
        log.info("%s: validation AUROC %.3f", candidate["backbone"], candidate["trial"]["metrics"]["val_auroc"])
    log.info("backbone comparison: best of %d is %s", len(candidates), chosen.spec.backbone)


def _overrides(**values: str) -> str:
    return ",".join(f"{name}={quote_name(value)}" for name, value in values.items())


def list_cut_offs(text: str, feature_model: Path) -> list[str]:
    """Returns the overrides of each trial of a cut-off search.

    The trials are the cut-offs that the setting `model_cut_off` selects for a saved network; see `parse_cut_offs`.
    """
    from radiograft.models.artifact import load_model  # TensorFlow, which `select_model` does not need
    from radiograft.models.cut_offs import parse_cut_offs

    spec = ModelSpec.read(feature_model)
    cut_offs = parse_cut_offs(text, load_model(feature_model), get_backbone(spec.backbone), spec.head)
    log.info("cut-off candidates: %s", ", ".join(cut_offs))
    return [_overrides(model_cut_off=cut_off) for cut_off in cut_offs]


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
    monitor = search_results.trials_monitor(trials)
    log.info(
        "cut-off search: best of %d is %s, validation %s %.3f",
        len(trials),
        best["overrides"]["model_cut_off"],
        monitor.title,
        best["metrics"][monitor.metric],
    )
