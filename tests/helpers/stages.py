"""Session fixtures: the stages on a small data set, run once for all tests."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.extract_features import task as extract_features
from radiograft.stages.fine_tune import task as fine_tune
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints

# The test split has no positive image for Emphysema. The splits have 58, 39 and 31 images.
LABELS = "Pneumonia,Effusion,Emphysema"
SEED = 3


class Trained(NamedTuple):
    """Output folders of a training stage; `features` exists only if the stage writes it."""

    model: Path
    logs: Path
    features: Path


class Evaluated(NamedTuple):
    """Inputs and outputs of evaluation."""

    inputs: evaluate.EvaluateInputs
    folder: Path
    report: Path
    outcome: evaluate.KfpMetrics
    logs: Path


EXTRACT_FEATURES = ExtractFeatures(
    model_backbone="efficientnet_lite0",
    model_cut_off="top_conv",
    model_dense_units=16,
    model_random_baseline=True,
    train_batch_size=8,
    train_feature_epochs=3,
    train_seed=SEED,
)
FINE_TUNE = FineTune(
    model_cut_off="top_conv",
    train_batch_size=8,
    train_fine_tune_epochs=2,
    train_fine_tune_learning_rate=1e-3,
    train_seed=SEED,
)
NO_CHECKPOINTS = Checkpoints("")
EVALUATE = Evaluate(
    publish_registry="/no/registry/yet", evaluate_bootstrap_samples=100, evaluate_min_patients=1, train_seed=SEED
)


def run_extract_features(
    settings: ExtractFeatures, shards: Path, folder: Path, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> Trained:
    """Runs the stage into `folder`."""
    outputs = Trained(folder / "model", folder / "logs", folder / "features")
    extract_features.run(settings, shards, outputs.features, outputs.model, outputs.logs, checkpoints)
    return outputs


def run_fine_tune(
    settings: FineTune, shards: Path, start: Path, folder: Path, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> Trained:
    """Runs the stage into `folder`."""
    outputs = Trained(folder / "model", folder / "logs", folder / "features")
    fine_tune.run(settings, shards, start, outputs.model, outputs.logs, checkpoints)
    return outputs


@pytest.fixture(scope="session")
def catalog_folder(nih_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of the phantom data set."""
    folder = tmp_path_factory.mktemp("catalog")
    ingest.run(Ingest(data_source=str(nih_folder), data_labels=LABELS, data_validation_fraction=0.25), folder)
    return folder


@pytest.fixture(scope="session")
def shards_folder(catalog_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of 32 px with the poster's augmentation."""
    folder = tmp_path_factory.mktemp("shards")
    preprocess.run(Preprocess(image_size=32), catalog_folder, folder)
    return folder


@pytest.fixture(scope="session")
def feature_extraction(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Feature extraction with EfficientNet-Lite0's ImageNet weights and the random baseline."""
    return run_extract_features(EXTRACT_FEATURES, shards_folder, tmp_path_factory.mktemp("feature_extraction"))


@pytest.fixture(scope="session")
def fine_tuning(shards_folder: Path, feature_extraction: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Fine-tuning of that model from its last convolution."""
    return run_fine_tune(FINE_TUNE, shards_folder, feature_extraction.model, tmp_path_factory.mktemp("fine_tuning"))


@pytest.fixture(scope="session")
def evaluation(
    shards_folder: Path,
    feature_extraction: Trained,
    fine_tuning: Trained,
    tmp_path_factory: pytest.TempPathFactory,
) -> Evaluated:
    """The evaluation of both models."""
    folder = tmp_path_factory.mktemp("evaluation")
    inputs = evaluate.EvaluateInputs(
        shards_folder, feature_extraction.features, feature_extraction.model, fine_tuning.model
    )
    report = folder / "report.html"
    outcome = evaluate.run(EVALUATE, inputs, "a-run", folder / "evaluation", report, folder / "logs")
    return Evaluated(inputs, folder / "evaluation", report, outcome, folder / "logs")
