"""Writes an evaluation for TensorBoard: metrics, settings of the run, images and embeddings.

Image ids are omitted, because those of NIH contain the patient id.
"""

from __future__ import annotations

import io
import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams

from radiograft.config.data import MULTICLASS, REGRESSION
from radiograft.data.catalog import label_column
from radiograft.data.shards.dataset import Shards
from radiograft.drift.evaluation_drift import Embeddings
from radiograft.drift.reference import BATCH_SIZE
from radiograft.registry.deciding_metrics import split_accuracy
from radiograft.registry.results import EvaluationResults
from radiograft.reporting.agreement_plots import Points, scatter_pixels
from radiograft.reporting.plots import confusion_pixels
from radiograft.storage import checksums

RUN = "evaluation"
UNKNOWN = "unknown"
MEASURES = ("auroc", "average_precision", "accuracy")
TARGET_MEASURES = ("mae", "baseline_mae", "rmse", "r2", "mean_error")
CLASS_MEASURES = ("majority_accuracy", "balanced_accuracy", "kappa", "brier", "log_loss")
MAX_EMBEDDED = 500  # images of a split; the projector loads all of them into the browser
THUMBNAIL = 64  # pixels; 1,000 thumbnails form a sprite of 2,048 pixels, and the projector accepts up to 8,192
NamedImage = tuple[str, np.ndarray]


def write_figures(folder: Path, run_id: str, results: EvaluationResults, images: Iterable[NamedImage]) -> None:
    """Writes the metrics of each strategy, and the settings and images of the published one.

    Each run is one session of the HParams tab, whose columns are the settings and the mean metrics.

    Args:
        folder: log folder of the run.
        run_id: id of the pipeline run.
        results: content of metrics.json.
        images: pairs of a group, such as `worst calls/Pneumonia/false positives`, and pixels uint8
            [height, width, 3].
    """
    write_branches(folder, results)
    for strategy, splits in results["metrics"].items():
        with _writer(folder / RUN / strategy):
            for tag, value in _scalars(splits):
                tf.summary.scalar(tag, value, step=0)
            if strategy == results["published"]:
                hparams.hparams(results["lineage"]["settings"], trial_id=run_id)
                for name, pixels in _stack_groups(images):
                    tf.summary.image(name, pixels, step=0, max_outputs=len(pixels))


def write_branches(folder: Path, results: EvaluationResults) -> None:
    """Writes the AUROC of each branch of an attention-guided network, one TensorBoard run each."""
    comparison = results.get("branches")
    for branch in comparison["branches"] if comparison else []:
        if comparison and branch["auroc"]["value"] is not None:
            with _writer(folder / RUN / f"branch_{branch['branch']}"):
                tf.summary.scalar(f"{comparison['split']}/auroc", branch["auroc"]["value"], step=0)


def write_embeddings(folder: Path, strategy: str, data: Shards, embeddings: Mapping[str, Embeddings]) -> None:
    """Writes features of validation and test images for the projector, with thumbnails, labels and scores.

    Images are named by split and position, as in rows.parquet and predictions.parquet. The projector of TensorBoard
    2.21 reads only local files: logs in a bucket must be copied or mounted.

    Args:
        folder: log folder of the run.
        strategy: name of the strategy.
        data: the shards.
        embeddings: split -> embeddings.
    """
    target = folder / RUN / strategy
    shown = {split: Embeddings(*(column[:MAX_EMBEDDED] for column in part)) for split, part in embeddings.items()}
    np.savetxt(target / "features.tsv", np.concatenate([part.features for part in shown.values()]), "%.4g", "\t")
    metadata = pd.concat([_image_metadata(data, split, part) for split, part in shown.items()])
    metadata.to_csv(target / "metadata.tsv", sep="\t", index=False, lineterminator="\n")
    thumbnails = np.concatenate([_thumbnails(data, split, part.positions) for split, part in shown.items()])
    Image.fromarray(_sprite(thumbnails)).save(target / "sprite.png")
    # Paths are relative to the projector's config file, so the folder can be moved.
    embedding = projector.EmbeddingInfo(
        tensor_name="features", tensor_path="features.tsv", metadata_path="metadata.tsv"
    )
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend([THUMBNAIL, THUMBNAIL])
    projector.visualize_embeddings(str(target), projector.ProjectorConfig(embeddings=[embedding]))


def copy_training_logs(models: Iterable[Path], folder: Path) -> None:
    """Copies the training curves in the models' folders, so that one folder shows everything about the run.

    Args:
        models: folders that extract_features and fine_tune wrote.
        folder: log folder of the run.
    """
    for logs in (model / "logs" for model in models):
        if logs.is_dir():
            shutil.copytree(logs, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(checksums.NAME))


