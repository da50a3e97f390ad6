"""The poster's recipe: a Keras user's script against our stages, the same images and numbers of epochs."""

from __future__ import annotations

from pathlib import Path

from radiograft.config import ExtractFeatures, FineTune, Preprocess
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.metrics.thresholds import choose_thresholds
from radiograft.models import artifact
from radiograft.stages.extract_features import task as extract_features
from radiograft.stages.fine_tune import task as fine_tune
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints
from tests.benchmarks import films
from tests.benchmarks.keras_recipe import BATCH_SIZE, CUT_OFF, FEATURE_RATE, FINE_TUNE_RATE, run_recipe
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds

EPOCHS = 20  # of feature extraction, and as many of fine-tuning
TIMED_EPOCHS = 2  # of theirs, which whole takes about twenty minutes on two cores
VIEWS = 4
NEVER = 1000  # epochs of patience, so that nothing stops early
FLOOR = 10
RESAMPLINGS = 1000

EXTRACT_FEATURES = ExtractFeatures(
    model_weights="none",
    model_cut_off=CUT_OFF,
    train_batch_size=BATCH_SIZE,
    train_patience=NEVER,
    train_feature_epochs=EPOCHS,
    train_feature_learning_rate=FEATURE_RATE,
)
FINE_TUNE = FineTune(
    model_cut_off=CUT_OFF,
    train_batch_size=BATCH_SIZE,
    train_patience=NEVER,
    train_fine_tune_epochs=EPOCHS,
    train_fine_tune_learning_rate=FINE_TUNE_RATE,
    train_augmentation="cached",
    train_cached_augmentations=VIEWS,
)


def measure(work: Path, timed_epochs: int = TIMED_EPOCHS) -> list[Row]:
    """Theirs comes first, for our stages ask TensorFlow for deterministic kernels, which lasts."""
    catalog = films.catalog(work)
    theirs = run_recipe(catalog, EPOCHS, timed_epochs)
    ours = seconds(lambda: _run(catalog, work / "recipe"))
    whole = timed_epochs == EPOCHS
    timed = "run whole" if whole else f"{timed_epochs} epochs of each phase timed, scaled to {EPOCHS}"
    how = (
        f"DenseNet-121 at {films.SIDE} px, {films.COUNTS['train']} images to train and {films.COUNTS['validation']} "
        f"to validate, {EPOCHS} epochs of feature extraction and {EPOCHS} of fine-tuning from {CUT_OFF}. "
        f"Theirs: ImageDataGenerator and model.fit, {timed}. "
        f"Ours: preprocess, extract_features and fine_tune on {VIEWS} cached views, run whole with all they write."
    )
    rows = [Row.speedup("recipe", ours, theirs.seconds, floor=FLOOR, how=how)]
    return [*rows, _quality(work / "recipe", theirs.auroc)] if whole else rows


def _quality(folder: Path, theirs: float) -> Row:
    """Validation AUROC of both; ours may lie below theirs by no more than its interval is wide."""
    data = Shards.read(folder / "shards")
    scores = artifact.load_model(folder / "model").predict(data.images("validation", BATCH_SIZE), verbose=0)
    frame = prediction_frame(data.split("validation"), data.labels, scores)
    found = evaluate_predictions(frame, data.labels, choose_thresholds(frame, data.labels), RESAMPLINGS, seed=0)
    ours = found["mean"]["auroc"]
    how = (
        f"The same runs with random weights, AUROC on {found['n_images']} images of {found['n_patients']} patients; "
        f"ours has the 95 % interval {ours['low']:.3f} to {ours['high']:.3f}."
    )
    floor = ours["value"] / ours["high"]
    return Row("recipe_auroc", ours["value"], theirs, ours["value"] / theirs, floor, True, "AUROC", how)


def _run(catalog: Path, folder: Path) -> None:
    shards, model, logs = folder / "shards", folder / "feature_model", folder / "logs"
    kept = Checkpoints(str(folder / "checkpoints"))
    preprocess.run(Preprocess(image_size=films.SIDE), catalog, shards)
    extract_features.run(EXTRACT_FEATURES, shards, folder / "features", model, logs, kept)
    fine_tune.run(FINE_TUNE, shards, model, folder / "model", logs, kept)
