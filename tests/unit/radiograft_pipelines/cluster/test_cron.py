"""Cron expressions become the six fields that KFP wants; what KFP would not understand is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from radiograft_pipelines.cluster import cron
from radiograft_pipelines.cluster.errors import ClusterError


@pytest.mark.parametrize(
    ("text", "six", "completed", "often"),
    [
        ("0 0 3 * * 1", "0 0 3 * * 1", False, False),
        ("0 3 * * 1", "0 0 3 * * 1", True, False),
        ("  0  3 * *  MON ", "0 0 3 * * MON", True, False),
        ("30 15 * * * *", "30 15 * * * *", False, False),
        ("* 3 * * *", "0 * 3 * * *", True, True),
        ("0 */30 * * * *", "0 */30 * * * *", False, True),
        ("0 0,30 3 * * *", "0 0,30 3 * * *", False, True),
        ("* 0 3 * * *", "* 0 3 * * *", False, True),
        ("0 45/15 * * * *", "0 45/15 * * * *", False, False),
        ("0 30/15 * * * *", "0 30/15 * * * *", False, True),
        ("0 0 3 ? jan-mar,DEC mon-fri", "0 0 3 ? jan-mar,DEC mon-fri", False, False),
        ("0 0 3 1 */3 ?", "0 0 3 1 */3 ?", False, False),
    ],
)
def test_five_or_six_fields_become_six(text: str, six: str, completed: bool, often: bool) -> None:
    assert cron.parse_cron(text) == (six, completed, often)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--cron must have six fields (second minute hour day-of-month month day-of-week), or five without the "),
        ("@weekly", "--cron must have six fields"),
        ("0 0 3 * * 1 2026", "--cron must have six fields"),
        ("0 0 24 * * 1", "--cron: the hour must be *, or numbers from 0 to 23, as a list, a-b or */n; got '24'"),
        ("60 0 3 * * 1", "--cron: the second must be *, or numbers from 0 to 59"),
        ("0 0 3 0 * *", "--cron: the day of month must be *, or numbers from 1 to 31"),
        ("0 0 3 * * 7", "--cron: the day of week must be *, or numbers from 0 to 6, sun to sat, as a list, "),
        ("0 0 3 * 13 *", "--cron: the month must be *, or numbers from 1 to 12, jan to dec"),
        ("0 0 5-3 * * *", "--cron: the hour must be"),
        ("0 */0 3 * * *", "--cron: the minute must be"),
        ("0 0 3 * * mon-", "--cron: the day of week must be"),
        ("0 0 3 L * *", "--cron: the day of month must be"),
        ("0 0 3 * * 1#2", "--cron: the day of week must be"),
        ("0 0 , * * *", "--cron: the hour must be"),
        ("0 0 -3 * * *", "--cron: the hour must be"),
        ("0 0 *3 * * *", "--cron: the hour must be"),
        ("0 0 ３ * * *", "--cron: the hour must be"),
        ("0 0 three * * *", "--cron: the hour must be"),
    ],
)  # fmt: skip
def test_what_kfp_would_not_understand_is_refused(text: str, message: str) -> None:
    with pytest.raises(ClusterError) as error:
        cron.parse_cron(text)
    assert str(error.value).startswith(message)


@given(some.integers(0, 59), some.integers(0, 23), some.integers(0, 6))
def test_a_time_of_a_week_fires_no_more_than_once_an_hour(minute: int, hour: int, day: int) -> None:
    assert cron.parse_cron(f"{minute} {hour} * * {day}") == (f"0 {minute} {hour} * * {day}", True, False)


@given(some.integers(1, 59))
def test_steps_fire_often_where_more_than_one_fits_into_the_hour(step: int) -> None:
    assert cron.parse_cron(f"0 */{step} * * * *").subhourly == (len(range(0, 60, step)) > 1)
