"""Preprocess stage: converts the files of a catalog to shards. Several workers share the shards."""

from __future__ import annotations

import dataclasses
import itertools
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from radiograft import storage
from radiograft.config import Preprocess
from radiograft.config.data_policy import COLOR, INVERTED, REPORT, DataPolicy
from radiograft.data import color, gray_range, studies
from radiograft.data.catalog import Catalog, label_column
from radiograft.data.enlargement import find_enlargement
from radiograft.data.image_loader import LoadedImage, decode_in_order, decode_rows
from radiograft.data.quality.image_checks import check_image
from radiograft.data.shards import files as shard_files
from radiograft.data.shards import row_status
from radiograft.data.shards.files import RECORDS_SUFFIX, Shard, layout_digest, plan_shards, shards_of_worker
from radiograft.data.shards.records import Example, add_laterals, write_shard
from radiograft.data.shards.row_status import RowStatus
from radiograft.imaging.geometry import GRAY, ImageInput, without_borders
from radiograft.stages.preprocess import merge
from radiograft.training import checkpoints
from radiograft.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)

KEY = "key"  # file that identifies the data and settings of the shards in a folder
SUFFIXES = (shard_files.RECORDS_SUFFIX, row_status.SUFFIX)  # files of a shard in the order of writing


def run(settings: Preprocess, catalog_folder: Path, output: Path) -> None:
    """Runs the whole stage in this process. Raises as `preprocess_share` and `merge.run`."""
    part = output / "part"
    preprocess_share(settings, catalog_folder, part, Checkpoints(""))
    merge.run(settings, catalog_folder, [part], output)
    shutil.rmtree(part)


def preprocess_share(
    settings: Preprocess, catalog_folder: Path, part: Path, kept: Checkpoints, worker: int = 0
) -> None:
    """Decodes, resizes and stores the images of one worker, resuming after the shards of an earlier attempt.

    Args:
        settings: settings of the stage.
        catalog_folder: folder of the catalog.
        part: output folder of the shards and the status of their rows. The same catalog and settings give identical
            bytes, also after interruptions.
        kept: where finished shards are copied for the next attempt, which may start with an empty `part`.
        worker: number of the worker, from 0 to preprocess_workers - 1.

    Raises:
        FileNotFoundError, ValueError: as `decode_rows` and `choose_input`, or `worker` is out of range.
    """
    catalog = Catalog.read(catalog_folder)
    all_shards = plan_shards(catalog.rows)
    own_shards = shards_of_worker(all_shards, worker, settings.preprocess_workers)
    sample = color.ColorSample() if settings.channels() else color.sample_colors(catalog.rows)
    target = choose_input(settings, studies.images_of(catalog.rows), settings.channels() or sample.channels)
    policy = dataclasses.asdict(settings.policy())
    finished = FinishedShards.open(part, kept, layout_digest(all_shards), catalog.labels, target, policy)
    (part / gray_range.FILE).write_text(json.dumps(target.gray_range))
    (part / color.FILE).write_text(json.dumps({"channels": target.channels, "sample": sample}))
    missing = [shard for shard in own_shards if not finished.has(shard.name)]
    if len(missing) < len(own_shards):
        log.info("resuming: %d of %d shards are finished", len(own_shards) - len(missing), len(own_shards))
    for _, shards in itertools.groupby(missing, key=_split_of):
        _write_shards(list(shards), catalog.labels, settings.policy(), target, finished)


def choose_input(settings: Preprocess, rows: pd.DataFrame, channels: int) -> ImageInput:
    """Returns how images are converted. All workers choose the same range of gray values.

    Raises:
        FileNotFoundError: as `find_enlargement`.
        ValueError: hue or saturation are to be augmented, and the images are gray; or as `find_enlargement`.
    """
    settings.augmentation().check_channels(channels)
    chosen = settings.gray_range() or gray_range.measure(rows)
    if chosen:
        log.info("16-bit images: gray values from %d to %d are scaled to 8 bits", *chosen)
    reduced, enlargement = settings.image_reduced_jpeg, find_enlargement(settings, channels)
    return ImageInput(settings.stored_size, settings.image_resize, chosen, channels, reduced, enlargement)


def _split_of(shard: Shard) -> str:
    return shard.name.partition("-")[0]


def _write_shards(
    shards: Sequence[Shard], labels: Sequence[str], policy: DataPolicy, target: ImageInput, finished: FinishedShards
) -> None:
    """Writes shards in one pass over their source files and archives."""
    rows = pd.concat([shard.rows for shard in shards])
    decoded = decode_rows(rows, target)
    for done, shard in enumerate(shards, 1):
        truth = shard.rows[[label_column(label) for label in labels]].to_numpy("float32")
        statuses, lateral_statuses = list[RowStatus](), list[RowStatus]()
        images = itertools.islice(decoded, len(truth))
        examples = _select_examples(shard.rows["image_id"], truth, images, policy, target, statuses)
        if "lateral" in shard.rows:
            laterals = _select_laterals(shard.rows, policy, target, lateral_statuses)
            examples = add_laterals(examples, shard.rows["image_id"], laterals)
        write_shard(finished.folder / (shard.name + RECORDS_SUFFIX), examples)
        image_ids, all_statuses = studies.images_of(shard.rows)["image_id"], statuses + lateral_statuses
        row_status.write(finished.folder / (shard.name + row_status.SUFFIX), image_ids, all_statuses)
        finished.copy(shard.name)
        log.debug("%s: %d of %d shards", _split_of(shard), done, len(shards))


