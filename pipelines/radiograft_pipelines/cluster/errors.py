"""What can go wrong between here and the cluster: one message each, and another try where that helps."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

Answer = TypeVar("Answer")
UNREADY = (429, 502, 503, 504)


class ClusterError(RuntimeError):
    """What went wrong, what was received and what to do, in one message."""


def unready(error: Exception) -> bool:
    """Whether a server is there that may answer soon."""
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
    """The one message for what an API client raised.

    Args:
        host: URL that was asked.
        subject: what the request was about: `run 5d8b`, `the list of runs`.
    """
    status = getattr(error, "status", None)
    if not status:
        return ClusterError(f"{host} cannot be reached: {_reason(error)}. Is the address right, and a tunnel open?")
    said = short_message(getattr(error, "body", None))
    return ClusterError(_by_status(int(status), host, subject) + (f" ({said})" if said else ""))


def _by_status(status: int, host: str, subject: str) -> str:
    if status in (401, 403):
        return (
            f"{host} answered {status} to {subject}: the token has expired or lacks the right; put one into KFP_TOKEN"
        )
    if status in UNREADY:
        return f"{host} is not ready: it answered {status} to {subject} until the timeout"
    if 300 <= status < 400:
        return f"{host} sends {subject} to another page, perhaps to log in; put a token into KFP_TOKEN"
    if status == 404:
        return f"{host} does not know {subject}"
    if status == 409:
        return f"{host} has {subject} already"
    if status == 500:
        return f"{host} answered 500 to {subject}, which is also KFP's answer to an id that it does not know"
    return f"{host} answered {status} to {subject}"


def short_message(body: Any) -> str:
    """The sentence in an error of KFP's or Kubernetes's REST API; empty where there is none."""
    try:
        content = json.loads(body)
        details = content.get("details")
        detail = details[0] if isinstance(details, list) and details else {}
        return str(detail.get("message") or content.get("message") or "").strip()
    except (TypeError, ValueError, AttributeError):
        return ""


def _reason(error: Exception) -> str:
    """`[Errno 111] Connection refused` out of what urllib3 and the API clients put before it."""
    text = str(getattr(error, "reason", None) or error).replace("\n", ": ")
    return text.rpartition("): ")[2].removeprefix("Failed to establish a new connection: ").rstrip(".")
