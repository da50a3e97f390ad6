"""A JSON file that anybody may have written, read as an object; what is wrong with it is told with the file's name."""

from __future__ import annotations

import json
from typing import Any


def parse_json_object(content: bytes, name: str) -> dict[str, Any]:
    """The object that a file holds.

    Args:
        name: of the file, for messages.

    Raises:
        ValueError: no JSON, JSON that is nested too deeply to read, or no object.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be JSON, got other content: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} must hold a JSON object, got {type(found).__name__}")
    return found
