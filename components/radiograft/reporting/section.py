"""A part of the report that an analysis adds: a partial template of `sections/` and what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Section(NamedTuple):
    """`template` is a file of `components/evaluate/sections`; the template finds `content` under the name `section`."""

    template: str
    content: Mapping[str, object]
