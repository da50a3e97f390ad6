"""Shards: 8-bit images, gray or RGB, of equal size with IDs and labels in TFRecord files, and their catalog rows."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config.augmentation import Augmentation
from radiograft.config.data import MULTILABEL, REGRESSION
from radiograft.config.preprocessing import STRETCH
from radiograft.data.catalog import label_column, with_classes
from radiograft.data.shards.files import RECORDS_SUFFIX
from radiograft.data.shards.records import parse_fields
from radiograft.imaging.augment import augment, draw_parameters
from radiograft.imaging.geometry import GRAY, Enlargement, ImageInput, as_range
from radiograft.imaging.views import FRONTAL, LATERAL
from radiograft.registry.results import DataSummary

SHUFFLE_IMAGES = 4096
READ_BUFFER = 2**20  # bytes, if files are read one after another
SMALL_READ_BUFFER = 2**16  # bytes per file, if all files are read in parallel


@dataclasses.dataclass(frozen=True)
class Shards:
    """A folder of shards completed by `files.write_description`.

    Attributes:
        folder: the folder.
        rows: catalog rows of the stored images, split after split in stored order. Soft labels are replaced by their
            class, see `majority_class`.
        targets: labels that training learns, float32 [images, labels]: 0 to 1, of `regression` any number, NaN where
            unknown.
        boxes: bounding boxes of the catalog (see `no_boxes`), including those of images that are not stored.
        labels: names of the labels.
        image_input: size of the images, and how they were converted.
        augmentation: augmentation of training images.
        summary: contents of shards.json.
        further: further inputs of the network beside the image by name, such as encoded patient data, each float32
            [images, ...] with the order of `rows`.
        roles: the images of a study that are streamed: FRONTAL, LATERAL or both, then as a tuple. A missing lateral
            image is zeros, as are all of them if the data are single images.
    """

    folder: Path
    rows: pd.DataFrame
    targets: np.ndarray
    boxes: pd.DataFrame
    labels: tuple[str, ...]
    image_input: ImageInput
    augmentation: Augmentation
    summary: DataSummary
    further: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    roles: tuple[str, ...] = (FRONTAL,)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Opens a folder of shards. Images are streamed when needed."""
        summary = json.loads((folder / "shards.json").read_text())
        rows = pd.read_parquet(folder / "rows.parquet")
        return cls(
            folder=folder,
            rows=rows if summary.get("task") == REGRESSION else with_classes(rows, summary["labels"]),
            targets=rows[list(map(label_column, summary["labels"]))].to_numpy("float32"),
            boxes=pd.read_parquet(folder / "boxes.parquet"),
            labels=tuple(summary["labels"]),
            image_input=ImageInput(
                summary["image_size"],
                summary.get("image_resize", STRETCH),
                as_range(summary.get("gray_range")),
                summary.get("image_channels", GRAY),
                summary.get("image_reduced_jpeg", False),
                Enlargement(**summary["image_enlarged_by"]) if "image_enlarged_by" in summary else None,
            ),
            augmentation=Augmentation(**json.loads((folder / "augmentation.json").read_text())),
            summary=summary,
        )

    @property
    def task(self) -> str:
        """What is learned from the labels, one of `radiograft.config.data.TASKS`."""
        return self.summary.get("task", MULTILABEL)

    @property
    def image_size(self) -> int:
        """Width and height in pixels."""
        return self.image_input.size

    @property
    def network_size(self) -> int:
        """Width and height in pixels to which a network shrinks the images."""
        return self.summary.get("network_size", self.image_size)

    def split(self, split: str) -> pd.DataFrame:
        """Returns the rows of a split in stored order."""
        return self.rows[self.rows["split"] == split].reset_index(drop=True)

    def split_targets(self, split: str) -> np.ndarray:
        """Returns the labels that training learns, in stored order, float32 [images, labels]: 0 to 1, or NaN."""
        return self.targets[self.rows["split"].eq(split).to_numpy()]

    def truth(self, split: str) -> np.ndarray:
        """Returns the classes of a split in stored order, float32 [images, labels]: 1 present, 0 absent, or NaN.

        Of `regression`, the numbers.
        """
        return self.split(split)[[label_column(label) for label in self.labels]].to_numpy("float32")

    def examples(self, split: str) -> tf.data.Dataset:
        """Streams (uint8 [size, size, channels], string image ID, float32 [labels]) in stored order."""
        return self._records(split).map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)

    def images(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Streams batches of images in stored order, uint8 [batch, size, size, channels]; the last may be smaller."""
        images = self.examples(split).map(lambda image, *_: image)
        return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def inputs(self, split: str, batch_size: int) -> tf.data.Dataset:
        """Streams batches of the network's inputs in stored order: images, or a tuple of images and further inputs."""
        batches = self.examples(split).batch(batch_size)
        return batches.map(lambda images, ids, _: self._join(images, ids)).prefetch(tf.data.AUTOTUNE)

    def chosen_inputs(self, split: str, places: Sequence[int], batch_size: int) -> tf.data.Dataset:
        """Streams batches of the network's inputs at these indices in stored order, as `inputs` does; see `chosen`."""
        records = self._chosen_records(split, places)
        batches = records.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
        return batches.map(lambda images, ids, _: self._join(images, ids)).prefetch(tf.data.AUTOTUNE)

    def further_of(self, split: str) -> list[np.ndarray]:
        """Returns the further inputs of a split in stored order, each float32 [images, ...]."""
        return [values[self.rows["split"].eq(split).to_numpy()] for values in self.further.values()]

    def chosen(self, split: str, places: Sequence[int]) -> tf.data.Dataset:
        """Streams the images at these indices in stored order, uint8 [size, size, channels].

        Args:
            split: name of the split.
            places: indices into the rows of the split. The images follow the stored order, whatever their order here.
        """
        return self._chosen_records(split, places).map(lambda record: self._parse(record)[0])

    def copies(self, split: str, copy: int, batch_size: int, seed: int) -> tf.data.Dataset:
        """Streams one augmented copy of each image in stored order: the copies that `training` uses in epoch `copy`."""

        def augmented(images: Any, image_ids: tf.Tensor, _: tf.Tensor) -> Any:
            return self._augment(images, image_ids, tf.constant(copy, tf.int64), seed)

        batches = self.examples(split).batch(batch_size)
        return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def training(self, batch_size: int, epochs: range, seed: int) -> tf.data.Dataset:
        """Streams batches of (augmented images, labels) over these epochs; see `inputs` for further inputs.

        Each epoch has its own order and augmented copies, which depend only on seed and epoch. The incomplete batch at
        the end of an epoch is dropped.
        """

        def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
            def augmented(images: Any, ids: tf.Tensor, truth: tf.Tensor) -> tuple[Any, tf.Tensor]:
                return self._join(self._augment(images, ids, epoch, seed), ids), truth

            batches = self._shuffled(epoch, seed).batch(batch_size, drop_remainder=True)
            return batches.map(augmented, num_parallel_calls=tf.data.AUTOTUNE)

        steps = len(epochs) * (len(self.split("train")) // batch_size)
        stream = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(epoch_batches)
        return stream.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(tf.data.AUTOTUNE)

    def training_ids(self, batch_size: int, epoch: int, step: int, seed: int) -> list[str]:
        """Returns the IDs of the images in a training step. Epochs and steps are counted from 0."""
        ids = self._shuffled(tf.constant(epoch, tf.int64), seed).map(lambda _, image_id, __: image_id)
        return [image_id.numpy().decode() for image_id in ids.skip(step * batch_size).take(batch_size)]

    def identity(self) -> dict[str, Any]:
        """Returns what identifies these shards: data, task, image size, augmentation and number of stored images."""
        return {
            "fingerprint": self.summary["fingerprint"],
            "task": self.task,
            "image_input": self.image_input,
            **({"network_size": self.network_size} if self.network_size != self.image_size else {}),
            "augmentation": dataclasses.asdict(self.augmentation),
            "pictures": len(self.rows),
            **({} if self.roles == (FRONTAL,) else {"roles": self.roles}),
            **{f"further:{name}": _digest(values) for name, values in self.further.items()},
        }

    @functools.cached_property
    def _positions(self) -> tf.lookup.StaticHashTable:
        """Position in `rows` by image ID."""
        ids, positions = self.rows["image_id"].tolist(), np.arange(len(self.rows))
        with tf.init_scope():  # not in the graph of the dataset that is first to read it
            return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(ids, positions), default_value=-1)

    def _join(self, images: Any, ids: tf.Tensor) -> Any:
        """Returns a batch of images, with a tuple of the further inputs of these images if there are some."""
        if not self.further:
            return images
        streamed = images if isinstance(images, tuple) else (images,)
        positions = self._positions.lookup(ids)
        return (*streamed, *(tf.gather(values, positions) for values in self.further.values()))

    def _augment(self, images: Any, ids: tf.Tensor, epoch: tf.Tensor, seed: int) -> Any:
        """Augments a batch of images. Those of a study are augmented independently; a missing one stays zeros."""
        streamed = images if isinstance(images, tuple) else (images,)
        augmented = tuple(
            augment(batch, draw_parameters(ids, epoch, seed), self.augmentation)
            if role == FRONTAL
            else augment(batch, draw_parameters(ids + f" {role}", epoch, seed), self.augmentation)
            * tf.cast(tf.reduce_any(batch > 0, axis=(1, 2, 3), keepdims=True), batch.dtype)
            for role, batch in zip(self.roles, streamed, strict=True)
        )
        return augmented if len(augmented) > 1 else augmented[0]

    def _shuffled(self, epoch: tf.Tensor, seed: int) -> tf.data.Dataset:
        """Returns the training examples in the order of an epoch.

        It calls the raw operation because `Dataset.shuffle` does not accept a tensor as seed. If the images exceed the
        shuffle buffer, all files are interleaved: the stored order may be sorted by class.
        """
        records = self._records("train", interleave=len(self.split("train")) > SHUFFLE_IMAGES)
        shuffled = tf.raw_ops.ShuffleDataset(
            input_dataset=tf.data.experimental.to_variant(records),
            buffer_size=SHUFFLE_IMAGES,
            seed=epoch,
            seed2=seed + 1,  # two zeros would mean a random seed
            output_types=[tf.string],
            output_shapes=[[]],
            reshuffle_each_iteration=False,
        )
        dataset = tf.data.experimental.from_variant(shuffled, records.element_spec)
        return dataset.map(self._parse, num_parallel_calls=tf.data.AUTOTUNE)

    def _records(self, split: str, *, interleave: bool = False) -> tf.data.Dataset:
        """Returns the records of a split, file after file or interleaved."""
        files = sorted(str(path) for path in self.folder.glob(f"{split}-*{RECORDS_SUFFIX}"))
        if interleave:
            records = tf.data.Dataset.from_tensor_slices(files).interleave(
                lambda file: tf.data.TFRecordDataset(file, buffer_size=SMALL_READ_BUFFER), cycle_length=len(files)
            )
        else:
            records = tf.data.TFRecordDataset(files, buffer_size=READ_BUFFER)
        return records.apply(tf.data.experimental.assert_cardinality(len(self.split(split))))

    def _chosen_records(self, split: str, places: Sequence[int]) -> tf.data.Dataset:
        selected = np.zeros(len(self.split(split)), dtype=bool)
        selected[list(places)] = True
        numbered = self._records(split).enumerate().filter(lambda index, _: tf.gather(selected, index))
        return numbered.map(lambda _, record: record)

    def _parse(self, record: tf.Tensor) -> tuple[Any, tf.Tensor, tf.Tensor]:
        fields = parse_fields(record, len(self.labels), has_lateral=LATERAL in self.roles and LATERAL in self.rows)
        images = tuple(self._image(fields, role) for role in self.roles)
        return images if len(images) > 1 else images[0], fields["image_id"], fields["labels"]

    def _image(self, fields: dict[str, tf.Tensor], role: str) -> tf.Tensor:
        """Returns the frontal or lateral image of a record, zeros if it is missing."""
        shape = [self.image_size, self.image_size, self.image_input.channels]
        if role not in (FRONTAL, *fields):
            return tf.zeros(shape, tf.uint8)
        content = fields["picture" if role == FRONTAL else role]
        if role == LATERAL:
            is_missing = (tf.strings.length(content) == 0) | tf.reduce_any(fields["image_id"] == self._without_lateral)
            content = tf.where(is_missing, tf.constant(bytes(math.prod(shape))), content)
        return tf.reshape(tf.io.decode_raw(content, tf.uint8), shape)

    @functools.cached_property
    def _without_lateral(self) -> np.ndarray:
        """IDs of the rows whose lateral image was excluded after it was stored."""
        excluded = self.rows["lateral"].isna() & self.rows["lateral_id"].notna()
        return self.rows["image_id"][excluded].to_numpy(dtype="bytes")


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()
