"""Retries with exponential backoff, for object stores and the APIs of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry

Answer = TypeVar("Answer")


def call_with_backoff(
    call: Callable[[], Answer],
    is_retryable: Callable[[Exception], bool],
    *,
    initial: float,
    maximum: float,
    timeout: float,
    on_error: Callable[[Exception], object] | None = None,
) -> Answer:
    """Calls until the call succeeds, fails with an error that is not retryable or the timeout has passed.

    Each delay is drawn between 0 and a limit that doubles from `initial` to `maximum`, so that many pods do not retry
    at the same time.

    Args:
        initial, maximum, timeout: in seconds.
        on_error: called with every retryable error.

    Raises:
        Exception: the last error of the call.
    """
    retry = Retry(
        predicate=is_retryable, initial=initial, maximum=maximum, multiplier=2.0, timeout=timeout, on_error=on_error
    )
    try:
        answer: Answer = retry(call)()
    except RetryError as error:
        raise (error.cause or error) from None
    return answer
