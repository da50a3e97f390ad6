"""Preprocess: from the catalogue's files to shards, a contact sheet and the augmentation as data."""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from components import npz, shards, storage
from components.config import Preprocess
from components.imaging.decode import decode, encode, inspect
from components.preprocess.contact_sheet import contact_sheet
from components.records import (
    SPLITS,
    Catalogue,
    check_classes,
    count_splits,
    exclusion,
    label_column,
    summarise_exclusions,
)
from components.settings_record import record_settings
from components.stage import log

DECODERS = 4
READ_AHEAD = 32


class Decoded(NamedTuple):
    """A picture, or why there is none."""

    picture: np.ndarray | None
    reason: str
    mode: str


def run(settings: Preprocess, catalogue_folder: Path, output: Path) -> None:
    """Decodes, resizes and stores every picture of the catalogue; one that cannot be read is set aside and counted.

    Raises:
        ValueError: so many pictures were unreadable that a class is empty.
    """
    catalogue = Catalogue.read(catalogue_folder)
    output.mkdir(parents=True, exist_ok=True)
    kept, excluded, modes = [], [catalogue.excluded], collections.Counter[str]()
    for split in SPLITS:
        rows = catalogue.rows[catalogue.rows["split"] == split].reset_index(drop=True)
        outcome = _write_split(rows, split, catalogue.labels, settings.image_size, output)
        reasons = pd.Series([decoded.reason for decoded in outcome], dtype="string")
        modes.update(decoded.mode for decoded in outcome if decoded.mode)
        kept.append(rows[reasons == ""])
        excluded += [exclusion(rows["image_id"][reasons == r], r) for r in sorted(set(reasons) - {""})]
    rows = pd.concat(kept, ignore_index=True)
    summary = _summary(settings, catalogue, rows, pd.concat(excluded, ignore_index=True), modes)
    augmentation = settings.augmentation()
    record_settings(output, settings, catalogue_folder)
    shards.write_description(output, rows, augmentation, summary)
    contact_sheet(shards.Shards.read(output), settings.train_seed, output / "contact_sheet.png")


def _summary(
    settings: Preprocess,
    catalogue: Catalogue,
    rows: pd.DataFrame,
    excluded: pd.DataFrame,
    modes: collections.Counter[str],
) -> dict[str, Any]:
    return {
        "labels": list(catalogue.labels),
        "image_size": settings.image_size,
        "source": catalogue.source,
        "fingerprint": catalogue.fingerprint(),
        "splits": count_splits(rows, catalogue.labels),
        "notes": [*catalogue.notes, *check_classes(rows, catalogue.labels)],
        "excluded": summarise_exclusions(excluded),
        "converted": {mode: count for mode, count in sorted(modes.items()) if mode != "L"},
    }


def _write_split(rows: pd.DataFrame, split: str, labels: tuple[str, ...], size: int, output: Path) -> list[Decoded]:
    """Stores a split and returns what became of each row, without the pictures."""
    outcome: list[Decoded] = []
    truth = rows[[label_column(label) for label in labels]].to_numpy("float32")

    def readable() -> Iterator[tuple[np.ndarray, str, np.ndarray]]:
        found = zip(rows["uri"], rows["md5"], npz.pick(rows["uri"]), strict=True)
        decoded_rows = in_order(lambda picture: load(*picture, size=size), found)
        for image_id, present, decoded in zip(rows["image_id"], truth, decoded_rows, strict=True):
            outcome.append(decoded._replace(picture=None))
            if decoded.picture is None:
                log.warning("  set aside %s: %s", image_id, decoded.reason)
            else:
                yield decoded.picture, image_id, present

    for written in shards.write_split(output, split, readable(), len(rows)):
        if written % 500 == 0:
            log.debug("%s: %d of %d pictures", split, written, len(rows))
    log.info("%s: %d pictures stored, %d set aside", split, *_counted(outcome))
    return outcome


def _counted(outcome: list[Decoded]) -> tuple[int, int]:
    stored = sum(decoded.reason == "" for decoded in outcome)
    return stored, len(outcome) - stored


def load(uri: str, md5: str, pixels: np.ndarray | None = None, *, size: int) -> Decoded:
    """Reads and decodes one picture, never raising for what is wrong with the picture itself.

    Args:
        pixels: uint8 [height, width] or [height, width, 3] of a picture that is no file of its own. It takes the way of
            all others as a PNG, so that colour becomes the same grey and its size has the same bound.
    """
    try:
        content = storage.read_bytes(uri) if pixels is None else pixels.tobytes()
    except FileNotFoundError:
        return Decoded(None, "gone since ingest", "")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return Decoded(None, "changed since ingest", "")
    try:
        content = content if pixels is None else encode(pixels)
        mode = inspect(content)
        return Decoded(decode(tf.constant(content), size).numpy(), "", mode)
    except (ValueError, tf.errors.InvalidArgumentError):
        return Decoded(None, "unreadable or truncated picture", "")


def in_order(work: Callable[[Any], Decoded], items: Iterator[Any]) -> Iterator[Decoded]:
    """Works on several items at once and yields results in order, never more than READ_AHEAD of them waiting."""
    waiting: collections.deque[Future[Decoded]] = collections.deque()
    with ThreadPoolExecutor(DECODERS) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
