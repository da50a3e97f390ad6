"""The poster's recipe: the stages compared with a plain Keras script on the same images and epochs."""

from __future__ import annotations

from pathlib import Path

from radiograft.config import ExtractFeatures, FineTune, Preprocess
from radiograft.data.catalog import prediction_frame
from radiograft.data.shards.dataset import Shards
from radiograft.metrics.label_metrics import choose_thresholds
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.models import artifact
from radiograft.stages.extract_features import task as extract_features
from radiograft.stages.fine_tune import task as fine_tune
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints
from tests.benchmarks import films
from tests.benchmarks.keras_recipe import BATCH_SIZE, CUT_OFF, FEATURE_RATE, FINE_TUNE_RATE, run_recipe
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds

EPOCHS = 20  # of feature extraction, and again of fine-tuning
TIMED_EPOCHS = 2  # of theirs; all epochs take about 20 minutes on two cores
COPIES = 4
NEVER = 1000  # epochs of patience: disables early stopping
FLOOR = 10
RESAMPLES = 1000

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
    train_cached_augmentations=COPIES,
)


def measure(work: Path, timed_epochs: int = TIMED_EPOCHS) -> list[Row]:
    """Measures seconds of both. Theirs runs first: the stages switch TensorFlow to deterministic kernels."""
    catalog = films.catalog(work)
    theirs = run_recipe(catalog, EPOCHS, timed_epochs)
    ours = seconds(lambda: _run(catalog, work / "recipe"))
    whole = timed_epochs == EPOCHS
    timed = "all epochs" if whole else f"{timed_epochs} epochs of each phase, scaled to {EPOCHS}"
    how = (
        f"DenseNet-121 at {films.SIDE} px, {films.COUNTS['train']} training and {films.COUNTS['validation']} "
        f"validation images, {EPOCHS} epochs of feature extraction and {EPOCHS} of fine-tuning from {CUT_OFF}. "
        f"Theirs: ImageDataGenerator and model.fit, {timed}. "
        f"Ours: preprocess, extract_features and fine_tune on {COPIES} cached copies, including all outputs."
    )
    rows = [Row.speedup("recipe", ours, theirs.seconds, floor=FLOOR, how=how)]
    return [*rows, _quality(work / "recipe", theirs.auroc)] if whole else rows


def _quality(folder: Path, theirs: float) -> Row:
    """Compares the validation AUROC; the floor lets ours be lower by the upper half of its interval."""
    data = Shards.read(folder / "shards")
    scores = artifact.load_model(folder / "model").predict(data.images("validation", BATCH_SIZE), verbose=0)
    frame = prediction_frame(data.split("validation"), data.labels, scores)
    metrics = evaluate_predictions(frame, data.labels, choose_thresholds(frame, data.labels), RESAMPLES, seed=0)
    ours = metrics["mean"]["auroc"]
    how = (
        f"The same runs from random weights, AUROC on {metrics['n_images']} images of {metrics['n_patients']} "
        f"patients. 95% interval of ours: {ours['low']:.3f} to {ours['high']:.3f}."
    )
    floor = ours["value"] / ours["high"]
    return Row("recipe_auroc", ours["value"], theirs, ours["value"] / theirs, floor, True, "AUROC", how)


def _run(catalog: Path, folder: Path) -> None:
    shards, model, logs = folder / "shards", folder / "feature_model", folder / "logs"
    checkpoints = Checkpoints(str(folder / "checkpoints"))
    preprocess.run(Preprocess(image_size=films.SIDE), catalog, shards)
    extract_features.run(EXTRACT_FEATURES, shards, folder / "features", model, logs, checkpoints)
    fine_tune.run(FINE_TUNE, shards, model, folder / "model", logs, checkpoints)
