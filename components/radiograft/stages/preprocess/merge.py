"""Merges the shards of all workers: finds near duplicates, applies the data policy and describes the result.

It needs no TensorFlow and does not decode images: the workers stored the status of each row beside them.
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
from radiograft.config.data import REGRESSION
from radiograft.config.data_policy import NEAR_DUPLICATE, REPORT
from radiograft.data import color, gray_range, studies
from radiograft.data.catalog import (
    CORNERS,
    SPLITS,
    Catalog,
    check_classes,
    count_images,
    count_splits,
    summarize_exclusions,
)
from radiograft.data.enlargement import find_enlargement
from radiograft.data.file_counts import count_files
from radiograft.data.quality import image_checks, summary
from radiograft.data.quality.filter import DataFilter
from radiograft.data.quality.similar_images import find_similar_images
from radiograft.data.shards import files as shard_files
from radiograft.data.shards import row_status
from radiograft.data.shards.files import Shard, plan_shards
from radiograft.imaging.geometry import ImageInput, as_range, boxes_in_square

log = logging.getLogger(__name__)


def run(settings: Preprocess, catalog_folder: Path, parts: Sequence[Path], output: Path) -> None:
    """Writes the images that data_policy keeps to `output`; the others are excluded and counted.

    Args:
        settings: settings of the stage.
        catalog_folder: folder of the catalog.
        parts: folders of the workers, which are not modified.
        output: folder of the merged shards.

    Raises:
        ValueError: a label lacks positives or negatives after exclusions, an image has a defect with the policy `fail`,
            or the parts do not match the catalog.
    """
    catalog = Catalog.read(catalog_folder)
    shards = plan_shards(catalog.rows)
    paths = [_find_shard(shard.name, parts) for shard in shards]
    rows = pd.concat([shard.rows for shard in shards], ignore_index=True)
    images, statuses = studies.images_of(rows), _read_statuses(shards, paths)
    if list(statuses["image_id"]) != list(images["image_id"]):
        raise ValueError("the parts must be made from this catalog, got parts with other images; run preprocess again")
    data_filter = DataFilter(settings.policy())
    # Near-equal images of a patient may differ in a number, such as the age.
    labels = () if catalog.task == REGRESSION else catalog.labels
    kept = studies.keep_images(rows, _apply_policy(images, statuses, labels, data_filter))
    _log_counts(rows, kept)
    data_filter.raise_on_failures()
    output.mkdir(parents=True, exist_ok=True)
    _copy_images(shards, paths, statuses["stored"][: len(rows)], rows.index.isin(kept.index), output)
    record_settings(output, settings, catalog_folder)
    kept = kept.assign(height=statuses["height"], width=statuses["width"])
    is_colored = statuses["mode"].str.endswith(color.IN_COLOR)
    kept = kept.assign(pixels=kept["height"] * kept["width"], color=np.where(is_colored[kept.index], "yes", "no"))
    kept, channels = kept.reset_index(drop=True), _read_common(parts, color.FILE)
    values = as_range(_read_common(parts, gray_range.FILE))
    reduced, enlargement = settings.image_reduced_jpeg, find_enlargement(settings, channels["channels"])
    target = ImageInput(settings.stored_size, settings.image_resize, values, channels["channels"], reduced, enlargement)
    sample = color.ColorSample(*channels["sample"])
    _describe(settings, target, sample, catalog, kept, statuses["mode"], data_filter, output)
    summary.record_previous_counts(catalog_folder, output)


def _find_shard(name: str, parts: Sequence[Path]) -> Path:
    """Returns the TFRecord file of a shard."""
    paths = [
        part / (name + shard_files.RECORDS_SUFFIX) for part in parts if (part / (name + row_status.SUFFIX)).is_file()
    ]
    if len(paths) != 1:
        raise ValueError(f"exactly one part must hold {name}, got {len(paths)} of {len(parts)}; run preprocess again")
    return paths[0]


def _read_statuses(shards: Sequence[Shard], paths: Sequence[Path]) -> pd.DataFrame:
    """Returns the status of each image of all shards, in the order of `studies.images_of`."""
    parts = [row_status.read([path.with_suffix(row_status.SUFFIX)]) for path in paths]
    frontal = [part[: len(shard.rows)] for shard, part in zip(shards, parts, strict=True)]
    lateral = [part[len(shard.rows) :] for shard, part in zip(shards, parts, strict=True)]
    return pd.concat([*frontal, *lateral], ignore_index=True)


def _read_common(parts: Sequence[Path], file: str) -> Any:
    """Returns what the workers recorded in a JSON file: the range of 16-bit gray values, or the channels."""
    texts = {(part / file).read_text() for part in parts}
    if len(texts) != 1:
        what = "range of gray values" if file == gray_range.FILE else "number of channels"
        raise ValueError(f"all parts must use one {what}, got {', '.join(sorted(texts))}; run preprocess again")
    return json.loads(texts.pop())


def _apply_policy(
    rows: pd.DataFrame, statuses: pd.DataFrame, labels: Sequence[str], data_filter: DataFilter
) -> pd.DataFrame:
    """Returns the rows that are kept.

    These are without defective images, without near-equal images that have different labels, and without other near
    duplicates if these are excluded.
    """
    stored = data_filter.apply(rows, row_status.by_reason(statuses))
    statuses = statuses.loc[stored.index]
    similar = find_similar_images(statuses["hash"].to_numpy(), row_status.thumbnails(statuses))
    consistent = data_filter.apply(stored, image_checks.find_contradictory_copies(stored, similar, labels))
    near = image_checks.find_near_duplicates(
        consistent,
        similar.where(stored.index.isin(consistent.index)),
        leave=data_filter.policy.treatment(NEAR_DUPLICATE) != REPORT,
    )
    return data_filter.apply(consistent, near)


def _log_counts(rows: pd.DataFrame, kept: pd.DataFrame) -> None:
    for split in SPLITS:
        stored, total = (int((table["split"] == split).sum()) for table in (kept, rows))
        log.info("%s: %d images stored, %d excluded", split, stored, total - stored)


def _copy_images(
    shards: Sequence[Shard], paths: Sequence[Path], stored: pd.Series[bool], kept: np.ndarray, output: Path
) -> None:
    """Copies shards without the images that are excluded.

    Args:
        shards: all shards.
        paths: TFRecord file of each shard.
        stored: whether the image of each row is in its shard.
        kept: whether each row is kept.
        output: folder of the merged shards.
    """
    start = 0
    for shard, path in zip(shards, paths, strict=True):
        own = slice(start, start + len(shard.rows))
        shard_files.copy_records(path, output / path.name, kept[own][stored[own]].tolist())
        start = own.stop


def _describe(
    settings: Preprocess,
    target: ImageInput,
    sample: color.ColorSample,
    catalog: Catalog,
    rows: pd.DataFrame,
    modes: pd.Series[str],
    data_filter: DataFilter,
    output: Path,
) -> None:
    """Writes the data summary for the data report and later stages, then the description of the shards.

    Raises:
        ValueError: as `check_classes`.
    """
    excluded = pd.concat([catalog.excluded, data_filter.excluded()], ignore_index=True)
    converted = modes[~modes.isin(["", *color.stored_modes(target.channels)])].value_counts().sort_index()
    totals = {
        "labels": list(catalog.labels),
        "task": catalog.task,
        "task_reason": catalog.task_reason,
        "image_size": target.size,
        "image_resize": target.resize,
        "gray_range": target.gray_range,
        "image_channels": target.channels,
        **({"image_reduced_jpeg": True} if target.reduced_jpeg else {}),
        **({"image_enlarged_by": target.enlarged_by._asdict()} if target.enlarged_by else {}),
        "color": {
            "images": len(rows),
            "in_color": int((rows["color"] == "yes").sum()),
            "sampled": sample.images,
            "sampled_in_color": sample.in_color,
        },
        "source": catalog.source,
        "fingerprint": catalog.fingerprint(),
        "splits": count_splits(rows, catalog.labels, catalog.task),
        "catalogued": count_splits(catalog.rows, catalog.labels, catalog.task),
        "notes": [
            *catalog.notes,
            *_enlargement_notes(rows, target),
            *check_classes(rows, catalog.labels, excluded, catalog.task),
        ],
        "excluded": summarize_exclusions(excluded),
        "readers": list(catalog.readers),
        "converted": {str(mode): int(count) for mode, count in converted.items()},
        "files": count_files(catalog.files, count_images(rows), excluded),
    }
    if settings.image_size != target.size:
        totals["network_size"] = settings.image_size
    _record_defects(catalog, rows, data_filter, excluded, totals, output)
    boxes = _boxes_of_inputs(catalog.boxes, rows, target)
    shard_files.write_description(output, rows, settings.augmentation(), totals, boxes)


def _enlargement_notes(rows: pd.DataFrame, target: ImageInput) -> list[str]:
    """Says that a network enlarged the images, and of how many it replaced recorded detail."""
    if not target.enlarged_by:
        return []
    size = target.before_enlarging().size
    larger = int((rows[["height", "width"]].min(axis=1) > size).sum())
    note = f"images were enlarged by a network from {size} to {target.size} pixels: their detail is an estimate"
    loss = f"{larger:,} of {len(rows):,} images had more than {size} pixels a side: this detail was lost"
    return [f"{note} ({target.enlarged_by.uri})", *([f"{loss}; clear image_super_resolution"] if larger else [])]


def _boxes_of_inputs(boxes: pd.DataFrame, rows: pd.DataFrame, target: ImageInput) -> pd.DataFrame:
    """Returns the boxes as fractions of the square images; those of images that are not stored are not converted."""
    sides = boxes[["image_id"]].merge(rows[["image_id", "height", "width"]], on="image_id", how="left")
    mapped = boxes_in_square(boxes[CORNERS].to_numpy(), sides[["height", "width"]].fillna(1).to_numpy(), target)
    return boxes.assign(**dict(zip(CORNERS, mapped.T, strict=True)))


def _record_defects(
    catalog: Catalog,
    rows: pd.DataFrame,
    data_filter: DataFilter,
    excluded: pd.DataFrame,
    totals: dict[str, Any],
    output: Path,
) -> None:
    """Writes the data summary and quarantine.parquet, which include the findings of ingest."""
    suspects = pd.concat([catalog.suspects, data_filter.flagged()], ignore_index=True)
    suspects = suspects[suspects["image_id"].isin(rows["image_id"])]
    defects = summary.summarize_data(rows, catalog.labels, excluded, suspects, data_filter.policy, catalog.task)
    quarantine = pd.concat([catalog.quarantine, data_filter.quarantine()], ignore_index=True)
    quarantine.to_parquet(output / "quarantine.parquet", index=False)
    (output / summary.FILE).write_text(json.dumps(totals | defects, indent=2))
