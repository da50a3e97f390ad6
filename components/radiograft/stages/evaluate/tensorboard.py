"""What TensorBoard shows of an evaluation: figures, settings to compare runs by, images, embeddings to walk through.

Ids of images stay out: those of NIH begin with the patient's.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams

from radiograft.data.catalog import label_column
from radiograft.data.shards.dataset import Shards
from radiograft.drift.evaluation_drift import Embeddings
from radiograft.drift.reference import choose_rows
from radiograft.registry.results import EvaluationResults

RUN = "evaluation"
MEASURES = ("auroc", "average_precision", "accuracy")
MAX_EMBEDDED = 500  # images of a split; the projector keeps all of them in the browser
THUMBNAIL = 64  # pixels; 1,000 of them make a sprite of 2,048, and the projector takes 8,192 at most
NamedImage = tuple[str, np.ndarray]


def write_figures(folder: Path, run_id: str, results: EvaluationResults, images: Iterable[NamedImage]) -> None:
    """Writes scalars of each strategy, and beside the published one's its settings and images.

    Every run is a session of its own in the HParams tab, whose columns are the settings and the means.

    Args:
        folder: of this run's logs.
        results: content of metrics.json.
        images: group, such as `worst calls/Pneumonia/false positives`, and pixels uint8 [height, width, 3].
    """
    for strategy, splits in results["metrics"].items():
        with _writer(folder / RUN / strategy):
            for tag, value in _scalars(splits):
                tf.summary.scalar(tag, value, step=0)
            if strategy == results["published"]:
                hparams.hparams(results["lineage"]["settings"], trial_id=run_id)
                for name, pixels in _grouped(images):
                    tf.summary.image(name, pixels, step=0, max_outputs=len(pixels))


def write_embeddings(folder: Path, strategy: str, data: Shards, observed: Mapping[str, Embeddings]) -> None:
    """Writes features of validation and test images for the projector, with thumbnails, labels and scores.

    An image is named by its split and its place in it, as in rows.parquet and predictions.parquet. The projector of
    TensorBoard 2.21 looks for the files on a disk only: of logs in a bucket it shows what was copied or mounted.
    """
    place = folder / RUN / strategy
    few = {split: Embeddings(*(column[:MAX_EMBEDDED] for column in seen)) for split, seen in observed.items()}
    np.savetxt(place / "features.tsv", np.concatenate([seen.features for seen in few.values()]), "%.4g", "\t")
    described = pd.concat([_described(data, split, seen) for split, seen in few.items()])
    described.to_csv(place / "metadata.tsv", sep="\t", index=False, lineterminator="\n")
    thumbnails = np.concatenate([_thumbnails(data, split, seen.positions) for split, seen in few.items()])
    Image.fromarray(_sprite(thumbnails)).save(place / "sprite.png")
    # The projector looks for these beside its own file, so that the folder can be moved as a whole.
    embedding = projector.EmbeddingInfo(
        tensor_name="features", tensor_path="features.tsv", metadata_path="metadata.tsv"
    )
    embedding.sprite.image_path = "sprite.png"
    embedding.sprite.single_image_dim.extend([THUMBNAIL, THUMBNAIL])
    projector.visualize_embeddings(str(place), projector.ProjectorConfig(embeddings=[embedding]))


def augmentation_sheet(png: bytes) -> NamedImage:
    """The contact sheet, to stand among the images."""
    with Image.open(io.BytesIO(png)) as sheet:
        return "augmentation", np.asarray(sheet.convert("RGB"))


def _writer(folder: Path) -> Any:
    return tf.summary.create_file_writer(str(folder)).as_default()


def _scalars(splits: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for split, found in splits.items():
        for measure in MEASURES:
            named = {f"{split}/{measure}": found["mean"]}
            named |= {f"{split}_{measure}/{label}": figures for label, figures in found["labels"].items()}
            for tag, figures in named.items():
                if figures[measure]["value"] is not None:
                    yield tag, figures[measure]["value"]


def _grouped(images: Iterable[NamedImage]) -> Iterator[tuple[str, np.ndarray]]:
    """Images of one group and size together, uint8 [n, height, width, 3]."""
    for (name, _), group in itertools.groupby(images, key=lambda image: (image[0], image[1].shape)):
        yield name, np.stack([pixels for _, pixels in group])


def _described(data: Shards, split: str, seen: Embeddings) -> pd.DataFrame:
    rows = data.split(split).iloc[seen.positions]
    table: dict[str, Any] = {"picture": [f"{split} {place}" for place in seen.positions], "split": split}
    for number, label in enumerate(data.labels):
        table[label] = rows[label_column(label)].map({1.0: "present", 0.0: "absent"}).fillna("unknown").to_numpy()
        table[f"score of {label}"] = seen.scores[:, number].round(4)
    return pd.DataFrame(table)


def _thumbnails(data: Shards, split: str, positions: np.ndarray) -> np.ndarray:
    """uint8 [n, THUMBNAIL, THUMBNAIL]."""

    def small(images: tf.Tensor) -> tf.Tensor:
        resized = tf.image.resize(images, [THUMBNAIL, THUMBNAIL], method="bilinear", antialias=True)
        return tf.saturate_cast(tf.round(resized[..., 0]), tf.uint8)

    return np.concatenate([batch.numpy() for batch in choose_rows(data, split, positions).map(small)])


def _sprite(thumbnails: np.ndarray) -> np.ndarray:
    """All thumbnails row after row in one square image, as the projector wants them."""
    side = int(np.ceil(np.sqrt(len(thumbnails))))
    filled = np.zeros((side * side, THUMBNAIL, THUMBNAIL), np.uint8)
    filled[: len(thumbnails)] = thumbnails
    sprite: np.ndarray = filled.reshape(side, side, THUMBNAIL, THUMBNAIL).swapaxes(1, 2).reshape(side * THUMBNAIL, -1)
    return sprite
