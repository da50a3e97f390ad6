"""Foreign text on its way to a terminal, which would obey the control characters in it."""

from __future__ import annotations

import re

COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # Unicode's control characters but tab and line feed


def escape_control_characters(text: str) -> str:
    """The text with U+FFFD for each control character: names in data and registries may hold any."""
    return COMMANDS.sub("\ufffd", text)
