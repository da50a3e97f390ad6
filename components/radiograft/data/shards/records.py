"""Records of shards: an image, its ID, its labels and, of a study, its lateral image, as a TFRecord."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.data.shards.files import atomic_write


class Example(NamedTuple):
    """What a record of a shard holds.

    Attributes:
        image: uint8 [size, size, channels].
        image_id: ID of the image.
        labels: float32 [labels].
        lateral: the second image of a study, like `image`, or None if it is missing.
        is_study: whether the record has a field for a second image.
    """

    image: np.ndarray
    image_id: str
    labels: np.ndarray
    lateral: np.ndarray | None = None
    is_study: bool = False


def add_laterals(
    examples: Iterable[Example], image_ids: Iterable[str], laterals: Iterable[np.ndarray | None]
) -> Iterator[Example]:
    """Yields the examples as studies.

    Args:
        examples: those of some of the rows, in their order.
        image_ids: IDs of all rows.
        laterals: the second image of each row, or None.
    """
    remaining = zip(image_ids, laterals, strict=True)
    for example in examples:
        lateral = next(image for image_id, image in remaining if image_id == example.image_id)
        yield example._replace(lateral=lateral, is_study=True)
    collections.deque(remaining, maxlen=0)  # laterals of rows at the end that are not stored are checked, too


def parse_fields(record: tf.Tensor, labels: int, *, has_lateral: bool) -> dict[str, tf.Tensor]:
    """Returns the fields of a record: `picture`, `image_id`, `labels` and, if it has one, `lateral`."""
    texts = ["picture", "image_id", *(["lateral"] if has_lateral else [])]
    features = {name: tf.io.FixedLenFeature([], tf.string) for name in texts}
    fields: dict[str, tf.Tensor] = tf.io.parse_single_example(
        record, features | {"labels": tf.io.FixedLenFeature([labels], tf.float32)}
    )
    return fields


def write_shard(path: Path, examples: Iterable[Example | tuple[np.ndarray, str, np.ndarray]]) -> None:
    """Writes a TFRecord file of examples atomically."""
    with atomic_write(path) as draft, tf.io.TFRecordWriter(str(draft)) as writer:
        for example in examples:
            writer.write(_serialize(Example(*example)))


def _serialize(example: Example) -> bytes:
    def feature(data: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))

    features = {
        "picture": feature(example.image.tobytes()),
        "image_id": feature(example.image_id.encode()),
        "labels": tf.train.Feature(float_list=tf.train.FloatList(value=example.labels)),
    }
    if example.is_study:
        features["lateral"] = feature(b"" if example.lateral is None else example.lateral.tobytes())
    record = tf.train.Example(features=tf.train.Features(feature=features))
    return bytes(record.SerializeToString(deterministic=True))  # otherwise the order differs by process
