"""Decides whether training is needed, from the data and settings of earlier versions.

A run is compared with the version in production, and with the newest version that was evaluated against it. Training
again on the same data and settings would reproduce that version and the decision about it.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radiograft.config import RegistrySettings
from radiograft.config.base import Scalar
from radiograft.data.catalog import SPLITS, Catalog
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.registry.results import parse_results

log = logging.getLogger(__name__)

FILE = "news.json"  # in the catalog's folder
# The fingerprint identifies the data regardless of location. The others do not affect the model; versions of older
# packages record `train_trigger`.
IGNORED_SETTINGS = (
    "data_source", "data_table_file", "preprocess_workers", "publish_registry", "publish_model_name", "train_trigger",
)  # fmt: skip

METADATA_ERRORS = (OSError, ValueError, TypeError, LookupError, AttributeError)  # raised if metadata are malformed


class VersionOrigin(NamedTuple):
    """The data and settings that a version was trained with.

    Attributes:
        number: number of the version.
        run_id: run that published it.
        fingerprint: fingerprint of the catalog.
        settings: recorded settings by name.
        data: summary of the data: `splits`, `excluded` and, if recorded, `catalogued`.
        champion: version in production when this one was evaluated, or None.
    """

    number: int
    run_id: str
    fingerprint: str
    settings: Mapping[str, Scalar]
    data: Mapping[str, Any]
    champion: int | None


class ChangeReport(NamedTuple):
    """The result of change detection.

    Attributes:
        changed: whether training could give another result than an earlier version. The pipeline `retraining` trains
            only then.
        reason: why, as a clause.
        earlier: number and data summary of the version in production; None if there is none or it cannot be read.
    """

    changed: bool
    reason: str
    earlier: Mapping[str, Any] | None


def detect_changes(form: Mapping[str, Scalar], catalog: Catalog, output: Path, run_id: str) -> ChangeReport:
    """Decides whether training is needed, logs the reason, and writes the report beside the catalog.

    It is needed if the version in production cannot be read.

    Args:
        form: all settings.
        catalog: the data of this run.
        output: folder of the catalog.
        run_id: this run. A resumed run ignores the versions that it published itself.
    """
    version, error = _read_champion(RegistrySettings.of(form), run_id)
    repetition = "" if error else _reason_to_skip(form, catalog, version, run_id)
    report = ChangeReport(
        changed=not repetition,
        reason=repetition or error or _changes(form, catalog, version),
        earlier={"version": version.number, **version.data} if version else None,
    )
    (output / FILE).write_text(json.dumps(report._asdict(), indent=2))
    if error:
        log.warning("  warning: %s", error)
    else:
        log.info("%s%s", report.reason, "" if report.changed else "; the retraining pipeline skips training")
    return report


def read(folder: Path) -> ChangeReport:
    """Reads the report that `detect_changes` wrote to the catalog's folder."""
    return ChangeReport(**json.loads((folder / FILE).read_text()))


def _reason_to_skip(form: Mapping[str, Scalar], catalog: Catalog, version: VersionOrigin | None, run_id: str) -> str:
    """Returns why training would only reproduce an earlier version, or an empty string if it would not."""
    if version and not _changes(form, catalog, version):
        return f"data and settings have not changed since version {version.number}, which is in production"
    evaluated = _last_evaluated(RegistrySettings.of(form), version, run_id)
    if evaluated and not _changes(form, catalog, evaluated):
        against = f" against version {version.number}, which is in production" if version else ""
        return f"data and settings have not changed since version {evaluated.number}, which was evaluated{against}"
    return ""


def _last_evaluated(settings: RegistrySettings, version: VersionOrigin | None, run_id: str) -> VersionOrigin | None:
    """Returns the newest version of other runs if it was evaluated against the present production version."""
    uri, model = settings.publish_registry, settings.publish_model_name
    with contextlib.suppress(*METADATA_ERRORS, StopIteration):  # the run then trains
        origins = (_read_origin(uri, model, number) for number in reversed(registry.list_versions(uri, model)))
        newest = next(origin for origin in origins if origin.run_id != run_id)
        return newest if newest.champion == (version.number if version else None) else None
    return None


def _read_champion(settings: RegistrySettings, run_id: str) -> tuple[VersionOrigin | None, str]:
    """Returns the version in production and, if it cannot be read, an error message."""
    uri, model = settings.publish_registry, settings.publish_model_name
    try:
        number = production.version_excluding_run(uri, model, run_id)
        return (_read_origin(uri, model, number) if number else None), ""
    except METADATA_ERRORS as error:
        return None, f"the metadata of {model} in production cannot be read: {error}"


def _read_origin(uri: str, model: str, number: int) -> VersionOrigin:
    lineage, metrics = registry.read_objects(uri, model, number, "lineage.json", "metrics.json")
    results = parse_results(metrics)
    run_id, fingerprint, settings = (lineage[name] for name in ("run_id", "fingerprint", "settings"))
    data, champion = _parse_data_summary(results["data"]), results["gate"]["champion"]
    return VersionOrigin(number, run_id, fingerprint, dict(settings), data, champion)


def _parse_data_summary(data: Mapping[str, Any]) -> dict[str, Any]:
    """Validates the recorded data summary. Versions of older packages have no `catalogued`."""

    def parse_splits(splits: Mapping[str, Any]) -> dict[str, Any]:
        return {split: _parse_split_counts(splits[split]) for split in SPLITS if split in splits}

    excluded = [{"reason": str(group["reason"]), "count": int(group["count"])} for group in data["excluded"]]
    catalogued = {"catalogued": parse_splits(data["catalogued"])} if "catalogued" in data else {}
    return {"splits": parse_splits(data["splits"]), "excluded": excluded, **catalogued}


def _parse_split_counts(split: Mapping[str, Any]) -> dict[str, Any]:
    positives = {label: int(count) for label, count in split["positives"].items()}
    return {"pictures": int(split["pictures"]), "patients": int(split["patients"]), "positives": positives}


def _changes(form: Mapping[str, Scalar], catalog: Catalog, version: VersionOrigin | None) -> str:
    """Returns how data and settings differ from those of a version, or an empty string if they are equal.

    A recorded setting that no longer exists counts as changed: it may have been renamed, and the run must not be
    skipped. A setting that the version does not record is newer than the version and does not count.
    """
    if version is None:
        return "no version is in production yet"
    recorded = version.settings.keys() - set(IGNORED_SETTINGS)
    changed = sorted(name for name in recorded if name not in form or version.settings[name] != form[name])
    since = f"changed since version {version.number}, which is in production"
    changes = []
    if catalog.fingerprint() != version.fingerprint:
        changes.append(f"the data {since}{_compare_counts(catalog, version)}")
    if changed:
        changes.append(f"settings {since}: {', '.join(changed)}")
    return "; ".join(changes)


def _compare_counts(catalog: Catalog, version: VersionOrigin) -> str:
    """Returns the image counts then and now, or an empty string if the version does not record them."""
    then, now = version.data.get("catalogued"), catalog.summary()["splits"]
    if not then or then.keys() != now.keys():
        return ""
    pairs = {split: (then[split]["pictures"], now[split]["pictures"]) for split in SPLITS}
    if all(before == after for before, after in pairs.values()):
        return ": same image counts, but different images, patients, labels or splits"
    return ": " + ", ".join(f"{split} {before} -> {after} images" for split, (before, after) in pairs.items())
