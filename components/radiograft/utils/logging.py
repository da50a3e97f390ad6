"""The log of a stage: one line a record on standard output, safe to print on a terminal."""

from __future__ import annotations

import logging
import sys

from radiograft.utils.text import escape_control_characters

LOG_FORMAT = "radiograft %(levelname)s | %(message)s"


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return escape_control_characters(super().format(record))


def configure_logging() -> None:
    """Logs Radiograft's records from level DEBUG and those of other libraries from level WARNING.

    DEBUG records are progress, which a terminal shows briefly. INFO and above are results, which remain visible.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_SafeFormatter(LOG_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("radiograft").setLevel(logging.DEBUG)