def augmentation_sheet(png: bytes) -> NamedImage:
    """Returns the contact sheet, a PNG file, as a named image."""
    with Image.open(io.BytesIO(png)) as sheet:
        return "augmentation", np.asarray(sheet.convert("RGB"))


def confusion_images(results: EvaluationResults) -> list[NamedImage]:
    """Returns the confusion matrix of exclusive classes on test as a named image; none for other tasks."""
    classes = results["metrics"][results["published"]]["test"].get("classes")
    return [("confusion matrix", confusion_pixels(classes["names"], classes["confusion"]))] if classes else []


def agreement_images(points: Mapping[str, Points]) -> list[NamedImage]:
    """Returns a plot of predicted against true values of each target as a named image."""
    return [
        (f"predicted against true/{target}", scatter_pixels(each, target))
        for target, each in points.items()
        if len(each.truth)
    ]


def _writer(folder: Path) -> Any:
    return tf.summary.create_file_writer(str(folder)).as_default()


def _scalars(splits: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields tag and value of each metric that is estimable: of all labels or classes, then of single ones."""
    for split, metrics in splits.items():
        estimates = {f"{split}/{measure}": metrics["mean"][measure] for measure in MEASURES}
        estimates[f"{split}/accuracy"] = split_accuracy(metrics).accuracy
        if "classes" in metrics:
            estimates |= {f"{split}/{measure}": metrics["classes"][measure] for measure in CLASS_MEASURES}
        estimates |= {
            f"{split}_{measure}/{label}": values[measure]
            for measure in MEASURES
            for label, values in metrics["labels"].items()
            if not ("classes" in metrics and measure == "accuracy")  # of a class against the rest: high if it is rare
        }
        if "regression" in metrics:
            estimates[f"{split}/r2"] = metrics["regression"]["r2"]
            estimates |= {
                f"{split}_{measure}/{target}": values[measure]
                for measure in TARGET_MEASURES
                for target, values in metrics["regression"]["targets"].items()
            }
        for tag, estimate in estimates.items():
            if estimate and estimate["value"] is not None:
                yield tag, estimate["value"]


def _stack_groups(images: Iterable[NamedImage]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields group name and pixels, uint8 [n, height, width, 3], of consecutive images of the same group and size."""
    for (name, _), group in itertools.groupby(images, key=lambda image: (image[0], image[1].shape)):
        yield name, np.stack([pixels for _, pixels in group])


def _image_metadata(data: Shards, split: str, part: Embeddings) -> pd.DataFrame:
    rows = data.split(split).iloc[part.positions]
    table: dict[str, Any] = {"picture": [f"{split} {position}" for position in part.positions], "split": split}
    if data.task == MULTICLASS:
        truth = rows[[label_column(label) for label in data.labels]].to_numpy()
        table["class"] = [
            UNKNOWN if np.isnan(row).any() else data.labels[place]
            for row, place in zip(truth, np.nan_to_num(truth).argmax(axis=1), strict=True)
        ]
        table["predicted class"] = [data.labels[place] for place in part.scores.argmax(axis=1)]
    for number, label in enumerate(data.labels):
        if data.task == REGRESSION:
            table[label] = rows[label_column(label)].round(4).astype(object).fillna(UNKNOWN).to_numpy()
            table[f"predicted {label}"] = part.scores[:, number].round(4)
            continue
        table[label] = rows[label_column(label)].map({1.0: "present", 0.0: "absent"}).fillna(UNKNOWN).to_numpy()
        table[f"score of {label}"] = part.scores[:, number].round(4)
    return pd.DataFrame(table)


def _thumbnails(data: Shards, split: str, positions: np.ndarray) -> np.ndarray:
    """Returns the images as uint8 [n, THUMBNAIL, THUMBNAIL, channels]."""

    def shrink(images: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(images, [THUMBNAIL, THUMBNAIL], method="bilinear", antialias=True)
        return tf.saturate_cast(tf.round(resized), tf.uint8)

    batches = data.chosen(split, positions.tolist()).batch(BATCH_SIZE)
    return np.concatenate([batch.numpy() for batch in batches.map(shrink)])


def _sprite(thumbnails: np.ndarray) -> np.ndarray:
    """Arranges the thumbnails row by row in one square image, as the projector requires."""
    side = int(np.ceil(np.sqrt(len(thumbnails))))
    padded = np.zeros((side * side, *thumbnails.shape[1:]), np.uint8)
    padded[: len(thumbnails)] = thumbnails
    rows = padded.reshape(side, side, *thumbnails.shape[1:]).swapaxes(1, 2)
    sprite: np.ndarray = rows.reshape(side * THUMBNAIL, side * THUMBNAIL, -1)
    return sprite[..., 0] if sprite.shape[-1] == 1 else sprite
