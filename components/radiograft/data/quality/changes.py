"""What the data report says of the data since the version in production: counts then, now and their difference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from radiograft.data import change_detection
from radiograft.data.catalog import SPLITS
from radiograft.data.quality.summary import FILE

UNKNOWN = "no earlier version was looked for"


def record(catalogue: Path, shards: Path) -> None:
    """Adds `since` to the facts in the folder of shards.

    Args:
        catalogue: its folder, where ingest noted the version in production.
    """
    facts = json.loads((shards / FILE).read_text())
    found = (
        change_detection.read(catalogue)
        if (catalogue / change_detection.FILE).exists()
        else change_detection.News(True, UNKNOWN, None)
    )
    facts["since"] = {"reason": found.reason, **compare(found.earlier, facts)}
    (shards / FILE).write_text(json.dumps(facts, indent=2))


def compare(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """The version's number, and rows of `split` (empty for what was left out), `what`, `then`, `now`, `difference`.

    Args:
        then: `version` and the summary of its data; None where there is no version: there are no rows then.
        now: the summary of the data: `labels`, `splits`, `excluded`.
    """
    if then is None:
        return {"version": None, "kept": [], "excluded": []}
    return {"version": then["version"], "kept": list(_kept(then, now)), "excluded": list(_excluded(then, now))}


def _kept(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        before, after = (_counts(summary["splits"].get(split, {})) for summary in (then, now))
        for what in dict.fromkeys([*after, *before]):
            yield _row(what, before.get(what), after.get(what), split)


def _counts(split: Mapping[str, Any]) -> dict[str, int]:
    plain = {name: split[name] for name in ("pictures", "patients") if name in split}
    return {**plain, **{f"with {label}": count for label, count in split.get("positives", {}).items()}}


def _excluded(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    before, after = ({group["reason"]: group["count"] for group in each["excluded"]} for each in (then, now))
    for reason in dict.fromkeys([*after, *before]):
        yield _row(reason, before.get(reason, 0), after.get(reason, 0))


def _row(what: str, then: int | None, now: int | None, split: str = "") -> dict[str, Any]:
    """A label that one side does not know has no count there, and no difference."""
    difference = None if then is None or now is None else now - then
    return {"split": split, "what": what, "then": then, "now": now, "difference": difference}
