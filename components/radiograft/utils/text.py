"""Checks names, and makes untrusted text safe to print on a terminal, which would interpret control characters."""

from __future__ import annotations

import re

CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all of Unicode's but tab and line feed
RECORD_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


def escape_control_characters(text: str) -> str:
    """Replaces each control character by U+FFFD.

    Example:
        >>> escape_control_characters("Effusion" + chr(27) + "[2J")
        'Effusion\ufffd[2J'
    """
    return CONTROL_CHARACTERS.sub("\ufffd", text)


def check_record_name(setting: str, name: str) -> None:
    """Rejects a name that is unsuitable for a file or folder.

    Args:
        setting: name of the setting, for the error message.

    Raises:
        ValueError: the name is invalid.
    """
    if not RECORD_NAME.fullmatch(name):
        raise ValueError(
            f"{setting} must be 1 to 63 characters from A-Z a-z 0-9 _ - and start with a letter or digit, got {name!r}"
        )
