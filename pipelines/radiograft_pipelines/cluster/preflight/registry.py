"""Checks that this machine can write to the registry, and that the registry's store has conditional writes."""

from __future__ import annotations

import os
import socket
import urllib.parse
import uuid

from radiograft import storage
from radiograft_pipelines.cluster.preflight.checks import CheckResult

CREDENTIALS_NOTE = "with this machine's credentials; pods use those of their service account"
PERMISSION = "grant read, write and delete permission"
OWN_STORE = (
    "for a bucket in KFP's own store: kubectl port-forward --namespace kubeflow svc/seaweedfs 9000, then set "
    "AWS_ENDPOINT_URL=http://localhost:9000, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to accesskey and "
    "secretkey of the secret mlpipeline-minio-artifact"
)


def check_registry(root: str) -> CheckResult:
    """Checks that the registry is writable, and that it rejects a conditional write against an outdated state.

    Writes a small file below the registry, and deletes it.
    """
    uri = storage.join(root, "_doctor", uuid.uuid4().hex)
    try:
        _require_port_forward(root)
        try:
            return _check_conditional_writes(root, uri)
        finally:
            storage.delete(uri)
    except Exception as error:  # any error of the store's client is the result
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        message = f"the registry {root} is not writable, {CREDENTIALS_NOTE}: {text}"
        return CheckResult("bad", message, _access_remedy(root, text))


def _require_port_forward(root: str) -> None:
    """Raises an error if no port-forward is running for a store on this machine, which is retried for minutes."""
    url = urllib.parse.urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    if root.startswith("s3://") and url.hostname in ("localhost", "127.0.0.1"):
        try:
            socket.create_connection((url.hostname, url.port or 80), timeout=3).close()
        except OSError as error:
            raise ConnectionError(f"AWS_ENDPOINT_URL={url.geturl()} cannot be reached: {error}") from None


def _access_remedy(root: str, error: str) -> str:
    """Returns how to get access to a bucket. KFP's own store is reached through a port-forward, with its own keys."""
    if not root.startswith("s3://"):
        return PERMISSION
    if " rejected " not in error:  # credentials are missing, or the store cannot be reached
        return OWN_STORE
    return PERMISSION if "AWS_ENDPOINT_URL" in os.environ else f"{PERMISSION}; {OWN_STORE}"


def _check_conditional_writes(root: str, uri: str) -> CheckResult:
    storage.swap_content(uri, b"first", None)
    token = storage.read_versioned(uri).token
    storage.swap_content(uri, b"second", token)
    for stale in (None, token):
        try:
            storage.swap_content(uri, b"third", stale)
        except FileExistsError:
            continue
        return CheckResult(
            "bad",
            f"the registry {root} accepted a conditional write against an outdated state: concurrent runs could "
            "publish the same version",
            "use a store with conditional writes: gs://, or S3 with If-Match and If-None-Match",
        )
    return CheckResult("good", f"the registry {root} is writable and supports conditional writes, {CREDENTIALS_NOTE}")
