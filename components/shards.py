"""Shards: equally sized 8-bit pictures with id and labels in TFRecord files, and the rows they were made from."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import tensorflow as tf

from components.imaging.augmentation import Augmentation
from components.imaging.transform import augment, draw
from components.records import label_column

PICTURES_A_SHARD = 512
SHUFFLE_PICTURES = 4096
READ_BUFFER = 2**20


@dataclasses.dataclass(frozen=True)
class Shards:
    """A folder of shards.

    `rows` are the catalogue's rows of the pictures that could be decoded, split after split in the order in which
    they are stored.
    """

    folder: Path
    rows: pd.DataFrame
    labels: tuple[str, ...]
    image_size: int
    augmentation: Augmentation
    summary: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Opens what `write_description` completed; pictures are read later, as a stream."""
        summary = json.loads((folder / "shards.json").read_text())
        return cls(
            folder=folder,
            rows=pd.read_parquet(folder / "rows.parquet"),
            labels=tuple(summary["labels"]),
            image_size=summary["image_size"],
            augmentation=Augmentation(**json.loads((folder / "augmentation.json").read_text())),
            summary=summary,
        )

    def split(self, split: str) -> pd.DataFrame:
        """Rows of a split in stored order."""
        return self.rows[self.rows["split"] == split].reset_index(drop=True)

    def truth(self, split: str) -> np.ndarray:
        """Labels of a split in stored order, float32 [pictures, labels], 1 present and 0 absent."""
        return self.split(split)[[label_column(label) for label in self.labels]].to_numpy("float32")

    def examples(self, split: str) -> tf.data.Dataset:
        """Stream of (uint8 [size, size, 1], string id, float32 [labels]) in stored order."""
        files = sorted(str(path) for path in self.folder.glob(f"{split}-*.tfrecord"))
        records = tf.data.TFRecordDataset(files, buffer_size=READ_BUFFER)
        known = records.apply(tf.data.experimental.assert_cardinality(len(self.split(split))))
        return known.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)

    def pictures(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Batches of pictures alone in stored order, the last one as small as it comes."""
        pictures = self.examples(split).map(lambda picture, *_: picture)
        return pictures.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def views(self, split: str, view: int, batch_size: int, seed: int) -> tf.data.Dataset:
        """Batches of one augmented view of every picture in stored order: what `training` shows in epoch `view`."""

        def augmented(pictures: tf.Tensor, image_ids: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return augment(pictures, draw(image_ids, tf.constant(view, tf.int64), seed), self.augmentation)

        batches = self.examples(split).batch(batch_size)
        return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def labelled(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Batches of (pictures, labels) in stored order."""
        pairs = self.examples(split).map(lambda picture, _, truth: (picture, truth))
        return pairs.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def training(self, batch_size: int, epochs: int, seed: int) -> tf.data.Dataset:
        """Batches of (augmented pictures, labels) for all epochs on end, each epoch in its own order and view.

        What does not fill a batch at the end of an epoch is left for other epochs' orders to pick up.
        """
        steps = len(self.split("train")) // batch_size

        def augmented(step: tf.Tensor, batch: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, tf.Tensor]:
            pictures, image_ids, truth = batch
            return augment(pictures, draw(image_ids, step // steps, seed), self.augmentation), truth

        def opened(_: tf.Tensor) -> tf.data.Dataset:
            order = self.examples("train").shuffle(SHUFFLE_PICTURES, seed=seed, reshuffle_each_iteration=True)
            batches = order.batch(batch_size, drop_remainder=True).repeat(epochs).enumerate()
            return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)

        # Inside flat_map the orders begin anew whenever the stream is opened; on several devices Keras opens it twice.
        stream = tf.data.Dataset.range(1).flat_map(opened)
        return stream.apply(tf.data.experimental.assert_cardinality(epochs * steps)).prefetch(tf.data.AUTOTUNE)

    def _parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        fields = tf.io.parse_single_example(
            record,
            {
                "picture": tf.io.FixedLenFeature([], tf.string),
                "image_id": tf.io.FixedLenFeature([], tf.string),
                "labels": tf.io.FixedLenFeature([len(self.labels)], tf.float32),
            },
        )
        picture = tf.reshape(tf.io.decode_raw(fields["picture"], tf.uint8), [self.image_size, self.image_size, 1])
        return picture, fields["image_id"], fields["labels"]


def write_split(
    folder: Path, split: str, examples: Iterable[tuple[np.ndarray, str, np.ndarray]], count: int
) -> Iterator[int]:
    """Writes one split's shards from a stream and yields the number written so far after each picture.

    Args:
        examples: (uint8 [size, size, 1], id, float32 [labels]) each.
        count: an upper bound of their number; a last shard may stay empty.
    """
    stream, shards, written = iter(examples), max(1, -(-count // PICTURES_A_SHARD)), 0
    for shard in range(shards):
        with tf.io.TFRecordWriter(str(folder / f"{split}-{shard:05d}-of-{shards:05d}.tfrecord")) as writer:
            for picture, image_id, labels in itertools.islice(stream, PICTURES_A_SHARD):
                writer.write(_record(picture, image_id, labels))
                written += 1
                yield written


def write_description(folder: Path, rows: pd.DataFrame, augmentation: Augmentation, summary: dict[str, Any]) -> None:
    """Completes a folder of shards; `summary` needs `labels` and `image_size` and may hold more."""
    rows.to_parquet(folder / "rows.parquet", index=False)
    (folder / "augmentation.json").write_text(json.dumps(dataclasses.asdict(augmentation), indent=2))
    (folder / "shards.json").write_text(json.dumps(summary, indent=2))


def _record(picture: np.ndarray, image_id: str, labels: np.ndarray) -> bytes:
    def feature(data: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))

    features = {
        "picture": feature(picture.tobytes()),
        "image_id": feature(image_id.encode()),
        "labels": tf.train.Feature(float_list=tf.train.FloatList(value=labels)),
    }
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
