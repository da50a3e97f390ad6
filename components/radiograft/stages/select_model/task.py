"""The cut-off search over pods: collects what each candidate's fine-tuning wrote and hands on the best model."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from radiograft.training.search import results as search_results

log = logging.getLogger(__name__)


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
        "cut-off search: best of %d is %s, validation AUROC %.3f", len(table), chosen["cut_off"], chosen["val_auroc"]
    )
