"""The cut-off search over pods: collects what each candidate's fine-tuning wrote and hands on the best model."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from radiograft.backbones import get_backbone
from radiograft.models.spec import ModelSpec
from radiograft.training.search import results as search_results

log = logging.getLogger(__name__)


def list_cut_offs(text: str, feature_model: Path) -> list[str]:
    """Returns the cut-offs that `model_cut_off` names for the network in a folder; see `parse_cut_offs`."""
    from radiograft.models.artifact import load_model  # TensorFlow, which `select_model` does not need
    from radiograft.models.cut_offs import parse_cut_offs

    spec = ModelSpec.read(feature_model)
    cut_offs = parse_cut_offs(text, load_model(feature_model), get_backbone(spec.backbone), spec.head)
    log.info("cut-off candidates: %s", ", ".join(cut_offs))
    return cut_offs


def select_model(models: Sequence[Path], model: Path) -> None:
    """Copies the candidate of highest validation AUROC to the folder `model`, with the table of all in search.json.

    Args:
        models: folders that fine_tune wrote, each for one cut-off.

    Raises:
        ValueError: there is no candidate, or a folder has not exactly one row of the table.
    """
    rows = [search_results.read_trials(folder) for folder in models]
    if not rows or any(len(row) != 1 for row in rows):
        raise ValueError(f"each of at least one model must have one row of the table, got {[len(row) for row in rows]}")
    table = [row for (row,) in rows]
    chosen = search_results.best_trial(table)
    shutil.copytree(models[table.index(chosen)], model, dirs_exist_ok=True)
    search_results.write_trials(model, table)
    log.info(
        "cut-off search: best of %d is %s, validation AUROC %.3f",
        len(table),
        chosen["overrides"]["model_cut_off"],
        chosen["metrics"]["val_auroc"],
    )
