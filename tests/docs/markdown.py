"""Reads the repository's Markdown: fenced blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.repository import ROOT

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "components").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the page's fenced blocks of a language, in order."""
    return [content for name, content in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def commands(page: Path) -> list[str]:
    """Console commands: what follows `$ `, with continuation lines."""
    text = "\n".join(blocks(page, "console"))
    return [command.strip() for command in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]]


def words(command: str) -> list[str]:
    """A command as the shell splits it, comments left out."""
    return shlex.split(command.replace("\\\n", " "), comments=True)


def radiograft_commands(page: Path) -> list[list[str]]:
    """Arguments of each `radiograft ...` that is written out, without variables of the shell."""
    parsed = [words(command) for command in commands(page) if command.startswith("radiograft ") and "$" not in command]
    return [[word for word in command[1:] if word != "&"] for command in parsed]


def links(page: Path) -> list[str]:
    """Targets of the page's links and images, those in code left out."""
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
    return LINK.findall(text)
