"""Makes untrusted text safe to print on a terminal, which would interpret its control characters."""

from __future__ import annotations

import re

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all of Unicode's but tab and line feed


def escape_control_characters(text: str) -> str:
    """Replaces each control character by U+FFFD.

    Example:
        >>> escape_control_characters("Effusion" + chr(27) + "[2J")
        'Effusion\ufffd[2J'
    """
    return CONTROL_CHARACTERS.sub("\ufffd", text)
