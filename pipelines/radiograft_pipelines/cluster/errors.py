"""Errors of the KFP and Kubernetes clients: their messages, and retries with backoff."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")
UNREADY = (429, 502, 503, 504)


class ClusterError(RuntimeError):
    """A request to the cluster failed. The message states the cause, what was received and what to do."""


def unready(error: Exception) -> bool:
    """Returns whether the server answered, but is not ready yet."""
    return getattr(error, "status", None) in UNREADY


def is_retryable(error: Exception) -> bool:
    """Whether the same request may succeed soon: the server is not ready, or the line broke."""
    from urllib3.exceptions import HTTPError

    return unready(error) or isinstance(error, HTTPError)


def call_with_retry(
    call: Callable[[], Answer], *, seconds: float, passing: Callable[[Exception], bool] = is_retryable
) -> Answer:
    """Calls until an answer comes, with exponential backoff and jitter, for `seconds` at most.

    Args:
        passing: which failures may pass; all others, and the last one, are raised.
    """
    from radiograft.utils.retry import call_with_backoff

    return call_with_backoff(lambda: _retrying(call), passing, initial=0.5, maximum=10.0, timeout=seconds)


def _retrying(call: Callable[[], Answer]) -> Answer:
    from kfp_server_api import ApiException

    try:
        return call()
    except AttributeError as error:  # kfp-server-api decodes the body of a TLS failure, which has none
        if isinstance(error.__context__, ApiException):
            raise error.__context__ from None
        raise


def translate_errors(error: Exception, host: str, subject: str) -> ClusterError:
    """Translates an exception of an API client into a `ClusterError`.

    Args:
        host: URL of the server.
        subject: what was requested, such as `run 5d8b` or `the list of runs`.
    """
    status = getattr(error, "status", None)
    if not status:
        return ClusterError(f"{host} cannot be reached: {_reason(error)}. Check the address and any port-forward")
    message = short_message(getattr(error, "body", None))
    return ClusterError(_status_message(int(status), host, subject) + (f" ({message})" if message else ""))


def _status_message(status: int, host: str, subject: str) -> str:
    if status in (401, 403):
        return f"{host} returned {status} for {subject}: set KFP_TOKEN to a valid token that has permission"
    if status in UNREADY:
        return f"{host} is not ready: it returned {status} for {subject} until the timeout"
    if 300 <= status < 400:
        return f"{host} redirected the request for {subject}, possibly to a login page; set KFP_TOKEN"
    if status == 404:
        return f"{host} returned 404 for {subject}: it does not exist"
    if status == 409:
        return f"{host} returned 409 for {subject}: it already exists"
    if status == 500:
        return f"{host} returned 500 for {subject}; KFP also returns 500 for an unknown ID"
    return f"{host} returned {status} for {subject}"


def short_message(body: Any) -> str:
    """Returns the message in an error response of KFP's or Kubernetes's REST API, or an empty string."""
    try:
        content = json.loads(body)
        details = content.get("details")
        detail = details[0] if isinstance(details, list) and details else {}
        return str(detail.get("message") or content.get("message") or "").strip()
    except (TypeError, ValueError, AttributeError):
        return ""


def _reason(error: Exception) -> str:
    """Returns the root cause, such as `[Errno 111] Connection refused`, without urllib3's prefixes."""
    text = str(getattr(error, "reason", None) or error).replace("\n", ": ")
    return text.rpartition("): ")[2].removeprefix("Failed to establish a new connection: ").rstrip(".")
