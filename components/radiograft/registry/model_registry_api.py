"""The REST API of a Kubeflow Model Registry: version, token, retries and errors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from radiograft.utils import json_io

API_VERSIONS = ("v1", "v1alpha3")
ATTEMPTS = Retry(
    3, backoff_factor=0.5, allowed_methods=["GET"], status_forcelist=[502, 503, 504], raise_on_status=False
)
SERVICE_ACCOUNT_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
TIMEOUT = (5, 30)  # seconds to connect, and between bytes of a response
TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # noqa: S105  KFP's name for a file
Json = dict[str, Any]


class RegistrationError(RuntimeError):
    """A version could not be registered. Registering it again completes what is missing."""


class ModelRegistryApi:
    """The REST API of a Model Registry, in the newest version that both sides know."""

    def __init__(self, url: str) -> None:
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=ATTEMPTS))
        self._url, token = url, _read_token(url)
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"
        bases = (f"{url}/api/model_registry/{version}" for version in API_VERSIONS)
        found = next((base for base in bases if self._call("GET", f"{base}/registered_models?pageSize=1")), None)
        if not found:
            raise RegistrationError(f"{url} must be the URL of a Kubeflow Model Registry, but does not have its API")
        self.base = found

    def find_or_create(self, find: str, query: Mapping[str, str], create: str, content: Json) -> Json:
        """Returns what `find` finds, or what is created from `content`, by this or by another attempt."""
        for _ in range(2):
            found = self._call("GET", f"{self.base}/{find}", params=query)
            found = found or self._call("POST", f"{self.base}/{create}", json=content)
            if found and isinstance(found.get("id"), str):
                return found
        raise RegistrationError(f"{self._url} must return the {find} {query['name']} with an id, got none")

    def _call(self, method: str, url: str, **arguments: Any) -> Json | None:
        """Returns the response; None if a GET finds nothing, or if a POST finds that the name exists."""
        try:
            response = self._session.request(method, url, timeout=TIMEOUT, allow_redirects=False, **arguments)
        except requests.RequestException as error:
            raise RegistrationError(f"{self._url} cannot be reached: {error}") from error
        if (method, response.status_code) in (("GET", 404), ("POST", 409)):
            return None
        if response.status_code not in (200, 201):
            raise RegistrationError(f"{self._url} must accept {method} {url}, got {_describe(response)}")
        try:
            return json_io.parse_json_object(response.content, url)
        except ValueError as error:
            raise RegistrationError(f"{self._url} is not a Kubeflow Model Registry: {error}") from error


def _describe(response: requests.Response) -> str:
    """Returns status and message of an error in one line."""
    try:
        message = response.json()["message"]
    except (ValueError, LookupError, TypeError):
        message = response.reason
    return f"HTTP {response.status_code}: {message!s:.300}"


def _read_token(url: str) -> str | None:
    """Returns the bearer token. That of the service account is not sent without TLS unless the variable names it."""
    named = os.environ.get(TOKEN_VARIABLE)
    if named:
        try:
            return Path(named).read_text().strip()
        except OSError as error:
            raise RegistrationError(f"{TOKEN_VARIABLE} must name a readable file, got {named!r}: {error}") from error
    if url.startswith("https://") and SERVICE_ACCOUNT_TOKEN.exists():
        return SERVICE_ACCOUNT_TOKEN.read_text().strip()
    return None
