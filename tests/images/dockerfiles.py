"""Parses the Dockerfiles into instructions and stages."""

from __future__ import annotations

import re

from tests.repository import ROOT

IMAGES = ROOT / "images"
NAMES = ("trainer", "tensorboard")


def instructions(name: str) -> list[tuple[str, str]]:
    """Returns keywords and arguments, with continued lines joined and comments removed."""
    lines = [line for line in (IMAGES / name / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    split = (line.split(maxsplit=1) for line in joined.splitlines() if line)
    return [(keyword, arguments) for keyword, arguments in split]


def stages(name: str) -> dict[str, list[tuple[str, str]]]:
    """Returns the instructions of each build stage by name."""
    result: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for keyword, arguments in instructions(name):
        if keyword == "FROM":
            current = arguments.partition(" AS ")[2] or "only"
        result.setdefault(current, []).append((keyword, arguments))
    return result


def environment(stage: list[tuple[str, str]]) -> dict[str, str]:
    """Returns the environment variables that a stage sets."""
    pairs = (pair for keyword, arguments in stage if keyword == "ENV" for pair in arguments.split())
    return dict(pair.split("=", maxsplit=1) for pair in pairs)
