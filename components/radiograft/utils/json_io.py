"""Parses untrusted JSON files; errors name the file."""

from __future__ import annotations

import json
from typing import Any


def parse_json_object(content: bytes, name: str) -> dict[str, Any]:
    """Parses a JSON file whose top level is an object.

    Args:
        name: of the file, for error messages.

    Raises:
        ValueError: the content is not JSON, is nested too deeply or is not an object.

    Example:
        >>> parse_json_object(b'{"version": 3}', "production.json")
        {'version': 3}
    """
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be valid JSON, got: {error}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"{name} must contain a JSON object, got {type(parsed).__name__}")
    return parsed
