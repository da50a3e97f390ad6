"""The candidates of a backbone comparison: what each costs, and its predictions on validation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from radiograft.models.spec import ModelSpec
from radiograft.registry.training_types import BackboneCandidate
from radiograft.training.cut_off_curve import CURVE
from radiograft.training.feature_extraction import FITTED_SPLITS
from radiograft.training.search import results as search_results

COST = "cost.json"  # in a model's folder: seconds of its stage, and parameters of the network
SCORES = "validation_scores.npy"  # in the folder of a fine-tuned model: float32 [images, labels]
COMPARISON = "comparison.json"  # in the folder of the best model, with the scores of all candidates in ALL_SCORES
ALL_SCORES = "comparison_scores.npy"  # float32 [candidates, images, labels]
LOGS = "logs"  # TensorBoard logs in a model's folder
STORED_FEATURES = (*(f"{split}.npy" for split in FITTED_SPLITS), "random_weights")  # large, and used by one stage only


class BackboneTrial(NamedTuple):
    """Folders that the stages wrote for one backbone."""

    features: Path
    feature_model: Path
    model: Path

    @property
    def spec(self) -> ModelSpec:
        """Specification of the fine-tuned network."""
        return ModelSpec.read(self.model)


def write_cost(folder: Path, seconds: float, parameters: int) -> None:
    """Writes what a stage of a comparison costs to the folder of its model.

    Args:
        seconds: duration of the stage's last attempt.
        parameters: number of weights (scalars) of the network.
    """
    (folder / COST).write_text(json.dumps({"seconds": round(seconds, 1), "parameters": parameters}))


def describe_candidate(trial: BackboneTrial) -> BackboneCandidate:
    """Returns the cost and the validation metrics of a backbone that both stages trained.

    Raises:
        FileNotFoundError: a file of the comparison is missing.
    """
    costs = [json.loads((folder / COST).read_text()) for folder in (trial.feature_model, trial.model)]
    spec, best = trial.spec, search_results.best_trial(search_results.read_trials(trial.model))
    curve = json.loads((trial.features / CURVE).read_text())
    return BackboneCandidate(
        backbone=spec.backbone,
        trial={**best, "overrides": {"model_backbone": spec.backbone, **best["overrides"]}},
        parameters=costs[1]["parameters"],
        bytes=sum(file.stat().st_size for file in (trial.model / "saved_model").rglob("*") if file.is_file()),
        seconds_features=costs[0]["seconds"],
        seconds_fine_tuning=costs[1]["seconds"],
        curve=[(point["layer"], point["auroc"]) for point in curve],
    )


def choose_candidate(trials: Sequence[BackboneTrial], chosen: BackboneTrial) -> list[BackboneCandidate]:
    """Copies the backbone with the best fine-tuned model on validation to `chosen`, with a comparison of all.

    The features are not copied, only their cut-off curve.

    Returns:
        All candidates, in the order of `trials`. The best is first in the files of the comparison.

    Raises:
        ValueError: there are no trials.
        FileNotFoundError: a file of the comparison is missing.
    """
    candidates = [describe_candidate(trial) for trial in trials]
    best = search_results.best_trial([candidate["trial"] for candidate in candidates])
    order = sorted(range(len(trials)), key=lambda number: candidates[number]["trial"] is not best)
    winner, *others = (trials[number] for number in order)
    for source, target, left in zip(winner, chosen, (STORED_FEATURES, (COST,), (COST, SCORES)), strict=True):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*left), dirs_exist_ok=True)
    for other in others:
        shutil.copytree(other.model / LOGS, chosen.model / LOGS / other.spec.backbone)
    np.save(chosen.model / ALL_SCORES, np.stack([np.load(trials[number].model / SCORES) for number in order]))
    (chosen.model / COMPARISON).write_text(json.dumps([candidates[number] for number in order], indent=2))
    return candidates
