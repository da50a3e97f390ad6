"""Cron expressions are completed to KFP's six fields; invalid ones are rejected."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft_pipelines.cluster import cron
from radiograft_pipelines.cluster.errors import ClusterError


@pytest.mark.parametrize(
    ("text", "six_fields", "completed", "subhourly"),
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
def test_parse_cron_valid_returns_six_fields(text: str, six_fields: str, completed: bool, subhourly: bool) -> None:
    assert cron.parse_cron(text)[:3] == (six_fields, completed, subhourly)


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
def test_parse_cron_invalid_raises(text: str, message: str) -> None:
    with pytest.raises(ClusterError) as error:
        cron.parse_cron(text)
    assert str(error.value).startswith(message)


@given(st.integers(0, 59), st.integers(0, 23), st.integers(0, 6))
def test_parse_cron_weekly_is_not_subhourly(minute: int, hour: int, day: int) -> None:
    assert cron.parse_cron(f"{minute} {hour} * * {day}")[:3] == (f"0 {minute} {hour} * * {day}", True, False)


@given(st.integers(1, 59))
def test_parse_cron_step_is_subhourly_if_it_fires_twice(step: int) -> None:
    assert cron.parse_cron(f"0 */{step} * * * *").subhourly == (len(range(0, 60, step)) > 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 3 * * 1", "on Mondays at 03:00"),
        ("30 15 * * *", "every day at 15:30"),
        ("0 6,18 * * *", "every day at 06:00 and 18:00"),
        ("0 3 * * 0,6", "on Sundays and Saturdays at 03:00"),
        ("0 3 * * mon-fri", "from Monday to Friday at 03:00"),
        ("0 3 1 * *", "on day 1 of every month at 03:00"),
        ("0 3 1,15 jan,jul *", "on days 1 and 15 of January and July at 03:00"),
        ("0 3 * 6 1", "on Mondays in June at 03:00"),
        ("0 3 * 6 *", "every day in June at 03:00"),
        ("0 3 1 * 1", "on day 1 of every month and on Mondays at 03:00"),
        ("0 * * * *", "every hour"),
        ("5 * * * *", "every hour at minute 5"),
        ("0 */6 * * 1", "on Mondays every 6 hours"),
        ("*/10 * * * *", "every 10 minutes"),
        ("* * * * *", "every minute"),
        ("*/7 * * * *", "at the times '0 */7 * * * *'"),
        ("30 0 3 * * 1", "at the times '30 0 3 * * 1'"),
    ],
)
def test_parse_cron_words_describe_when_it_fires(text: str, words: str) -> None:
    """Fails if the description of a recurring run names another time than the one at which KFP starts it."""
    assert cron.parse_cron(text).words == words


@given(st.integers(0, 23), st.integers(1, 24))
def test_parse_cron_steps_in_words_only_if_even(first: int, step: int) -> None:
    """Fails if hours that do not repeat evenly, such as */5, are described as every five hours."""
    words = cron.parse_cron(f"0 {first}/{step} * * *").words
    assert ("hours" in words or words == "every hour") <= (24 % step == 0 and first == 0)
