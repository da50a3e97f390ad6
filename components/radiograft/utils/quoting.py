"""Lists of names in one line of text: `a, "b, c"`, YAML's and JSON's `[a, 'b, c']`, and the lists that Python prints."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

QUOTED = r""""(?:[^"\\]|\\.|"")*"|'(?:[^'\\]|\\.|'')*'"""
BRACKETS = {"[": "]", "(": ")", "{": "}"}
ESCAPE = r"""\\u([0-9a-fA-F]{4})|\\(["'\\])"""


@functools.lru_cache(maxsize=64)
def _token(separator: str) -> re.Pattern[str]:
    """Matches a quoted text that fills an item or one side of `name=value`, a separator, or any other character."""
    bound = separator if separator == "," else f"{separator}|,"
    return re.compile(rf"(?P<quoted>(?<![^\s=,;|/])(?:{QUOTED})(?=\s*(?:=|{bound}|$)))|(?P<end>{separator})|.", re.DOTALL)


def split_quoted(text: str, separator: str = ",") -> list[str]:
    """Splits at a separator except inside quotes, and strips white space; quotes stay.

    Args:
        separator: regular expression.

    Example:
        >>> split_quoted('malignant, "normal, benign"')
        ['malignant', '"normal, benign"']
    """
    parts = [""]
    for match in _token(separator).finditer(text):
        if match.lastgroup == "end":
            parts.append("")
        else:
            parts[-1] += match[0]
    return [part.strip() for part in parts]


def unquote(text: str) -> str:
    """Removes quotes around a text, and the escapes that they make necessary.

    Example:
        >>> unquote("'it''s'"), unquote("Barrett's")
        ("it's", "Barrett's")
    """
    if not re.fullmatch(QUOTED, text, re.DOTALL):
        return text
    quote = text[0]
    escape = re.compile(f"{ESCAPE}|{quote}{quote}")
    return escape.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2] or quote, text[1:-1])


def without_brackets(text: str) -> str | None:
    """Returns the inside of a list in brackets, or None if the text is no list."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and BRACKETS.get(text[0]) == text[-1] else None


def parse_names(text: str) -> tuple[str, ...]:
    """Returns the names in a list that is separated by commas, with or without square brackets.

    Example:
        >>> parse_names('Mass, Edema'), parse_names("[malignant, 'normal, benign']")
        (('Mass', 'Edema'), ('malignant', 'normal, benign'))
    """
    inside = without_brackets(text) if text.startswith("[") else None
    return tuple(map(unquote, split_quoted(text if inside is None else inside)))


def format_names(names: Iterable[str]) -> str:
    """Returns the text from which `parse_names` reads these names.

    Example:
        >>> format_names(["malignant", "normal, benign"])
        'malignant,"normal, benign"'
    """
    return ",".join(map(quote_name, names))


def quote_name(name: str) -> str:
    """Returns a name with quotes, if it has none of the forms that need no quotes."""
    if re.fullmatch(r"[\w./+&()-]+(?: +[\w./+&()-]+)*", name) and name != "all":
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def split_pair(part: str) -> tuple[str, str, str]:
    """Splits `name=value` as `str.partition` does, except inside quotes, and removes quotes.

    Example:
        >>> split_pair('"a=b, c"=0.8')
        ('a=b, c', '=', '0.8')
    """
    match = re.match(rf"\s*({QUOTED}|[^=]*?)\s*=\s*(.*)$", part, re.DOTALL)
    return (unquote(match[1]), "=", unquote(match[2].strip())) if match else (unquote(part), "", "")
