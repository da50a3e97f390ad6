"""Registers versions in a Kubeflow Model Registry, so that its UI and KServe find them.

The files of a version stay where they are: the Model Registry holds their URI, metrics and lineage. The link of a
registered version is recorded in `<registry>/<model>/registrations/<version>.json`.

The REST API is called directly. A release of the `model-registry` client speaks one version of it (0.3.11 `v1alpha3`,
0.3.12 `v1`), but an image should work with the Model Registry of any cluster. The client also cannot complete a version
without artifact, which a killed process leaves, and waits up to five minutes for each response.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.registry import versions
from radiograft.registry.deciding_metrics import deciding_metrics
from radiograft.registry.model_registry_api import Json, ModelRegistryApi, RegistrationError
from radiograft.registry.results import parse_results
from radiograft.utils import json_io

AUTHOR = "radiograft"
DISCLAIMER = "Research only. Not for diagnosis."
LINEAGE_SETTINGS = ("model_backbone", "model_cut_off", "train_seed")


class Registration(NamedTuple):
    """Where a version is registered: its URL in the REST API, and the ids of model and version."""

    link: str
    registered_model_id: str
    model_version_id: str


def register_version(url: str, registry: str, model: str, number: int) -> Registration:
    """Registers a published version. What exists already in the Model Registry is left unchanged.

    Args:
        url: of the Model Registry. The token for https:// is read from the file that KF_PIPELINES_SA_TOKEN_PATH names,
            else from that of the pod's service account.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: its metrics or its lineage are malformed.
        RegistrationError: the Model Registry cannot be used, or it has this version of another run.
    """
    properties = _read_properties(registry, model, number)
    uri = storage.join(registry, model, str(number))
    api = ModelRegistryApi(url.rstrip("/"))
    parent = api.find_or_create(
        *("registered_model", {"name": model}, "registered_models"),
        {"name": model, "owner": AUTHOR, "description": DISCLAIMER, "state": "LIVE"},
    )
    version = api.find_or_create(
        *("model_version", {"name": str(number), "parentResourceId": parent["id"]}, "model_versions"),
        {"registeredModelId": parent["id"], **_describe_version(number, properties)},
    )
    _check_same_run(url, model, number, version, str(properties["run_id"]))
    api.find_or_create(
        *("model_artifact", {"name": model, "parentResourceId": version["id"]}),
        f"model_versions/{version['id']}/artifacts",
        _describe_artifact(model, uri, str(properties["run_id"])),
    )
    registration = Registration(f"{api.base}/model_versions/{version['id']}", parent["id"], version["id"])
    storage.write_bytes(_record_uri(registry, model, number), json.dumps(registration._asdict(), indent=2).encode())
    return registration


def read_registration(registry: str, model: str, number: int) -> Registration | None:
    """Returns where a version is registered, or None.

    Raises:
        ValueError: the record is malformed.
    """
    uri = _record_uri(registry, model, number)
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        return None
    try:
        return Registration(**json_io.parse_json_object(content, uri))
    except TypeError as error:
        raise ValueError(f"{uri} must contain {', '.join(Registration._fields)}: register the version again") from error


def _record_uri(registry: str, model: str, number: int) -> str:
    return storage.join(registry, model, "registrations", f"{number}.json")


def _read_properties(registry: str, model: str, number: int) -> Json:
    """Returns metrics and lineage of a version. What has no value is omitted: the UI shows empty texts as labels."""
    metrics, lineage = versions.read_objects(registry, model, number, "metrics.json", "lineage.json")
    try:
        deciding = deciding_metrics(parse_results(metrics))
        properties = {
            **deciding,
            "gate_promoted": bool(deciding["gate_promoted"]),
            "run_id": str(lineage["run_id"]),
            "created": lineage["created"],
            "parent_version": lineage["parent"],
            "data_source": lineage["source"],
            "data_fingerprint": lineage["fingerprint"],
            "code_version": lineage["code"]["version"],
            "code_commit": lineage["code"]["commit"],
            "image": lineage["image"],
            **{name: lineage["settings"].get(name) for name in LINEAGE_SETTINGS},
        }
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"metrics.json or lineage.json of version {number} is malformed: {error!r}") from error
    return {name: value for name, value in properties.items() if value not in (None, "")}


def _describe_version(number: int, properties: Mapping[str, Any]) -> Json:
    return {
        "name": str(number),
        "author": AUTHOR,
        "description": f"Run {properties['run_id']}",
        "state": "LIVE",
        "customProperties": {name: _metadata_value(value) for name, value in properties.items()},
    }


def _describe_artifact(model: str, uri: str, run_id: str) -> Json:
    return {
        "artifactType": "model-artifact",
        "name": model,
        "uri": uri,
        "modelFormatName": "tensorflow",  # KServe's name for a SavedModel
        "modelFormatVersion": "2",
        "modelSourceKind": "pipelines",  # this and `pipelinerun` are the terms of the API's documentation
        "modelSourceClass": "pipelinerun",
        "modelSourceId": run_id,
        "modelSourceName": run_id,
    }


def _metadata_value(value: bool | int | float | str) -> Json:
    """Returns a custom property in the form of the API, in which integers are text."""
    kinds = {bool: ("Bool", "bool_value"), int: ("Int", "int_value"), float: ("Double", "double_value")}
    kind, key = kinds.get(type(value), ("String", "string_value"))
    return {"metadataType": f"Metadata{kind}Value", key: value if isinstance(value, bool | float) else str(value)}


def _check_same_run(url: str, model: str, number: int, version: Json, run_id: str) -> None:
    owner = version.get("customProperties", {}).get("run_id", {}).get("string_value")
    if owner != run_id:
        raise RegistrationError(
            f"{url} has version {number} of {model} from run {owner}, got run {run_id}: two registries share this "
            "model name, so give one of them another publish_model_name"
        )
