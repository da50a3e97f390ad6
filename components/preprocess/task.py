"""Preprocess: from the catalogue's files to shards, a contact sheet and the augmentation as data."""

from __future__ import annotations

import collections
import hashlib
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from components import archives, identity, npz, shards, storage
from components.config import Preprocess
from components.imaging.decode import IN_COLOUR, decode, encode, in_colour, inspect
from components.imaging.limits import TooSmallError, check_not_too_small
from components.preprocess import near_duplicates
from components.preprocess.contact_sheet import contact_sheet
from components.records import SPLITS, Catalogue, check_classes, count_splits, label_column, summarise_exclusions
from components.settings_record import record_settings
from components.stage import log
from components.validation import facts
from components.validation.looks import Look, look
from components.validation.policy import COLOUR, REPORT, UNREADABLE, Policy
from components.validation.sieve import Sieve

DECODERS = 4
READ_AHEAD = 32
COLOURS = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")  # modes that may hold colour


class Decoded(NamedTuple):
    """A picture, or why there is none."""

    picture: np.ndarray | None
    reason: str
    mode: str


class Outcome(NamedTuple):
    """What became of a row: its mode, the reason why it was not stored, else how it looks."""

    mode: str
    reason: str
    look: Look | None

    def flaws(self) -> tuple[str, ...]:
        """Why it was not stored, or what speaks against it."""
        return self.look.flaws if self.look else (self.reason,)


def run(settings: Preprocess, catalogue_folder: Path, output: Path) -> None:
    """Decodes, resizes and stores every picture of the catalogue; what data_policy leaves out is set aside and counted.

    Raises:
        ValueError: so many pictures were unreadable that a class is empty, or one has a defect that data_policy lets
            fail.
    """
    catalogue = Catalogue.read(catalogue_folder)
    output.mkdir(parents=True, exist_ok=True)
    sieve, modes = Sieve(settings.policy()), collections.Counter[str]()
    kept, looks = [], []
    for split in SPLITS:
        rows = in_reading_order(catalogue.rows[catalogue.rows["split"] == split])
        outcome = _write_split(rows, split, catalogue.labels, settings, output)
        modes.update(each.mode for each in outcome if each.mode)
        kept.append(sieve.sift(rows, _by_reason(rows, outcome)))
        looks += [each.look for each in outcome if each.look]
    rows = _without_near_duplicates(pd.concat(kept, ignore_index=True), looks, sieve, output)
    sieve.refuse()
    excluded = pd.concat([catalogue.excluded, sieve.excluded()], ignore_index=True)
    summary = _summary(settings, catalogue, rows, excluded, modes)
    _record_defects(catalogue, rows, sieve, excluded, summary, output)
    augmentation = settings.augmentation()
    record_settings(output, settings, catalogue_folder)
    shards.write_description(output, rows, augmentation, summary, catalogue.boxes)
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


def _by_reason(rows: pd.DataFrame, outcome: list[Outcome]) -> dict[str, pd.Series[bool]]:
    reasons = sorted({reason for each in outcome for reason in each.flaws()})
    return {reason: pd.Series([reason in each.flaws() for each in outcome], index=rows.index) for reason in reasons}


def _without_near_duplicates(rows: pd.DataFrame, looks: list[Look], sieve: Sieve, output: Path) -> pd.DataFrame:
    """The rows without those that the policy leaves out; these are taken out of the shards too."""
    left = sieve.sift(rows, near_duplicates.flaws(rows, looks))
    gone = rows["image_id"][~rows.index.isin(left.index)]
    if len(gone):
        shards.remove(output, set(gone))
    return left.reset_index(drop=True)


def _record_defects(
    catalogue: Catalogue,
    rows: pd.DataFrame,
    sieve: Sieve,
    excluded: pd.DataFrame,
    summary: dict[str, Any],
    output: Path,
) -> None:
    """Writes the facts of the data report and quarantine.parquet, with what ingest found."""
    suspects = pd.concat([catalogue.suspects, sieve.suspects()], ignore_index=True)
    suspects = suspects[suspects["image_id"].isin(rows["image_id"])]
    told = facts.describe(rows, catalogue.labels, excluded, suspects, sieve.policy)
    quarantine = pd.concat([catalogue.quarantine, sieve.quarantine()], ignore_index=True)
    quarantine.to_parquet(output / "quarantine.parquet", index=False)
    (output / facts.FILE).write_text(json.dumps(summary | told, indent=2))


