"""What runs published, as the registry tells it: KFP's API gives no artifact's content to its clients."""

from __future__ import annotations

import functools
import json
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.config import DATA_CHANGED
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.registry.version_claims import Claim
from radiograft.utils import json_io
from radiograft_pipelines.cluster import watch


class Published(NamedTuple):
    """A version, whether it is in production now, and its AUROC on test, 0 to 1, None where it is not estimable."""

    model: str
    version: int
    in_production: bool
    auroc: float | None

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({'production' if self.in_production else 'candidate'})"


def published(run: Any) -> Published | None:
    """What a run (kfp_server_api.V2beta1Run) published; None where it published nothing, or that cannot be read."""
    place, model, numbers = _registry_of(run)
    number = numbers.get(run.run_id)
    return None if number is None else _describe(place, model, number)


def found_nothing_new(run: Any) -> bool:
    """Whether a run ended well after ingest, because nothing changed since an earlier version.

    KFP counts what it skips as a success. A list of runs tells no tasks; there, such a run claims no version.
    """
    if run.state != "SUCCEEDED" or _parameters(run).get("train_when") != DATA_CHANGED:
        return False
    began = {task.name for task in watch.states(run) if task.state not in ("PENDING", "SKIPPED")}
    numbers = _registry_of(run)[2]
    return began == {"ingest"} if began else bool(numbers) and run.run_id not in numbers


def _parameters(run: Any) -> dict[str, Any]:
    return (run.runtime_config.parameters if run.runtime_config else None) or {}


def _registry_of(run: Any) -> tuple[str, str, dict[str, int]]:
    """Registry and model of a run that ended well, and the versions there by run; none where they cannot be read."""
    place, model = (str(_parameters(run).get(name, "")) for name in ("publish_registry", "publish_model_name"))
    known = run.state == "SUCCEEDED" and model and storage.is_bucket(place)
    return place, model, _numbers(place, model) if known else {}


@functools.cache
def _numbers(place: str, model: str) -> dict[str, int]:
    """The version that each run claimed; empty where the registry cannot be read from here."""
    try:
        claims = [
            Claim(**json.loads(storage.read_bytes(entry.uri)))
            for entry in registry.files_below(storage.join(place, model, "claims"))
        ]
        return {claim.run_id: claim.number for claim in claims}
    except Exception:  # no credentials, no route, no right, no claim: a list of runs does without
        return {}


def _describe(place: str, model: str, number: int) -> Published | None:
    name = storage.join(place, model, str(number), registry.EXTRA, "metrics.json")
    try:
        current = production.current(place, model)
        facts = json_io.parsed(storage.read_bytes(name), name)
        auroc = facts["metrics"][facts["published"]]["test"]["mean"]["auroc"]["value"]
        in_production = current is not None and current.version == number
        return Published(model, number, in_production, None if auroc is None else float(auroc))
    except (FileNotFoundError, LookupError, TypeError, ValueError):
        return None  # claimed, but never completed, or by another package
