"""A part of the report that an analysis adds: a partial template of `sections/` and what it shows."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from radiograft.reporting import narrative

if TYPE_CHECKING:  # it loads TensorFlow, without which the data report is made
    pass


class ReportSection(NamedTuple):
    """`template` is a file of `components/evaluate/sections`; the template finds `content` under the name `section`."""

    template: str
    content: Mapping[str, object]


def environment() -> Environment:
    """Where pages find their templates."""
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
