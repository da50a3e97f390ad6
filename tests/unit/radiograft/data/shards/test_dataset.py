"""Shards: exact round trip, and training streams that depend only on the seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.augmentation import Augmentation
from radiograft.data.shards.dataset import Shards
from radiograft.data.shards.files import copy_records, write_description
from radiograft.data.shards.records import write_shard
from radiograft.imaging.augment import augment, draw_parameters
from radiograft.imaging.geometry import ImageInput

SIZE = 8
TRAIN = 11
LABELS = ("Effusion", "Mass")


def images(count: int) -> np.ndarray:
    """Noise images whose first pixel is the number of the image, uint8 [count, SIZE, SIZE, 1]."""
    noise = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 1), dtype=np.uint8)
    noise[:, 0, 0, 0] = np.arange(count) % 256
    return noise


def rows_of(split: str, count: int) -> pd.DataFrame:
    numbers = np.arange(count)
    return pd.DataFrame(
        {
            "image_id": [f"{split}-{number}.png" for number in numbers],
            "split": split,
            "label:Effusion": (numbers % 2).astype(float),
            "label:Mass": (numbers % 3 == 0).astype(float),
        }
    )


def write(folder: Path, augmentation: Augmentation, **counts: int) -> Shards:
    """Writes and opens shards with this number of images in each split."""
    parts = [rows_of(split, count) for split, count in counts.items()]
    for split, part in zip(counts, parts, strict=True):
        truth = part[["label:Effusion", "label:Mass"]].to_numpy("float32")
        examples = zip(images(len(part)), part["image_id"], truth, strict=True)
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", examples)
    summary = {"labels": list(LABELS), "image_size": SIZE, "fingerprint": "abc", "more": {"kept": 1}}
    write_description(folder, pd.concat(parts, ignore_index=True), augmentation, summary)
    return Shards.read(folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Without augmentation."""
    return write(tmp_path_factory.mktemp("plain"), Augmentation(), train=TRAIN, validation=3, test=0)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The same images with augmentation."""
    augmentation = Augmentation(rotation_range=30, zoom_range=0.2, brightness_range="0.7:1.2")
    return write(tmp_path_factory.mktemp("varied"), augmentation, train=TRAIN)


def numbers(batches: tf.data.Dataset) -> Iterator[list[int]]:
    """Yields the image numbers of each batch of images without augmentation."""
    for batch, _ in batches.as_numpy_iterator():
        yield batch[:, 0, 0, 0].tolist()


def test_training_exceeding_shuffle_buffer_interleaves_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if files are read one after another: sorted data would be trained on class after class."""
    files, per_file = 8, 32
    rows = rows_of("train", files * per_file)
    examples = list(zip(images(len(rows)), rows["image_id"], np.zeros((len(rows), 2), "float32"), strict=True))
    for number in range(files):
        part = examples[number * per_file : (number + 1) * per_file]
        write_shard(tmp_path / f"train-{number:05d}-of-{files:05d}.tfrecord", part)
    summary = {"labels": list(LABELS), "image_size": SIZE, "fingerprint": "abc"}
    write_description(tmp_path, rows, Augmentation(), summary)
    monkeypatch.setattr("radiograft.data.shards.dataset.SHUFFLE_IMAGES", 16)
    batches = list(numbers(Shards.read(tmp_path).training(64, range(1), seed=0)))
    assert sorted(number for batch in batches for number in batch) == list(range(len(rows)))
    halves = [np.mean([number < len(rows) // 2 for number in batch]) for batch in batches]
    assert all(0.3 < half < 0.7 for half in halves)
    stored = [example[1] for example in Shards.read(tmp_path).examples("train").as_numpy_iterator()]
    assert stored == [image_id.encode() for image_id in rows["image_id"]]


def test_write_and_read_round_trips_in_order(plain: Shards) -> None:
    assert plain.labels == LABELS
    assert plain.image_size == SIZE
    assert plain.augmentation == Augmentation()
    assert plain.summary["more"] == {"kept": 1}
    stored, ids, truth = zip(*plain.examples("train").as_numpy_iterator(), strict=True)
    np.testing.assert_array_equal(stored, images(TRAIN))
    assert [image_id.decode() for image_id in ids] == [f"train-{number}.png" for number in range(TRAIN)]
    np.testing.assert_array_equal(truth, plain.truth("train"))


def test_soft_labels_are_stored_exactly_and_rows_have_their_class(tmp_path: Path) -> None:
    """The share trains the network; counts, metrics and tables see classes, and a tie is unknown."""
    shares = np.array([[2 / 3, 0.5], [1 / 3, 1.0], [0.0, 0.2]], "float32")
    rows = rows_of("train", 3)
    rows[["label:Effusion", "label:Mass"]] = np.array([[2 / 3, 0.5], [1 / 3, 1.0], [0.0, 0.2]])
    truth = rows[["label:Effusion", "label:Mass"]].to_numpy("float32")
    write_shard(tmp_path / "train-00000-of-00001.tfrecord", zip(images(3), rows["image_id"], truth, strict=True))
    summary = {"labels": list(LABELS), "image_size": SIZE, "fingerprint": "abc"}
    write_description(tmp_path, rows, Augmentation(), summary)
    data = Shards.read(tmp_path)
    np.testing.assert_array_equal(data.split_targets("train"), shares)
    np.testing.assert_array_equal([truth for *_, truth in data.examples("train").as_numpy_iterator()], shares)
    np.testing.assert_array_equal(data.truth("train"), [[1, np.nan], [0, 1], [0, 0]])
    assert data.split("train")["label:Mass"].fillna(-1).tolist() == [-1, 1, 0]


def test_split_and_truth_are_in_stored_order(plain: Shards) -> None:
    assert plain.split("validation")["image_id"].tolist() == [
        "validation-0.png",
        "validation-1.png",
        "validation-2.png",
    ]
    np.testing.assert_array_equal(plain.truth("validation"), [[0, 1], [1, 0], [0, 0]])
    assert plain.truth("validation").dtype == np.float32
    assert plain.truth("test").shape == (0, 2)


def test_augmentation_is_stored(varied: Shards) -> None:
    assert varied.augmentation == Augmentation(rotation_range=30, zoom_range=0.2, brightness_range="0.7:1.2")


@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, 15))
def test_images_batches_are_complete(plain: Shards, batch_size: int) -> None:
    batches = list(plain.images("train", batch_size).as_numpy_iterator())
    sizes = [len(batch) for batch in batches]
    assert sizes == [batch_size] * (TRAIN // batch_size) + [TRAIN % batch_size] * (TRAIN % batch_size > 0)
    np.testing.assert_array_equal(np.concatenate(batches), images(TRAIN))


def test_cardinality_is_known(plain: Shards) -> None:
    assert int(plain.examples("train").cardinality()) == TRAIN
    assert int(plain.images("train", 4).cardinality()) == 3


def test_examples_empty_split_is_empty(plain: Shards) -> None:
    assert list(plain.examples("test").as_numpy_iterator()) == []


def test_images_of_several_files_are_in_order(tmp_path: Path) -> None:
    rows = rows_of("train", 30)
    truth = rows[["label:Effusion", "label:Mass"]].to_numpy("float32")
    examples = list(zip(images(30), rows["image_id"], truth, strict=True))
    for number, part in enumerate((examples[:17], [], examples[17:])):
        write_shard(tmp_path / f"train-{number:05d}-of-00003.tfrecord", part)
    write_description(tmp_path, rows, Augmentation(), {"labels": list(LABELS), "image_size": SIZE})
    np.testing.assert_array_equal(np.concatenate(list(Shards.read(tmp_path).images("train", 7))), images(30))


def test_write_shard_error_leaves_no_file(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[np.ndarray, str, np.ndarray]]:
        yield images(1)[0], "a.png", np.zeros(2, np.float32)
        raise ConnectionError("no store")

    with pytest.raises(ConnectionError, match="no store"):
        write_shard(tmp_path / "train-00000-of-00001.tfrecord", failing())
    assert [path.name for path in tmp_path.glob("*.tfrecord") if not path.name.startswith(".")] == []


@settings(max_examples=20, deadline=None)
@given(keep=st.lists(st.booleans(), max_size=12))
def test_copy_records_keeps_selected_bytes(tmp_path_factory: pytest.TempPathFactory, keep: list[bool]) -> None:
    folder = tmp_path_factory.mktemp("copy")
    names = [f"{number}.png" for number in range(len(keep))]
    examples = list(zip(images(len(keep)), names, np.zeros((len(keep), 2), np.float32), strict=True))
    write_shard(folder / "whole.tfrecord", examples)
    write_shard(folder / "expected.tfrecord", [example for example, kept in zip(examples, keep, strict=True) if kept])
    copy_records(folder / "whole.tfrecord", folder / "copy.tfrecord", keep)
    assert (folder / "copy.tfrecord").read_bytes() == (folder / "expected.tfrecord").read_bytes()


@pytest.mark.parametrize("count", [2, 4])
def test_copy_records_wrong_count_raises(tmp_path: Path, count: int) -> None:
    examples = zip(images(3), "abc", np.zeros((3, 2), np.float32), strict=True)
    write_shard(tmp_path / "whole.tfrecord", examples)
    with pytest.raises(ValueError, match="zip"):
        copy_records(tmp_path / "whole.tfrecord", tmp_path / "copy.tfrecord", [True] * (count - 1) + [False])
    assert not (tmp_path / "copy.tfrecord").exists()


def test_training_epochs_differ_and_drop_remainder(plain: Shards) -> None:
    batches = list(numbers(plain.training(batch_size=4, epochs=range(3), seed=0)))
    assert [len(batch) for batch in batches] == [4] * 6  # 3 of 11 images are dropped in each epoch
    epochs = [batches[0] + batches[1], batches[2] + batches[3], batches[4] + batches[5]]
    assert all(len(set(epoch)) == 8 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert len({frozenset(epoch) for epoch in epochs}) == 3  # different images are dropped each time


def test_training_labels_match_images(plain: Shards) -> None:
    truth = plain.truth("train")
    for batch, labels in plain.training(batch_size=4, epochs=range(2), seed=1).as_numpy_iterator():
        np.testing.assert_array_equal(labels, truth[batch[:, 0, 0, 0]])


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_training_order_depends_on_seed(plain: Shards, seed: int) -> None:
    once, again, other = (list(numbers(plain.training(5, range(2), chosen))) for chosen in (seed, seed, seed + 1))
    assert once == again
    assert once != other


def test_training_iterated_twice_is_equal(plain: Shards) -> None:
    stream = plain.training(batch_size=4, epochs=range(3), seed=0)
    assert int(stream.cardinality()) == 6
    assert list(numbers(stream)) == list(numbers(stream))


@pytest.mark.parametrize("first", [0, 1, 3])
def test_training_resumed_equals_uninterrupted(varied: Shards, first: int) -> None:
    whole = list(varied.training(4, range(4), seed=7).as_numpy_iterator())
    rest = list(varied.training(4, range(first, 4), seed=7).as_numpy_iterator())
    assert len(rest) == len(whole) - 2 * first  # two steps per epoch
    for (batch, truth), (again, labels) in zip(whole[2 * first :], rest, strict=True):
        np.testing.assert_array_equal(batch, again)
        np.testing.assert_array_equal(truth, labels)


def test_training_ids_match_batches(plain: Shards) -> None:
    batches = list(numbers(plain.training(4, range(3), seed=5)))
    named = [plain.training_ids(4, epoch, step, seed=5) for epoch in range(3) for step in range(2)]
    assert named == [[f"train-{number}.png" for number in batch] for batch in batches]


def test_identity_depends_on_data_task_size_and_augmentation(plain: Shards, varied: Shards, tmp_path: Path) -> None:
    again = write(tmp_path, Augmentation(), train=TRAIN, validation=3, test=0)
    assert again.identity() == plain.identity()
    others = [
        dataclasses.replace(plain, summary=plain.summary | {"fingerprint": "abd"}),
        dataclasses.replace(plain, summary=plain.summary | {"task": "multiclass"}),
        dataclasses.replace(plain, image_input=ImageInput(SIZE + 1)),
        dataclasses.replace(plain, augmentation=varied.augmentation),
        dataclasses.replace(plain, rows=plain.rows[1:]),
    ]
    assert plain.identity() not in [other.identity() for other in others]


def test_training_epochs_show_different_views(plain: Shards, varied: Shards) -> None:
    originals, ids = tf.constant(images(TRAIN)), tf.constant([f"train-{number}.png" for number in range(TRAIN)])
    orders = list(numbers(plain.training(batch_size=5, epochs=range(3), seed=2)))
    stream = varied.training(batch_size=5, epochs=range(3), seed=2).as_numpy_iterator()
    for step, (order, (batch, _)) in enumerate(zip(orders, stream, strict=True)):
        epoch = tf.constant(step // 2, tf.int64)  # two steps of five images
        views = augment(originals, draw_parameters(ids, epoch, seed=2), varied.augmentation).numpy()
        np.testing.assert_array_equal(batch, views[order])
        assert (batch != images(TRAIN)[order]).any()


def test_images_are_not_augmented(varied: Shards) -> None:
    np.testing.assert_array_equal(np.concatenate(list(varied.images("train", 4))), images(TRAIN))


@pytest.mark.parametrize("places", [[], [0], [10], [1, 4, 9], list(range(TRAIN))])
def test_chosen_returns_images_in_stored_order(plain: Shards, places: list[int]) -> None:
    chosen = list(plain.chosen("train", places).as_numpy_iterator())
    assert [image[0, 0, 0] for image in chosen] == places
    for place, image in zip(places, chosen, strict=True):
        np.testing.assert_array_equal(image, images(TRAIN)[place])


def test_read_without_boxes_returns_empty_table(plain: Shards) -> None:
    assert list(plain.boxes) == ["image_id", "finding", "x", "y", "width", "height"]
    assert len(plain.boxes) == 0
