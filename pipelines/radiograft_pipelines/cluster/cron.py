"""Cron expressions as KFP reads them: six fields, seconds first, day of week 0 (Sunday) to 6, in the cluster's time
zone, which is UTC unless its administrator chose another."""

from __future__ import annotations

import re
from typing import NamedTuple

from radiograft_pipelines.cluster.errors import ClusterError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
PART = re.compile(r"(?P<all>[*?])?(?P<first>\w+)?(-(?P<last>\w+))?(/(?P<step>\d+))?")


class Field(NamedTuple):
    """A field's range, and names that stand for numbers from its lower end on."""

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
    """A checked expression of six fields; `completed` where it came with five, `subhourly` where it fires more than once
    in an hour."""

    text: str
    completed: bool
    subhourly: bool


def parse_cron(text: str) -> Cron:
    """Checks an expression of five or six fields.

    KFP accepts five fields and takes the first for seconds, so that `0 3 * * 1` would fire every second or minute; here
    they get the second 0.

    Raises:
        ClusterError: another number of fields, or a field that KFP would not understand.
    """
    parts = text.split()
    if len(parts) not in (5, 6):
        raise ClusterError(
            "--cron must have six fields (second minute hour day-of-month month day-of-week), or five without the "
            f"second, such as '0 0 3 * * 1' for Mondays at three; got {len(parts)} in {text!r}"
        )
    fields = parts if len(parts) == 6 else ["0", *parts]
    values = [_values(field, part) for field, part in zip(FIELDS, fields, strict=True)]
    return Cron(" ".join(fields), completed=len(parts) == 5, subhourly=len(values[0]) * len(values[1]) > 1)


def _values(field: Field, text: str) -> set[int]:
    """The numbers that a field stands for."""
    return {number for part in text.split(",") for number in _part(field, part)}


def _part(field: Field, text: str) -> range:
    found = PART.fullmatch(text)
    if not found or bool(found["all"]) == bool(found["first"]) or (found["last"] and not found["first"]):
        raise _error(field, text)
    step = int(found["step"] or 1)
    first = field.low if found["all"] else _number(field, found["first"])
    # `5/10` goes on to the field's end, as in robfig/cron
    last = _number(field, found["last"]) if found["last"] else field.high if found["all"] or found["step"] else first
    if step < 1 or not field.low <= first <= last <= field.high:
        raise _error(field, text)
    return range(first, last + 1, step)


def _number(field: Field, text: str) -> int:
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
