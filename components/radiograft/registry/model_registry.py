"""Registers versions in a Kubeflow Model Registry, so that its UI and KServe find them.

The files of a version stay where they are: the Model Registry holds their URI, metrics and lineage. What was registered
where is recorded in `<registry>/<model>/registrations/<version>.json`.

`model_registry.core` is used instead of the client's `ModelRegistry`, which cannot complete a version whose artifact is
missing, because the process was killed in between. The package is optional: `pip install radiograft[model-registry]`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.registry import versions
from radiograft.registry.results import deciding_metrics, parse_results
from radiograft.utils import json_io

API = "api/model_registry/v1alpha3"
AUTHOR = "radiograft"
DISCLAIMER = "Research only. Not for diagnosis."
SECONDS = 60  # for all requests of a registration; the client's own limit is 5 minutes for each
ATTEMPTS = 3  # of each GET
TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105  set by KFP; names a file
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


class RegistrationError(RuntimeError):
    """A version could not be registered. Registering it again completes what is missing."""


class Registration(NamedTuple):
    """Where a version is registered: the URL of the Model Registry, and its ids of model and version."""

    url: str
    registered_model_id: str
    model_version_id: str

    @property
    def link(self) -> str:
        """URL of the version in the REST API."""
        return f"{self.url}/{API}/model_versions/{self.model_version_id}"


class _Entry(NamedTuple):
    model: str
    number: int
    uri: str
    run_id: str
    properties: dict[str, bool | float | str]


def register_version(url: str, registry: str, model: str, number: int) -> Registration:
    """Registers a published version. What exists already in the Model Registry is left unchanged.

    Args:
        url: of the Model Registry. The token for https:// is read from the file that KF_PIPELINES_SA_TOKEN_PATH names,
            else from that of the pod's service account.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: its metrics or its lineage are malformed.
        RegistrationError: the Model Registry or its client cannot be used, or it has this version of another run.
    """
    url = url.rstrip("/")
    entry = _read_entry(registry, model, number)
    try:
        registration = asyncio.run(_register(url, entry))
    except RegistrationError:
        raise
    except ImportError as error:
        raise RegistrationError(f"{error}: install radiograft[model-registry]") from error
    except Exception as error:  # those of the client, of aiohttp and of pydantic share no base class
        raise RegistrationError(f"{url} must accept version {number} of {model}, got {_reason(error)}") from error
    storage.write_bytes(_receipt(registry, model, number), json.dumps(registration._asdict(), indent=2).encode())
    return registration


def read_registration(registry: str, model: str, number: int) -> Registration | None:
    """Returns where a version is registered, or None.

    Raises:
        ValueError: the record is malformed.
    """
    uri = _receipt(registry, model, number)
    try:
        content = storage.read_bytes(uri)
    except FileNotFoundError:
        return None
    try:
        return Registration(**json_io.parse_json_object(content, uri))
    except TypeError as error:
        raise ValueError(f"{uri} must contain {', '.join(Registration._fields)}: register the version again") from error


def _receipt(registry: str, model: str, number: int) -> str:
    return storage.join(registry, model, "registrations", f"{number}.json")


def _read_entry(registry: str, model: str, number: int) -> _Entry:
    metrics, lineage = versions.read_objects(registry, model, number, "metrics.json", "lineage.json")
    try:
        properties = {**deciding_metrics(parse_results(metrics)), **_lineage_properties(lineage)}
        run_id = str(lineage["run_id"])
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"metrics.json and lineage.json of version {number} are malformed: {error!r}") from error
    properties["gate_promoted"] = bool(properties["gate_promoted"])
    return _Entry(model, number, storage.join(registry, model, str(number)), run_id, properties)


def _lineage_properties(lineage: Mapping[str, Any]) -> dict[str, bool | float | str]:
    """Returns the lineage as properties. Without a value they are omitted: the UI shows empty texts as labels."""
    properties = {
        "run_id": lineage["run_id"],
        "created": lineage["created"],
        "parent_version": lineage["parent"],
        "data_source": lineage["source"],
        "data_fingerprint": lineage["fingerprint"],
        "code_version": lineage["code"]["version"],
        "code_commit": lineage["code"]["commit"],
        "image": lineage["image"],
        **{name: lineage["settings"].get(name) for name in ("model_backbone", "model_cut_off", "train_seed")},
    }
    return {name: value for name, value in properties.items() if value not in (None, "")}


async def _register(url: str, entry: _Entry) -> Registration:
    from mr_openapi.exceptions import ConflictException

    async with asyncio.timeout(SECONDS):
        try:
            return await _complete(url, entry)
        except ConflictException:  # another attempt of the run created it after it was looked up
            return await _complete(url, entry)


async def _complete(url: str, entry: _Entry) -> Registration:
    """Creates what is missing: the registered model, the version, and the artifact, which holds the URI."""
    from model_registry import types
    from model_registry.core import ModelRegistryAPIClient
    from mr_openapi import Configuration

    api = ModelRegistryAPIClient(Configuration(host=url, access_token=_read_token(url), retries=ATTEMPTS))
    name = str(entry.number)
    parent = await api.get_registered_model_by_params(entry.model) or await api.upsert_registered_model(
        types.RegisteredModel(name=entry.model, owner=AUTHOR, description=DISCLAIMER)
    )
    version = await api.get_model_version_by_params(parent.id, name) or await api.upsert_model_version(
        types.ModelVersion(
            name=name, author=AUTHOR, description=f"Run {entry.run_id}", custom_properties=entry.properties
        ),
        parent.id,
    )
    owner = (version.custom_properties or {}).get("run_id")
    if owner != entry.run_id:
        raise RegistrationError(
            f"{url} has version {name} of {entry.model} from run {owner}, got run {entry.run_id}: two registries share "
            "this model name, so give one of them another publish_model_name"
        )
    if not await api.get_model_artifact_by_params(entry.model, version.id):
        artifact = types.ModelArtifact(
            name=entry.model,
            uri=entry.uri,
            model_format_name="tensorflow",
            model_format_version="2",
            model_source_kind="pipelines",  # this and `pipelinerun` are the terms of the API's documentation
            model_source_class="pipelinerun",
            model_source_id=entry.run_id,
            model_source_name=entry.run_id,
        )
        await api.upsert_model_version_artifact(artifact, version.id)
    return Registration(url, str(parent.id), str(version.id))


def _read_token(url: str) -> str | None:
    """Returns the bearer token. That of the service account is not sent without TLS unless the variable names it."""
    named = os.environ.get(TOKEN_VARIABLE)
    if named:
        return Path(named).read_text().strip()
    if url.startswith("https://") and SERVICE_ACCOUNT_TOKEN.exists():
        return SERVICE_ACCOUNT_TOKEN.read_text().strip()
    return None


def _reason(error: Exception) -> str:
    """Returns what happened in one line, without the headers and the body that the client's errors contain."""
    if isinstance(error, TimeoutError):
        return f"no response within {SECONDS} s"
    status = getattr(error, "status", None)
    return f"HTTP {status} {getattr(error, 'reason', '')}".strip() if status else f"{type(error).__name__}: {error}"
