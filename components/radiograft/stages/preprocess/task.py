"""Preprocess: from the catalog's files to shards, as many workers as are asked for, each its own shards."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from radiograft import storage
from radiograft.config import Preprocess
from radiograft.config.data_policy import COLOR, REPORT, DataPolicy
from radiograft.data.catalog import Catalog, label_column
from radiograft.data.image_loader import LoadedImage, decode_rows
from radiograft.data.quality.image_checks import check_image
from radiograft.data.shards import files as shard_files
from radiograft.data.shards import row_status
from radiograft.data.shards.dataset import write_shard
from radiograft.data.shards.files import RECORDS_SUFFIX, Shard, layout_digest, plan_shards, shards_of_worker
from radiograft.data.shards.row_status import RowStatus
from radiograft.stages.preprocess import merge
from radiograft.training import checkpoints
from radiograft.training.checkpoints import Checkpoints

log = logging.getLogger(__name__)

KEY = "key"  # file that tells which work the shards of a folder are
SUFFIXES = (shard_files.RECORDS_SUFFIX, row_status.SUFFIX)  # of a shard's files; the one written last comes last


def run(settings: Preprocess, catalog_folder: Path, output: Path) -> None:
    """The whole stage on this machine, without pods; raises as `work` and `collect.run`."""
    part = output / "part"
    preprocess_share(settings, catalog_folder, part, Checkpoints(""))
    merge.run(settings, catalog_folder, [part], output)
    shutil.rmtree(part)


def preprocess_share(
    settings: Preprocess, catalog_folder: Path, part: Path, kept: Checkpoints, worker: int = 0
) -> None:
    """Decodes, resizes and stores the images of one worker's shards; those that an earlier attempt finished stay.

    Args:
        part: gets the shards and what became of their rows. The same catalog and settings give the same bytes,
            whatever was killed before.
        kept: where the next attempt finds this worker's finished shards if it finds `part` empty.
        worker: from 0 to preprocess_workers - 1.

    Raises:
        FileNotFoundError, ValueError: as `decode_rows`, or there is no such worker.
    """
    catalog = Catalog.read(catalog_folder)
    every = plan_shards(catalog.rows)
    mine = shards_of_worker(every, worker, settings.preprocess_workers)
    policy = dataclasses.asdict(settings.policy())
    finished = FinishedShards.open(part, kept, layout_digest(every), catalog.labels, settings.image_size, policy)
    missing = [shard for shard in mine if not finished.has(shard.name)]
    if len(missing) < len(mine):
        log.info("going on: %d of %d shards are there", len(mine) - len(missing), len(mine))
    for _, shards in itertools.groupby(missing, key=lambda shard: shard.name.partition("-")[0]):
        _write(list(shards), catalog.labels, settings, finished)


def _write(shards: Sequence[Shard], labels: Sequence[str], settings: Preprocess, finished: FinishedShards) -> None:
    """Writes shards in one pass over what their images are read from."""
    rows = pd.concat([shard.rows for shard in shards])
    decoded = decode_rows(rows, settings.image_size)
    for done, shard in enumerate(shards, 1):
        truth = shard.rows[[label_column(label) for label in labels]].to_numpy("float32")
        found: list[RowStatus] = []
        examples = _stored(
            shard.rows["image_id"], truth, itertools.islice(decoded, len(truth)), settings.policy(), found
        )
        write_shard(finished.folder / (shard.name + RECORDS_SUFFIX), examples)
        row_status.write(finished.folder / (shard.name + row_status.SUFFIX), shard.rows["image_id"], found)
        finished.copy(shard.name)
        log.debug("%s: %d of %d shards", shard.name.partition("-")[0], done, len(shards))


def _stored(
    image_ids: pd.Series[str],
    truth: np.ndarray,
    decoded: Iterator[LoadedImage],
    policy: DataPolicy,
    found: list[RowStatus],
) -> Iterator[tuple[np.ndarray, str, np.ndarray]]:
    """What a shard holds; what became of each row is added to `found`."""
    for image_id, present, each in zip(image_ids, truth, decoded, strict=True):
        found.append(check_loaded_image(each, policy))
        if found[-1].look is None or each.image is None:
            log.warning("  set aside %s: %s", image_id, found[-1].reasons[0])
        else:
            yield each.image, image_id, present


def check_loaded_image(decoded: LoadedImage, policy: DataPolicy) -> RowStatus:
    """What the policy makes of an image, or of why there is none."""
    mode = f"{decoded.mode} in color" if decoded.in_color else decoded.mode
    if decoded.image is None:
        return RowStatus(mode, (decoded.reason,))
    check = check_image(decoded.image)
    flaws = (*check.flaws, COLOR) if decoded.in_color else check.flaws
    excluding = next((flaw for flaw in flaws if policy.treatment(flaw) != REPORT), "")
    return RowStatus(mode, (excluding,)) if excluding else RowStatus(mode, flaws, check, decoded.pixels)


@dataclasses.dataclass(frozen=True)
class FinishedShards:
    """Shards in a folder and, for an attempt that finds the folder empty, copies in the object store."""

    folder: Path
    copies: Checkpoints

    @classmethod
    def open(cls, folder: Path, place: Checkpoints, *facts: object) -> Self:
        """Those of one piece of work; what other facts led to is removed from the folder.

        Args:
            facts: whatever the shards depend on, as JSON can hold it.
        """
        key = checkpoints.checkpoint_key(*facts)
        if not (folder / KEY).is_file() or (folder / KEY).read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            storage.write_bytes(str(folder / KEY), key.encode())
        return cls(folder, place.of("shards", *facts))

    def has(self, name: str) -> bool:
        """Whether a shard is whole; fetches it from the object store if that has it and the folder has not.

        One that was damaged there is not used, which is logged.
        """
        last = name + SUFFIXES[-1]
        if not (self.folder / last).exists() and self.copies.uri and storage.exists(self._copy(last)):
            self._fetch(name)
        return (self.folder / last).exists()

    def copy(self, name: str) -> None:
        """Copies a shard to the object store."""
        for file in (name + suffix for suffix in SUFFIXES if self.copies.uri):
            storage.write_bytes(self._copy(file), checkpoints.prepend_digest((self.folder / file).read_bytes()))

    def _fetch(self, name: str) -> None:
        for file in (name + suffix for suffix in SUFFIXES):
            content = checkpoints.verify_digest(self._copy(file))
            if content is None:
                return  # without its last file the shard is not there, and is made anew
            storage.write_bytes(str(self.folder / file), content)

    def _copy(self, file: str) -> str:
        return storage.join(self.copies.uri, file)
