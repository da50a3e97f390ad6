"""`check_registry` reports whether this machine can write to the registry, and how to get access to it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from radiograft import storage
from radiograft.storage import s3 as s3_store
from radiograft_pipelines.cluster.preflight.registry import check_registry

OWN_STORE = (
    "for a bucket in KFP's own store: kubectl port-forward --namespace kubeflow svc/seaweedfs 9000, then set "
    "AWS_ENDPOINT_URL=http://localhost:9000, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to accesskey and "
    "secretkey of the secret mlpipeline-minio-artifact"
)


def test_check_registry_conditional_writes_is_good(place: str) -> None:
    result = check_registry(place)
    assert (result.level, result.remedy) == ("good", "")
    assert result.message.startswith(
        f"the registry {place} is writable and supports conditional writes, with this machine's"
    )


@pytest.fixture
def unconditional(s3: str) -> Iterator[str]:
    """A registry in a store that ignores conditions of writes, like SeaweedFS before 3.97."""

    def remove_conditions(request: Any, **_: object) -> None:
        for name in ("If-Match", "If-None-Match"):
            del request.headers[name]

    events = s3_store.client().meta.events
    events.register("before-sign.s3.PutObject", remove_conditions)
    yield f"{s3}/{uuid.uuid4()}"
    events.unregister("before-sign.s3.PutObject", remove_conditions)


def test_check_registry_no_conditional_writes_is_bad(unconditional: str) -> None:
    result = check_registry(unconditional)
    assert (result.level, result.remedy) == (
        "bad",
        "use a store with conditional writes: gs://, or S3 with If-Match and If-None-Match",
    )
    assert result.message.startswith(
        f"the registry {unconditional} accepted a conditional write against an outdated state"
    )
    assert list(storage.list_files(unconditional)) == []


def test_check_registry_not_writable_is_bad(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("registry") / "file"
    file.write_text("no folder")
    result = check_registry(str(file))
    assert (result.level, result.remedy) == ("bad", "grant read, write and delete permission")
    assert result.message.startswith(f"the registry {file} is not writable, with this machine's credentials")


@pytest.fixture
def endpoint(s3: str) -> str:
    """The address of the double of S3. Must stand before `fresh_client`, which unsets it."""
    return os.environ["AWS_ENDPOINT_URL"]


@pytest.fixture
def fresh_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Environment variables that a new S3 client reads; none of this machine's own credentials is found."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_store.client.cache_clear()
    yield monkeypatch
    s3_store.client.cache_clear()


def test_check_registry_s3_without_credentials_names_port_forward_and_variables(
    fresh_client: pytest.MonkeyPatch,
) -> None:
    result = check_registry("s3://mlpipeline/radiograft/registry")
    assert (result.level, result.remedy) == ("bad", OWN_STORE)
    assert "no credentials for s3://mlpipeline" in result.message


def test_check_registry_port_forward_not_running_is_reported_at_once(fresh_client: pytest.MonkeyPatch) -> None:
    """Fails (by the time-out of the suite) if the store's retries, which last minutes, are run first."""
    fresh_client.setenv("AWS_ENDPOINT_URL", "http://localhost:1")
    result = check_registry("s3://mlpipeline/radiograft/registry")
    assert (result.level, result.remedy) == ("bad", OWN_STORE)
    assert ": AWS_ENDPOINT_URL=http://localhost:1 cannot be reached: " in result.message


@pytest.mark.parametrize(
    ("variable", "remedy"),
    [
        ("AWS_ENDPOINT_URL", "grant read, write and delete permission"),
        ("AWS_ENDPOINT_URL_S3", f"grant read, write and delete permission; {OWN_STORE}"),
    ],
)
def test_check_registry_s3_rejected_names_permission(
    s3: str, endpoint: str, fresh_client: pytest.MonkeyPatch, variable: str, remedy: str
) -> None:
    """Fails if the remedy for an address that is set hides the permission, or one for AWS itself hides KFP's store."""
    fresh_client.setenv(variable, endpoint)
    fresh_client.setenv("AWS_ACCESS_KEY_ID", "key")
    fresh_client.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    s3_store.client.cache_clear()

    def reject(**_: object) -> None:
        raise ClientError(
            {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}},
            "PutObject",
        )

    s3_store.client().meta.events.register("before-call.s3.PutObject", reject)
    result = check_registry(f"{s3}/registry")
    assert (result.level, result.remedy) == ("bad", remedy)
