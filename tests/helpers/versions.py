"""Publishes versions with the lineage that a run with the given settings would have recorded."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radiograft.config import Ingest, Publish, validate_settings
from radiograft.config.base import Scalar
from radiograft.registry import versions as registry
from radiograft.stages.ingest import task as ingest
from radiograft.stages.publish import task as publish
from tests.helpers.publish_inputs import METRICS, write_inputs


def form(source: str, place: str, **values: Scalar) -> dict[str, Scalar]:
    """Returns all settings of a scheduled run on the data set of `nih_source`, with the registry in `place`."""
    names = {"data_source": source, "publish_registry": f"{place}/registry"}
    return validate_settings(names | {"data_validation_fraction": 0.5} | values)


def publish_version(settings: Mapping[str, Scalar], *, promote: bool = True, **data: Any) -> int:
    """Publishes a version trained with these settings on the current data.

    Args:
        data: changes of the data summary; None removes an entry.
    """
    catalog = ingest.build_catalog(Ingest.of(settings))
    summary = catalog.summary() | {"catalogued": catalog.summary()["splits"]} | data
    lineage = {"source": catalog.source, "fingerprint": catalog.fingerprint(), "settings": dict(settings)}
    with tempfile.TemporaryDirectory() as folder:
        inputs = write_inputs(Path(folder))
        number = len(registry.list_versions(str(settings["publish_registry"]), str(settings["publish_model_name"]))) + 1
        gate = METRICS["gate"] | {"promote": promote, "champion": number - 1 or None}
        known = {key: value for key, value in summary.items() if value is not None}
        metrics = METRICS | {"lineage": lineage, "data": METRICS["data"] | known, "gate": gate}
        (inputs.evaluation / "metrics.json").write_text(json.dumps(metrics))
        return publish.run(Publish.of(settings), inputs, f"run-{number}", Path(folder) / "version").version
