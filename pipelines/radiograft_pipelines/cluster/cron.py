"""Cron expressions in KFP's dialect.

They have six fields, the first of which is the second. The day of the week is 0 (Sunday) to 6. The time zone is the
cluster's: UTC unless its administrator configured another.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection
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
        words: when it fires, in words, such as `on Mondays at 03:00`.
    """

    text: str
    completed: bool
    subhourly: bool
    words: str


def parse_cron(text: str) -> Cron:
    """Parses a cron expression of five or six fields.

    KFP accepts five fields, but takes the first for the second: `0 3 * * 1` would fire far too often. Five fields are
    therefore prefixed with the second 0.

    Example:
        >>> parse_cron("0 3 * * 1").text
        '0 0 3 * * 1'
        >>> parse_cron("0 3 * * 1").words
        'on Mondays at 03:00'

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
    expression = " ".join(fields)
    return Cron(expression, len(parts) == 5, times_per_hour > 1, _describe(values) or f"at the times '{expression}'")


def _describe(values: list[set[int]]) -> str:
    """Returns when an expression fires, in words; empty if there is no short description."""
    seconds, minutes, hours, days, months, weekdays = values
    times = _describe_times(sorted(minutes), sorted(hours)) if seconds == {0} else ""
    dates = _describe_dates(sorted(days), sorted(months), sorted(weekdays))
    if times.startswith("every") and dates == "every day":
        return times
    return f"{dates} {times}" if times and dates else ""


def _describe_times(minutes: list[int], hours: list[int]) -> str:
    if len(minutes) == 1 and len(hours) <= 3:
        return "at " + _join([f"{hour:02}:{minutes[0]:02}" for hour in hours])
    if len(minutes) == 1 and (step := _step(hours, 24)):
        past = f" at minute {minutes[0]}" if minutes != [0] else ""
        return ("every hour" if step == 1 else f"every {step} hours") + past
    if len(hours) == 24 and (step := _step(minutes, 60)):
        return "every minute" if step == 1 else f"every {step} minutes"
    return ""


def _describe_dates(days: list[int], months: list[int], weekdays: list[int]) -> str:
    """Describes the days. If days of the month and of the week are both given, either is enough."""
    every_month = len(months) == 12
    in_months = "every month" if every_month else _join([calendar.month_name[month] for month in months])
    parts = []
    if len(days) < 31:
        number = "day" if len(days) == 1 else "days"
        parts.append(f"on {number} {_join(days)} of {in_months}")
    if len(weekdays) < 7:
        names = _join([calendar.day_name[(day - 1) % 7] + "s" for day in weekdays])
        parts.append("from Monday to Friday" if weekdays == [1, 2, 3, 4, 5] else f"on {names}")
    if len(days) == 31 and not every_month:
        parts.append(f"{'' if parts else 'every day '}in {in_months}")
        return " ".join(parts)
    return " and ".join(parts) or "every day"


def _step(numbers: list[int], count: int) -> int:
    """Returns the step of numbers that divide the range from 0 to `count` evenly; 0 for others."""
    step = count // len(numbers)
    return step if numbers == list(range(0, count, step)) and count % step == 0 else 0


def _join(parts: Collection[object]) -> str:
    *first, last = map(str, parts)
    return f"{', '.join(first)} and {last}" if first else last


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
