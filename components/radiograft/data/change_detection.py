"""Whether there is anything to train on: data and settings against those of the version in production, and of the one
that was last judged against it: trained again, it would be the same and so would the verdict."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radiograft.config import ALWAYS, RegistrySettings
from radiograft.config.base import Scalar
from radiograft.data.catalog import SPLITS, Catalog
from radiograft.registry import production
from radiograft.registry import versions as registry

log = logging.getLogger(__name__)


FILE = "news.json"  # in the catalog's folder
# The fingerprint tells the data wherever they lie; the others say where versions lie, when and by how many pods to make
# one.
IGNORED_SETTINGS = ("data_source", "preprocess_workers", "publish_registry", "publish_model_name", "train_trigger")

METADATA_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)  # what a version that tells odd things raises


class VersionOrigin(NamedTuple):
    """What a version was made with: its number, its run, the data's fingerprint, settings by name, the data's summary,
    and the version that the gate judged it against."""

    number: int
    run_id: str
    fingerprint: str
    settings: Mapping[str, Scalar]
    data: Mapping[str, Any]
    champion: int | None


class ChangeReport(NamedTuple):
    """What ingest found beside the catalog.

    Attributes:
        train: whether the run goes on.
        reason: why, in a clause.
        earlier: number and data's summary of the version in production; None where there is none that can be read.
    """

    train: bool
    reason: str
    earlier: Mapping[str, Any] | None


def detect_changes(form: Mapping[str, Scalar], catalog: Catalog, output: Path, run_id: str) -> ChangeReport:
    """Looks whether the run has anything to train on, says so in the log, and writes it beside the catalog.

    A version that cannot be read never keeps a run from training.

    Args:
        form: every setting.
        output: folder of the catalog.
        run_id: of this run, which does not count what it published itself before it was killed and taken up again.
    """
    version, hindrance = _in_production(RegistrySettings.of(form), run_id)
    repetition = "" if hindrance else _repetition(form, catalog, version, run_id)
    news = ChangeReport(
        train=not repetition or form["train_trigger"] == ALWAYS,
        reason=repetition or hindrance or _changes(form, catalog, version),
        earlier={"version": version.number, **version.data} if version else None,
    )
    (output / FILE).write_text(json.dumps(news._asdict(), indent=2))
    if hindrance:
        log.warning("  warning: %s", hindrance)
    else:
        log.info("%s%s", news.reason, "" if news.train else ": nothing is trained")
    return news


def read(folder: Path) -> ChangeReport:
    """What `look` wrote to the catalog's folder."""
    return ChangeReport(**json.loads((folder / FILE).read_text()))


def _repetition(form: Mapping[str, Scalar], catalog: Catalog, version: VersionOrigin | None, run_id: str) -> str:
    """Why a run would only repeat an earlier one; empty where it would not."""
    if version and not _changes(form, catalog, version):
        return f"data and settings have not changed since version {version.number}, which is in production"
    judged = _last_judged(RegistrySettings.of(form), version, run_id)
    if judged and not _changes(form, catalog, judged):
        opponent = f"judged against version {version.number}, which is in production" if version else "judged"
        return f"data and settings have not changed since version {judged.number}, which was {opponent}"
    return ""


def _last_judged(settings: RegistrySettings, version: VersionOrigin | None, run_id: str) -> VersionOrigin | None:
    """The newest version, a candidate or rolled back, where the gate saw in production what is there now."""
    place, model = settings.publish_registry, settings.publish_model_name
    with contextlib.suppress(*METADATA_ERRORS, StopIteration):  # then it is trained
        found = (_read(place, model, number) for number in reversed(registry.list_versions(place, model)))
        newest = next(each for each in found if each.run_id != run_id)
        return newest if newest.champion == (version.number if version else None) else None
    return None


def _in_production(settings: RegistrySettings, run_id: str) -> tuple[VersionOrigin | None, str]:
    """The version in production, and what keeps it from being known."""
    place, model = settings.publish_registry, settings.publish_model_name
    try:
        number = production.version_excluding_run(place, model, run_id)
        return (_read(place, model, number) if number else None), ""
    except METADATA_ERRORS as error:
        return None, f"what {model} in production was made with cannot be read: {error}"


def _read(place: str, model: str, number: int) -> VersionOrigin:
    lineage, metrics = registry.read_objects(place, model, number, "lineage.json", "metrics.json")
    run_id, fingerprint, settings = (lineage[name] for name in ("run_id", "fingerprint", "settings"))
    return VersionOrigin(
        number, run_id, fingerprint, dict(settings), _data(metrics["data"]), metrics["gate"]["champion"]
    )


def _data(told: Mapping[str, Any]) -> dict[str, Any]:
    """Of a version's summary of its data, what is compared with today's; older packages wrote no `catalogd`."""

    def counts(splits: Mapping[str, Any]) -> dict[str, Any]:
        return {split: _data_changes(splits[split]) for split in SPLITS if split in splits}

    excluded = [{"reason": str(group["reason"]), "count": int(group["count"])} for group in told["excluded"]]
    then = {"catalogued": counts(told["catalogued"])} if "catalogued" in told else {}
    return {"splits": counts(told["splits"]), "excluded": excluded, **then}


def _data_changes(split: Mapping[str, Any]) -> dict[str, Any]:
    positives = {label: int(count) for label, count in split["positives"].items()}
    return {"pictures": int(split["pictures"]), "patients": int(split["patients"]), "positives": positives}


def _changes(form: Mapping[str, Scalar], catalog: Catalog, version: VersionOrigin | None) -> str:
    """Why there is something to train on; empty where there is not.

    A recorded setting that no longer exists counts as changed: it may have been renamed, and the run must not be
    skipped. A setting that the version does not record is newer than the version and does not count.
    """
    if version is None:
        return "no version is in production yet"
    recorded = version.settings.keys() - set(IGNORED_SETTINGS)
    changed = sorted(name for name in recorded if name not in form or version.settings[name] != form[name])
    since = f"changed since version {version.number}, which is in production"
    told = [f"the data {since}{_counts(catalog, version)}"] if catalog.fingerprint() != version.fingerprint else []
    return "; ".join([*told, *([f"settings {since}: {', '.join(changed)}"] if changed else [])])


def _counts(catalog: Catalog, version: VersionOrigin) -> str:
    """Images then and now; empty where the version does not tell, being of an older package."""
    then, now = version.data.get("catalogued"), catalog.summary()["splits"]
    if not then or then.keys() != now.keys():
        return ""
    pairs = {split: (then[split]["pictures"], now[split]["pictures"]) for split in SPLITS}
    if all(before == after for before, after in pairs.values()):
        return ": same image counts, but different images, patients, labels or splits"
    return ": " + ", ".join(f"{split} {before} -> {after} images" for split, (before, after) in pairs.items())
