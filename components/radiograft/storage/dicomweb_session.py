"""Requests to a DICOMweb service: credentials, retries, limits and errors."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import requests
from dicomweb_client.web import DICOMwebClient
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth

from radiograft.storage import backend, retry
from radiograft.storage.backend import MAX_MEMBER_BYTES, Answer, StorageError, TooLargeError
from radiograft.storage.dicomweb_uri import PASSWORD_VARIABLE, TOKEN_VARIABLE, USER_VARIABLE, parse_service

DENIED, MISSING = (401, 403), (404, 410)
LOOPBACK = ("localhost", "127.0.0.1", "::1")

logging.getLogger("dicomweb_client").setLevel(logging.ERROR)  # its records contain UIDs
log = logging.getLogger("radiograft")


class Credentials(NamedTuple):
    """What the environment says about how to log in; empty if it says nothing."""

    user: str
    password: str
    token: str

    @classmethod
    def from_environment(cls) -> Credentials:
        """Reads the variables, so that no credentials are in a setting, a log or a URI."""
        return cls(*(os.environ.get(name, "") for name in (USER_VARIABLE, PASSWORD_VARIABLE, TOKEN_VARIABLE)))


class _BearerAuth(AuthBase):  # type: ignore[misc]  # requests has no types
    """Sends a token. `requests` removes the header if a redirect leads to another host."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


def send(root: str, request: Callable[[DICOMwebClient], Answer], uri: str = "") -> Answer:
    """Sends a request with retries.

    Args:
        root: URI of the service.
        request: the request, which gets the client.
        uri: the instance that is read; empty for a search.

    Raises:
        FileNotFoundError: the instance does not exist.
        StorageError: any other failure.
    """
    client = _client_at(parse_service(root).url, Credentials.from_environment())
    with _translate_errors(root, uri):
        return retry.call_with_retry(lambda: request(client), is_retryable)


@functools.lru_cache(maxsize=8)
def _client_at(url: str, credentials: Credentials) -> DICOMwebClient:
    """Returns the client of a service, which all threads share."""
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=16))
    if credentials.token:
        session.auth = _BearerAuth(credentials.token)
    elif credentials.user:
        session.auth = HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())
    if session.auth and url.startswith("http://") and urllib.parse.urlsplit(url).hostname not in LOOPBACK:
        log.warning("credentials are sent without encryption: use dicomweb:// if the service supports HTTPS")
    session.headers["Accept-Encoding"] = "identity"  # compression takes longer than it saves
    session.hooks["response"].append(_limit_size)
    client = DICOMwebClient(url, session, permissive_uid=True, timeout=(retry.CONNECT_TIMEOUT, retry.READ_TIMEOUT))
    client.set_http_retry_params(retry=False)
    return client


def _limit_size(response: Any, **_: object) -> None:
    """Makes a response raise TooLargeError instead of filling the memory. Called before the content is read."""
    read = response.iter_content

    def iter_content(*arguments: Any, **options: Any) -> Iterator[bytes]:
        total = 0
        for chunk in read(*arguments, **options):
            total += len(chunk)
            if total > MAX_MEMBER_BYTES:
                response.close()
                raise TooLargeError(f"a response must have at most {MAX_MEMBER_BYTES:,} bytes")
            yield chunk

    response.iter_content = iter_content


def is_retryable(error: Exception) -> bool:
    """Returns whether a request may succeed if it is repeated."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code in retry.RETRYABLE_STATUS_CODES
    if isinstance(error, requests.exceptions.SSLError):
        return False
    return isinstance(error, requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError)


@contextlib.contextmanager
def _translate_errors(root: str, uri: str) -> Iterator[None]:
    """Turns client errors into FileNotFoundError or StorageError, without the URL that the client's messages quote."""
    try:
        yield
    except requests.HTTPError as error:
        raise _explain(error.response.status_code, root, uri) from None
    except requests.exceptions.SSLError:
        raise StorageError(
            f"the certificate of {root} must be valid; set REQUESTS_CA_BUNDLE to the file of your own authority's "
            "certificate"
        ) from None
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise StorageError(f"{root} cannot be reached ({type(error).__name__}); check host and port") from None
    except (requests.RequestException, ValueError, LookupError):  # no JSON, no multipart message
        raise no_service_error(root) from None


def _explain(status: int, root: str, uri: str) -> OSError:
    if status in DENIED:
        state = "rejected" if any(Credentials.from_environment()) else "requires"
        return StorageError(
            f"{root} {state} credentials (HTTP {status}): set {USER_VARIABLE} and {PASSWORD_VARIABLE}, or "
            f"{TOKEN_VARIABLE}"
        )
    if status in MISSING and uri:
        return backend.missing_error(uri)
    if status in MISSING:
        return no_service_error(root)
    hint = "" if uri else ": check that it is the root of a DICOMweb service, and the filters"
    return StorageError(f"{root} rejected the {'retrieval of an image' if uri else 'search'} (HTTP {status}){hint}")


def no_service_error(root: str) -> StorageError:
    """Returns the error for a server whose responses are not those of a DICOMweb service."""
    return StorageError(
        f"data_source must be the root of a DICOMweb service, such as dicomweb://HOST/dicom-web, got {root}"
    )
