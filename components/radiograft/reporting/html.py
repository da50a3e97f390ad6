"""The Jinja environment of all HTML reports, and the sections that analyses add to the evaluation report."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from radiograft.reporting import narrative


class ReportSection(NamedTuple):
    """Section of the report. `template` is a file in `templates/sections`, which receives `content` as `section`."""

    template: str
    content: Mapping[str, object]


def environment() -> Environment:
    """Returns the Jinja environment that loads the report templates."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = narrative.format_number
    environment.filters["strategy"] = narrative.STRATEGIES.__getitem__
    environment.filters["plain"] = _plain
    environment.filters["base64"] = _base64
    return environment


def _plain(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _base64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()
