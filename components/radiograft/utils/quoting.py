"""Lists of names in one line of text, as YAML, JSON and Python write them: `a, "b, c"` or `[a, 'b, c']`."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

PRINTED = re.compile(r"(?:array|Index|list|tuple|set|frozenset)\((.*?)(?:,\s*dtype=[\w.<>'\"]+)?\)", re.DOTALL)
QUOTED = r""""(?:[^"\\]|\\.|"")*"|'(?:[^'\\]|\\.|'')*'"""
GAP = r"[\s,\[\](){}]"
BRACKETS = {"[": "]", "(": ")", "{": "}"}
ESCAPE = r"""\\u([0-9a-fA-F]{4})|\\(["'\\])"""


@functools.lru_cache(maxsize=64)
def _token(separator: str) -> re.Pattern[str]:
    """Matches a quoted text that fills an item or one side of `name=value`, a separator, or any other character."""
    bound = separator if separator == "," else f"{separator}|,"
    return re.compile(
        rf"(?P<quoted>(?<![^\s=,;|/])(?:{QUOTED})(?=\s*(?:=|{bound}|$)))|(?P<end>{separator})|.", re.DOTALL
    )


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


def list_items(text: str, separator: str = ",") -> list[str] | None:
    """Returns the items of a list in brackets, without their quotes, or None if the text is not such a list.

    Args:
        text: a list as Python, NumPy, pandas, JSON or YAML writes it; nested lists are joined.
        separator: regular expression, at which items without quotes are split besides commas.

    Example:
        >>> list_items("['a', 'b, c']"), list_items("[a, b]"), list_items("(left) effusion (small)")
        (['a', 'b, c'], ['a', 'b'], None)
    """
    printed = PRINTED.fullmatch(text.strip())
    text = printed[1].strip() if printed else text.strip()
    if len(text) < 2 or BRACKETS.get(text[0]) != text[-1]:
        return None
    inside = text[1:-1]
    if re.fullmatch(rf"{GAP}*(?:{QUOTED})(?:{GAP}+(?:{QUOTED}))*{GAP}*", inside, re.DOTALL):
        return [unquote(item) for item in re.findall(QUOTED, inside, re.DOTALL)]
    if text[0] != "[" or re.search(r"[][]", inside):
        return None
    return [unquote(item) for item in split_quoted(inside, separator if separator == "," else f",|{separator}")]


def parse_names(text: str) -> tuple[str, ...]:
    """Returns the names in a list that is separated by commas, with or without square brackets.

    Example:
        >>> parse_names('Mass, Edema'), parse_names("[malignant, 'normal, benign']")
        (('Mass', 'Edema'), ('malignant', 'normal, benign'))
    """
    items = list_items(text) if text.startswith("[") else None
    return tuple(map(unquote, split_quoted(text)) if items is None else items)


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


def parse_assignments(name: str, text: str) -> dict[str, str]:
    """Parses `name=value,...`; an empty text gives none.

    Raises:
        ValueError: a name is given twice or has no value.

    Example:
        >>> parse_assignments("--patient-data", "age=63, sex=F")
        {'age': '63', 'sex': 'F'}
    """
    pairs = [split_pair(part) for part in split_quoted(text)] if text else []
    values = {key: value for key, _, value in pairs}
    if len(values) < len(pairs) or not all(key and value for key, value in values.items()):
        raise ValueError(f"{name} must be NAME=VALUE,... with each name once, got {text!r}")
    return values
