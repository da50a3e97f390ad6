"""Cron expressions in KFP's dialect.

They have six fields, the first of which is the second. The day of the week is 0 (Sunday) to 6. The time zone is the
cluster's: UTC unless its administrator configured another.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from radiograft_pipelines.cluster.errors import ClusterError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PART = re.compile(r"(?P<all>[*?])?(?P<first>\w+)?(-(?P<last>\w+))?(/(?P<step>\d+))?")


class Field(NamedTuple):
    """The range of a field, and the names that stand for its numbers, in order from `low`."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


FIELDS = (
    Field("second", 0, 59),
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of week", 0, 6, DAYS),
)


class Cron(NamedTuple):
    """A valid cron expression.

    Attributes:
        text: the expression with six fields.
        completed: whether it was given with five fields.
        subhourly: whether it fires more than once an hour.
    """

    text: str
    completed: bool
    subhourly: bool


def parse_cron(text: str) -> Cron:
    """Parses a cron expression of five or six fields.

    KFP accepts five fields, but takes the first for the second: `0 3 * * 1` would fire far too often. Five fields are
    therefore prefixed with the second 0.

    Example:
        >>> parse_cron("0 3 * * 1").text
        '0 0 3 * * 1'

    Raises:
        ClusterError: the number of fields is wrong, or a field is invalid.
    """
    parts = text.split()
    if len(parts) not in (5, 6):
        raise ClusterError(
            "--cron must have six fields (second minute hour day-of-month month day-of-week), or five without the "
            f"second, such as '0 0 3 * * 1' for Mondays at three; got {len(parts)} in {text!r}"
        )
    fields = parts if len(parts) == 6 else ["0", *parts]
    values = [_parse_field(field, part) for field, part in zip(FIELDS, fields, strict=True)]
    times_per_hour = len(values[0]) * len(values[1])
    return Cron(" ".join(fields), completed=len(parts) == 5, subhourly=times_per_hour > 1)


def _parse_field(field: Field, text: str) -> set[int]:
    """Returns the numbers at which a field fires."""
    return {number for part in text.split(",") for number in _parse_part(field, part)}


def _parse_part(field: Field, text: str) -> range:
    match = PART.fullmatch(text)
    if not match or bool(match["all"]) == bool(match["first"]) or (match["last"] and not match["first"]):
        raise _error(field, text)
    step = int(match["step"] or 1)
    first = field.low if match["all"] else _parse_number(field, match["first"])
    if match["last"]:
        last = _parse_number(field, match["last"])
    elif match["all"] or match["step"]:
        last = field.high  # `5/10` extends to the end of the field, as in robfig/cron
    else:
        last = first
    if step < 1 or not field.low <= first <= last <= field.high:
        raise _error(field, text)
    return range(first, last + 1, step)


def _parse_number(field: Field, text: str) -> int:
    if text.lower() in field.names:
        return field.names.index(text.lower()) + field.low
    if not text.isascii() or not text.isdigit():
        raise _error(field, text)
    return int(text)


def _error(field: Field, text: str) -> ClusterError:
    names = f", {field.names[0]} to {field.names[-1]}" if field.names else ""
    return ClusterError(
        f"--cron: the {field.name} must be *, or numbers from {field.low} to {field.high}{names}, "
        f"as a list, a-b or */n; got {text!r}"
    )
