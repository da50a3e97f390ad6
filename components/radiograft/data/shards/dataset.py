"""Shards: equally sized 8-bit images with id and labels in TFRecord files, and the rows they were made from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config.augmentation import Augmentation
from radiograft.data.catalog import label_column
from radiograft.data.shards.files import RECORDS_SUFFIX, atomic_write
from radiograft.imaging.augment import augment, draw_parameters

SHUFFLE_IMAGES = 4096
READ_BUFFER = 2**20  # bytes of the one file that is read
SMALL_READ_BUFFER = 2**16  # of each file, where all are read at once
FIELDS = {name: tf.io.FixedLenFeature([], tf.string) for name in ("picture", "image_id")}


@dataclasses.dataclass(frozen=True)
class Shards:
    """A folder of shards, which `shard_files.write_description` completed.

    `rows` are the catalog's rows of the images that could be decoded, split after split in the order in which
    they are stored; `boxes` (see `no_boxes`) are the catalog's, also of images that could not be decoded.
    """

    folder: Path
    rows: pd.DataFrame
    boxes: pd.DataFrame
    labels: tuple[str, ...]
    image_size: int
    augmentation: Augmentation
    summary: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Opens a folder; images are read later, as a stream."""
        summary = json.loads((folder / "shards.json").read_text())
        return cls(
            folder=folder,
            rows=pd.read_parquet(folder / "rows.parquet"),
            boxes=pd.read_parquet(folder / "boxes.parquet"),
            labels=tuple(summary["labels"]),
            image_size=summary["image_size"],
            augmentation=Augmentation(**json.loads((folder / "augmentation.json").read_text())),
            summary=summary,
        )

    def split(self, split: str) -> pd.DataFrame:
        """Rows of a split in stored order."""
        return self.rows[self.rows["split"] == split].reset_index(drop=True)

    def truth(self, split: str) -> np.ndarray:
        """Labels of a split in stored order, float32 [images, labels], 1 present and 0 absent."""
        return self.split(split)[[label_column(label) for label in self.labels]].to_numpy("float32")

    def examples(self, split: str) -> tf.data.Dataset:
        """Stream of (uint8 [size, size, 1], string id, float32 [labels]) in stored order."""
        return self._records(split).map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)

    def images(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Batches of images alone in stored order, the last one as small as it comes."""
        images = self.examples(split).map(lambda image, *_: image)
        return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def chosen(self, split: str, places: Sequence[int]) -> tf.data.Dataset:
        """Stream of the images at these places of the stored order, in that order: uint8 [size, size, 1]."""
        wanted = np.zeros(len(self.split(split)), dtype=bool)
        wanted[list(places)] = True
        records = self._records(split).enumerate().filter(lambda place, _: tf.gather(wanted, place))
        return records.map(lambda _, record: self._parse(record)[0])

    def views(self, split: str, view: int, batch_size: int, seed: int) -> tf.data.Dataset:
        """Batches of one augmented view of every image in stored order: what `training` shows in epoch `view`."""

        def augmented(images: tf.Tensor, image_ids: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
            return augment(images, draw_parameters(image_ids, tf.constant(view, tf.int64), seed), self.augmentation)

        batches = self.examples(split).batch(batch_size)
        return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def training(self, batch_size: int, epochs: range, seed: int) -> tf.data.Dataset:
        """Batches of (augmented images, labels) for these epochs on end, each in its own order and view, which depend
        on seed and epoch alone.

        What does not fill a batch at the end of an epoch is left for other epochs' orders to pick up.
        """

        def epoch_of(epoch: tf.Tensor) -> tf.data.Dataset:
            def augmented(images: tf.Tensor, ids: tf.Tensor, truth: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                return augment(images, draw_parameters(ids, epoch, seed), self.augmentation), truth

            batches = self._shuffled(epoch, seed).batch(batch_size, drop_remainder=True)
            return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)

        steps = len(epochs) * (len(self.split("train")) // batch_size)
        stream = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(epoch_of)
        return stream.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(tf.data.AUTOTUNE)

    def training_ids(self, batch_size: int, epoch: int, step: int, seed: int) -> list[str]:
        """Ids of the images that `training` puts into a step of an epoch, both counted from 0."""
        ids = self._shuffled(tf.constant(epoch, tf.int64), seed).map(lambda _, image_id, __: image_id)
        return [image_id.numpy().decode() for image_id in ids.skip(step * batch_size).take(batch_size)]

    def identity(self) -> dict[str, Any]:
        """What tells these shards from others: data, size, augmentation, and how many images could be decoded."""
        return {
            "fingerprint": self.summary["fingerprint"],
            "image_size": self.image_size,
            "augmentation": dataclasses.asdict(self.augmentation),
            "pictures": len(self.rows),
        }

    def _shuffled(self, epoch: tf.Tensor, seed: int) -> tf.data.Dataset:
        """Training examples in the order of an epoch; Dataset.shuffle itself takes no seed that is a tensor.

        Where they are more than are shuffled at a time, they come from all files in turn: in the stored order a class
        may follow the other.
        """
        records = self._records("train", in_turn=len(self.split("train")) > SHUFFLE_IMAGES)
        shuffled = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(records),
            buffer_size=SHUFFLE_IMAGES,
            seed=epoch,
            seed2=seed + 1,  # two zeros would stand for a random seed
            output_types=[tf.string],
            output_shapes=[[]],
            reshuffle_each_iteration=False,
        )
        in_order = tf.data.experimental.from_variant(shuffled, records.element_spec)
        return in_order.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)

    def _records(self, split: str, *, in_turn: bool = False) -> tf.data.Dataset:
        """A split's records, file after file, or one of each file in turn."""
        files = sorted(str(path) for path in self.folder.glob(f"{split}-*{RECORDS_SUFFIX}"))
        if in_turn:
            records = tf.data.Dataset.from_tensor_slices(files).interleave(
                lambda file: tf.data.TFRecordDataset(file, buffer_size=SMALL_READ_BUFFER), cycle_length=len(files)
            )
        else:
            records = tf.data.TFRecordDataset(files, buffer_size=READ_BUFFER)
        return records.apply(tf.data.experimental.assert_cardinality(len(self.split(split))))

    def _parse(self, record: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        fields = tf.io.parse_single_example(
            record,
            FIELDS | {"labels": tf.io.FixedLenFeature([len(self.labels)], tf.float32)},
        )
        image = tf.reshape(tf.io.decode_raw(fields["picture"], tf.uint8), [self.image_size, self.image_size, 1])
        return image, fields["image_id"], fields["labels"]


def write_shard(path: Path, examples: Iterable[tuple[np.ndarray, str, np.ndarray]]) -> None:
    """Writes a file of (uint8 [size, size, 1], id, float32 [labels]) each; it appears when the stream has ended."""
    with atomic_write(path) as draft, tf.io.TFRecordWriter(str(draft)) as writer:
        for image, image_id, labels in examples:
            writer.write(_record(image, image_id, labels))


def _record(image: np.ndarray, image_id: str, labels: np.ndarray) -> bytes:
    def feature(data: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))

    features = {
        "picture": feature(image.tobytes()),
        "image_id": feature(image_id.encode()),
        "labels": tf.train.Feature(float_list=tf.train.FloatList(value=labels)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(example.SerializeToString(deterministic=True))  # else each process has its own order of the features