def _select_examples(
    image_ids: pd.Series[str],
    truth: np.ndarray,
    decoded: Iterator[LoadedImage],
    policy: DataPolicy,
    target: ImageInput,
    statuses: list[RowStatus],
) -> Iterator[Example]:
    """Yields the examples to store in a shard, and appends the status of each row to `statuses`."""
    for image_id, labels, loaded in zip(image_ids, truth, decoded, strict=True):
        status = check_loaded_image(loaded, policy, target)
        statuses.append(status)
        if status.look is None or loaded.image is None:
            log.warning("  excluded %s: %s", image_id, status.reasons[0])
        else:
            yield Example(loaded.image, image_id, labels)


def _select_laterals(
    rows: pd.DataFrame, policy: DataPolicy, target: ImageInput, statuses: list[RowStatus]
) -> Iterator[np.ndarray | None]:
    """Yields the lateral image of each row, None without a usable one, and appends the status of each image.

    The check for inverted images, which knows frontal radiographs, does not apply.
    """
    second = studies.images_of(rows)[len(rows) :]
    loaded = decode_in_order(second, target)
    for lateral_id in rows["lateral_id"].mask(rows["lateral"].isna()):
        if pd.isna(lateral_id):
            yield None
            continue
        image = next(loaded)
        status = check_loaded_image(image, policy, target, is_frontal=False)
        statuses.append(status)
        if status.look is None:
            log.warning("  excluded %s: %s", lateral_id, status.reasons[0])
        yield None if status.look is None else image.image


def check_loaded_image(
    decoded: LoadedImage, policy: DataPolicy, target: ImageInput, *, is_frontal: bool = True
) -> RowStatus:
    """Checks a loaded image and applies the data policy to its defects."""
    mode = f"{decoded.mode}{color.IN_COLOR}" if decoded.in_color else decoded.mode
    if decoded.image is None:
        return RowStatus(mode, (decoded.reason,))
    check = check_image(without_borders(decoded.image, decoded.height, decoded.width, target))
    found = tuple(flaw for flaw in check.flaws if is_frontal or flaw != INVERTED)
    flaws = (*found, COLOR) if decoded.in_color and target.channels == GRAY else found
    for flaw in flaws:
        if policy.treatment(flaw) != REPORT:
            return RowStatus(mode, (flaw,))
    return RowStatus(mode, flaws, check, decoded.height, decoded.width)


@dataclasses.dataclass(frozen=True)
class FinishedShards:
    """Finished shards in a folder, with copies in object storage for an attempt that starts with an empty folder.

    Attributes:
        folder: folder of the shards.
        copies: where copies are stored.
    """

    folder: Path
    copies: Checkpoints

    @classmethod
    def open(cls, folder: Path, place: Checkpoints, *facts: object) -> Self:
        """Opens the finished shards of a run. Shards made from other inputs are removed from the folder.

        Args:
            folder: folder of the shards.
            place: root of the copies.
            facts: everything the shards depend on, serializable as JSON.
        """
        key = checkpoints.checkpoint_key(*facts)
        if not (folder / KEY).is_file() or (folder / KEY).read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            storage.write_bytes(str(folder / KEY), key.encode())
        return cls(folder, place.of("shards", *facts))

    def has(self, name: str) -> bool:
        """Returns whether a shard is complete, after fetching its copy if it is missing from the folder.

        A corrupt copy is logged and not used.
        """
        last = name + SUFFIXES[-1]
        if not (self.folder / last).exists() and self.copies.uri and storage.exists(self._copy_uri(last)):
            self._fetch(name)
        return (self.folder / last).exists()

    def copy(self, name: str) -> None:
        """Copies a shard to object storage."""
        for file in (name + suffix for suffix in SUFFIXES if self.copies.uri):
            storage.write_bytes(self._copy_uri(file), checkpoints.prepend_digest((self.folder / file).read_bytes()))

    def _fetch(self, name: str) -> None:
        for file in (name + suffix for suffix in SUFFIXES):
            content = checkpoints.verify_digest(self._copy_uri(file))
            if content is None:
                return  # without its last file, the shard is incomplete and is written again
            storage.write_bytes(str(self.folder / file), content)

    def _copy_uri(self, file: str) -> str:
        return storage.join(self.copies.uri, file)