def _write_split(
    rows: pd.DataFrame, split: str, labels: tuple[str, ...], settings: Preprocess, output: Path
) -> list[Outcome]:
    """Stores a split and returns what became of each row."""
    outcome: list[Outcome] = []
    truth = rows[[label_column(label) for label in labels]].to_numpy("float32")
    policy, decoded = settings.policy(), decode_rows(rows, settings.image_size)

    def readable() -> Iterator[tuple[np.ndarray, str, np.ndarray]]:
        for image_id, present, (picture, reason, mode) in zip(rows["image_id"], truth, decoded, strict=True):
            outcome.append(_judged(picture, reason, mode, policy))
            if picture is None or not outcome[-1].look:
                log.warning("  set aside %s: %s", image_id, outcome[-1].reason)
            else:
                yield picture, image_id, present

    for written in shards.write_split(output, split, readable(), len(rows)):
        if written % 500 == 0:
            log.debug("%s: %d of %d pictures", split, written, len(rows))
    stored = sum(each.look is not None for each in outcome)
    log.info("%s: %d pictures stored, %d set aside", split, stored, len(outcome) - stored)
    return outcome


def _judged(picture: np.ndarray | None, reason: str, mode: str, policy: Policy) -> Outcome:
    """What the policy makes of a picture, or of why there is none."""
    if picture is None:
        return Outcome(mode, reason, None)
    seen = look(picture)
    flaws = (*seen.flaws, *(COLOUR,) * mode.endswith(IN_COLOUR))
    leaving = next((flaw for flaw in flaws if policy.treatment(flaw) != REPORT), "")
    return Outcome(mode, leaving, None) if leaving else Outcome(mode, "", seen._replace(flaws=flaws))


def in_reading_order(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in an order in which pictures of archives can be read in one pass; files of their own keep theirs."""
    places = [(npz.place(uri), archives.place(uri)) for uri in rows["uri"]]
    return rows.iloc[sorted(range(len(rows)), key=places.__getitem__)].reset_index(drop=True)


def decode_rows(rows: pd.DataFrame, size: int) -> Iterator[Decoded]:
    """Pictures of the catalogue's rows in their order, uint8 [size, size, 1], or why there is none.

    Args:
        rows: as `in_reading_order` or, which is the same, the shards have them.

    Raises:
        FileNotFoundError, ValueError: an archive that holds several of them is gone or damaged.
    """
    uris = identity.resolved(list(rows["uri"]))
    found = zip(uris, rows["md5"], npz.pick(uris), archives.pick(uris), strict=True)
    return in_order(lambda picture: load(*picture, size=size), found)


def load(uri: str, md5: str, pixels: np.ndarray | None = None, member: bytes | None = None, *, size: int) -> Decoded:
    """Reads and decodes one picture, never raising for what is wrong with the picture itself.

    Args:
        pixels: uint8 [height, width] or [height, width, 3] of a picture that is no file of its own. It takes the way of
            all others as a PNG, so that colour becomes the same grey and its size has the same bound.
        member: the file, where it lies in an archive.
    """
    try:
        content = pixels.tobytes() if pixels is not None else storage.read_bytes(uri) if member is None else member
    except FileNotFoundError:
        return Decoded(None, "gone since ingest", "")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return Decoded(None, "changed since ingest", "")
    return _decoded_dicom(content, size) if content[128:132] == b"DICM" else _decoded(content, pixels, size)


def _decoded_dicom(content: bytes, size: int) -> Decoded:
    from components.imaging import dicom  # loads pydicom, which other pictures do not need

    try:
        pixels = dicom.read(content).pixels
        check_not_too_small(*pixels.shape)
    except (dicom.NotARadiograph, TooSmallError) as error:
        return Decoded(None, str(error), "")
    return Decoded(decode(tf.constant(encode(pixels)), size).numpy(), "", "DICOM")


def _decoded(content: bytes, pixels: np.ndarray | None, size: int) -> Decoded:
    try:
        content = content if pixels is None else encode(pixels)
        mode = inspect(content)
        picture = decode(tf.constant(content), size).numpy()
        return Decoded(picture, "", mode + IN_COLOUR * (mode in COLOURS and in_colour(content)))
    except TooSmallError as error:
        return Decoded(None, str(error), "")
    except (ValueError, OSError, tf.errors.InvalidArgumentError):
        return Decoded(None, UNREADABLE, "")


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
