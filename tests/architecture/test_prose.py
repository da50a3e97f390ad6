"""The prose lint: comments, docstrings, messages and Markdown use none of the phrases in banned_phrases.txt."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.repository import ROOT

PHRASES = Path(__file__).with_name("banned_phrases.txt")
CHECKED = ("*.py", "*.md", "*.j2", "*.yaml", "Makefile")
BETWEEN_WORDS = r"""(?:\s|[#"'\\]|\bf(?="))+"""  # also from one line of a comment or of joined strings to the next
STORED = re.compile(r"^.*# stored text$", re.MULTILINE)  # text that old registries contain cannot be reworded
JINJA_CODE = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)  # `is none` is a test of Jinja


class Phrase(NamedTuple):
    """A banned phrase: what matches it, and what to write instead."""

    pattern: re.Pattern[str]
    instead: str

    @classmethod
    def parse(cls, line: str) -> Phrase:
        """Parses `regular expression => replacement`."""
        regex, instead = line.split(" => ")
        return cls(re.compile(rf"(?i)(?<!\w)(?:{regex.replace(' ', BETWEEN_WORDS)})(?!\w)"), instead)


@pytest.fixture(scope="module")
def phrases() -> list[Phrase]:
    lines = PHRASES.read_text().splitlines()
    return [Phrase.parse(line) for line in lines if line and not line.startswith("#")]


def find_phrases(name: str, text: str, phrases: list[Phrase]) -> list[str]:
    """Returns `file:line: phrase => replacement` for each banned phrase in a text."""
    if name.endswith(".j2"):
        text = JINJA_CODE.sub(lambda code: re.sub(r"\S", " ", code[0]), text)
    text = STORED.sub("", text)
    matches = [(match, phrase.instead) for phrase in phrases for match in phrase.pattern.finditer(text)]
    return [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r} => {instead}"
        for match, instead in sorted(matches, key=lambda found: found[0].start())
    ]


def checked_files() -> list[str]:
    """Returns the files that git tracks, and new ones, relative to the repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *CHECKED]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file() and ROOT / name != Path(__file__)]


def test_repository_has_no_banned_phrase(phrases: list[Phrase]) -> None:
    found = [line for name in checked_files() for line in find_phrases(name, (ROOT / name).read_text(), phrases)]
    assert not found, f"{len(found)} banned phrases:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.py", '"""Reads the file anew."""', ["a.py:1: 'anew' => again, or a verb with re-"]),
        ("a.py", "# First.\n# It goes\n# on.\n", ["a.py:2: 'goes\\n# on' => continue or resume"]),
        ("a.py", 'f"the pointer is "\nf"none"', ["a.py:1: 'is \"\\nf\"none' => is missing or invalid"]),
        ("a.py", "if pointer is None:\n    pass", []),
        ("a.py", '"""Returns the pointer, or None if there is none."""', []),
        ("a.py", 'OLD = "grey"  # stored text\nNEW = "grey"\n', ["a.py:2: 'grey' => gray"]),
        ("a.py", 'counts["pictures"] = len(images)  # the key `pictures` is stored', []),
        ("a.md", "Two pictures.", ["a.md:1: 'pictures' => image"]),
        ("a.md", "Judge\nColour.", ["a.md:1: 'Judge' => evaluate", "a.md:2: 'Colour' => color"]),
        ("a.j2", "{% if score is none %}missing{% endif %}", []),
        ("a.j2", "{{ score }} is none", ["a.j2:1: 'is none' => is missing or invalid"]),
        ("a.md", "The value is no longer used; it tells the reader.", ["a.md:1: 'tells' => report, say or return"]),
    ],
)  # fmt: skip
def test_find_phrases_text_reports_lines(name: str, text: str, expected: list[str], phrases: list[Phrase]) -> None:
    assert find_phrases(name, text, phrases) == expected
