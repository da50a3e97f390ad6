"""How long and how often a request to an object store is repeated, the same for every kind of store.

The clients' own repeating is switched off. Each has a list of errors of its own (S3's leaves out 408), none goes on as
long as a store that is restarted takes, and Google's takes up an answer that broke off where it ended, and then no
longer compares the checksum of the whole.
"""

from __future__ import annotations

import itertools
import logging
import re
import textwrap
from collections.abc import Callable
from typing import TypeVar

from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry

RETRY_TIMEOUT_SECONDS = 300.0  # seconds after which no more is tried
INITIAL_BACKOFF = 1.0  # seconds at most; each pause is drawn from 0 up, so that many pods do not come back at once
MAX_BACKOFF = 30.0  # up to which it doubles
CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 60.0  # after which a store that says nothing is asked again
RETRYABLE_STATUS_CODES = frozenset({408, 429, 500, 502, 503, 504})  # HTTP statuses that may be others the next time
URL = re.compile(r"\S*/\S*")  # ends in a file's name, which may be a patient's
Answer = TypeVar("Answer")
log = logging.getLogger("radiograft")


def _make_retry(may_heal: Callable[[Exception], bool]) -> Retry:
    """The policy as google-api-core has it, for errors of which `may_heal` says so. The first one is told."""
    levels = itertools.chain([logging.WARNING], itertools.repeat(logging.DEBUG))

    def tell(error: Exception) -> None:
        said = URL.sub("...", str(error))
        log.log(next(levels), "asking the object store again: %s", textwrap.shorten(said, 200))

    return Retry(
        predicate=may_heal,
        initial=INITIAL_BACKOFF,
        maximum=MAX_BACKOFF,
        multiplier=2.0,
        timeout=RETRY_TIMEOUT_SECONDS,
        on_error=tell,
    )


def call_with_retry(request: Callable[[], Answer], may_heal: Callable[[Exception], bool]) -> Answer:
    """Makes a request until it is answered, raises what cannot heal, or PATIENCE has run out.

    Raises:
        Exception: the last one that the request raised.
    """
    try:
        answer: Answer = _make_retry(may_heal)(request)()
    except RetryError as error:
        raise error.cause from None
    return answer
