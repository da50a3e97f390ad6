"""The retry policy of the object stores.

The clients' own retries are disabled. Their lists of retryable errors differ (S3's omits 408), they stop before a store
has restarted, and Google's resumes an interrupted download and then skips the checksum of the whole.
"""

from __future__ import annotations

import itertools
import logging
import re
import textwrap
from collections.abc import Callable
from typing import TypeVar

from radiograft.utils.retry import call_with_backoff

RETRY_TIMEOUT_SECONDS = 300.0
INITIAL_BACKOFF = 1.0  # seconds
MAX_BACKOFF = 30.0  # seconds
CONNECT_TIMEOUT = 10.0  # seconds
READ_TIMEOUT = 60.0  # seconds without data after which a request is retried
RETRYABLE_STATUS_CODES = frozenset({408, 429, 500, 502, 503, 504})
URL = re.compile(r"\S*/\S*")  # may end with a file name, which may be a patient's name
Answer = TypeVar("Answer")
log = logging.getLogger("radiograft")


def call_with_retry(request: Callable[[], Answer], is_retryable: Callable[[Exception], bool]) -> Answer:
    """Repeats a request until it succeeds, fails with another error or RETRY_TIMEOUT_SECONDS have passed.

    The first failure is logged as a warning, the others at level DEBUG.

    Raises:
        Exception: the last error of the request.
    """
    levels = itertools.chain([logging.WARNING], itertools.repeat(logging.DEBUG))

    def log_error(error: Exception) -> None:
        message = textwrap.shorten(URL.sub("...", str(error)), 200)
        log.log(next(levels), "retrying the object store request: %s", message)

    return call_with_backoff(
        request,
        is_retryable,
        initial=INITIAL_BACKOFF,
        maximum=MAX_BACKOFF,
        timeout=RETRY_TIMEOUT_SECONDS,
        on_error=log_error,
    )
