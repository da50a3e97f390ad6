"""Brings the workers' shards together: finds near duplicates among all, applies the policy, describes what is left.

It needs no TensorFlow, and of the images only what the workers noted.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from radiograft.config import Preprocess
from radiograft.config.base import record_settings
from radiograft.config.data_policy import NEAR_DUPLICATE, REPORT
from radiograft.data.catalog import SPLITS, Catalog, check_classes, count_splits, summarize_exclusions
from radiograft.data.quality import near_duplicates, summary
from radiograft.data.quality.filter import DataFilter
from radiograft.data.shards import files as shard_files
from radiograft.data.shards import row_status
from radiograft.data.shards.files import Shard, plan_shards

log = logging.getLogger(__name__)


def run(settings: Preprocess, catalog_folder: Path, parts: Sequence[Path], output: Path) -> None:
    """Writes to `output` what the workers stored and data_policy keeps; the rest is set aside and counted.

    Args:
        parts: the workers' folders, which stay as they are.

    Raises:
        ValueError: so many images were unreadable that a class is empty, one has a defect that data_policy lets fail,
            or the parts are not those of this catalog.
    """
    catalog = Catalog.read(catalog_folder)
    shards = plan_shards(catalog.rows)
    places = [_place(shard.name, parts) for shard in shards]
    rows = pd.concat([shard.rows for shard in shards], ignore_index=True)
    found = row_status.read(place.with_suffix(row_status.SUFFIX) for place in places)
    if list(found["image_id"]) != list(rows["image_id"]):
        raise ValueError("the parts must be made from this catalog, got those of other images")
    sieve = DataFilter(settings.policy())
    stored = sieve.sift(rows, row_status.by_reason(found))
    seen = found.loc[stored.index]
    leave = sieve.policy.treatment(NEAR_DUPLICATE) != REPORT
    alike = near_duplicates.find_near_duplicates(
        stored, seen["hash"].to_numpy(), row_status.thumbnails(seen), leave=leave
    )
    left = sieve.sift(stored, alike)
    _log(rows, left)
    sieve.refuse()
    output.mkdir(parents=True, exist_ok=True)
    _copy_images(shards, places, found["stored"], rows.index.isin(left.index), output)
    record_settings(output, settings, catalog_folder)
    left = left.assign(pixels=found["pixels"]).reset_index(drop=True)
    _describe(settings, catalog, left, found["mode"], sieve, output)
    summary.record_previous_counts(catalog_folder, output)


def _place(name: str, parts: Sequence[Path]) -> Path:
    found = [
        part / (name + shard_files.RECORDS_SUFFIX) for part in parts if (part / (name + row_status.SUFFIX)).is_file()
    ]
    if len(found) != 1:
        raise ValueError(f"exactly one part must hold {name}, got {len(found)} of {len(parts)}; run preprocess again")
    return found[0]


def _log(rows: pd.DataFrame, left: pd.DataFrame) -> None:
    for split in SPLITS:
        stored, all_rows = (int((table["split"] == split).sum()) for table in (left, rows))
        log.info("%s: %d images stored, %d set aside", split, stored, all_rows - stored)


def _copy_images(
    shards: Sequence[Shard], places: Sequence[Path], stored: pd.Series[bool], kept: np.ndarray, output: Path
) -> None:
    """Copies shards without near duplicates that go.

    Args:
        stored: of each row, whether its image is in its shard; `kept`: whether it stays.
    """
    first = 0
    for shard, place in zip(shards, places, strict=True):
        mine = slice(first, first := first + len(shard.rows))
        shard_files.copy_records(place, output / place.name, kept[mine][stored[mine]].tolist())


def _describe(
    settings: Preprocess,
    catalog: Catalog,
    rows: pd.DataFrame,
    modes: pd.Series[str],
    sieve: DataFilter,
    output: Path,
) -> None:
    """Writes what the data report and the later stages need to know; the description of the shards comes last.

    Raises:
        ValueError: as `check_classes`.
    """
    excluded = pd.concat([catalog.excluded, sieve.excluded()], ignore_index=True)
    converted = modes[~modes.isin(["", "L"])].value_counts().sort_index()
    totals = {
        "labels": list(catalog.labels),
        "image_size": settings.image_size,
        "source": catalog.source,
        "fingerprint": catalog.fingerprint(),
        "splits": count_splits(rows, catalog.labels),
        "catalogued": count_splits(catalog.rows, catalog.labels),
        "notes": [*catalog.notes, *check_classes(rows, catalog.labels)],
        "excluded": summarize_exclusions(excluded),
        "converted": {str(mode): int(count) for mode, count in converted.items()},
    }
    _record_defects(catalog, rows, sieve, excluded, totals, output)
    shard_files.write_description(output, rows, settings.augmentation(), totals, catalog.boxes)


def _record_defects(
    catalog: Catalog,
    rows: pd.DataFrame,
    sieve: DataFilter,
    excluded: pd.DataFrame,
    totals: dict[str, Any],
    output: Path,
) -> None:
    """Writes the facts of the data report and quarantine.parquet, with what ingest found."""
    suspects = pd.concat([catalog.suspects, sieve.suspects()], ignore_index=True)
    suspects = suspects[suspects["image_id"].isin(rows["image_id"])]
    told = summary.summarize_data(rows, catalog.labels, excluded, suspects, sieve.policy)
    quarantine = pd.concat([catalog.quarantine, sieve.quarantine()], ignore_index=True)
    quarantine.to_parquet(output / "quarantine.parquet", index=False)
    (output / summary.FILE).write_text(json.dumps(totals | told, indent=2))
