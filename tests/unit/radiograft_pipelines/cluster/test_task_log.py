"""The reason of a failed task is its own last exception, read from the log of its pod."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft_pipelines.cluster.task_log import failure_reason
from tests.helpers.recordings import read_recorded_log

# The lines around a task's output, as recorded.
START, END = read_recorded_log("failed_task").split("Traceback (most recent call last):\n")
START = START.rpartition("[KFP Executor")[0]
END = END[END.index("\nE1128 ") + 1 :]


def _log(output: str) -> str:
    """Returns the log of a task with this output."""
    return START + output + END


def _raised(raise_error: Callable[[], object]) -> str:
    """Returns what Python prints when this function raises."""
    try:
        raise_error()
    except BaseException:
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


def _chain() -> None:
    try:
        {}["label"]
    except KeyError:
        raise FileNotFoundError("no such object: gs://data/labels.csv") from None


def _chain_with_cause() -> None:
    try:
        {}["label"]
    except KeyError as error:
        raise ValueError("the table must have the column label") from error


def _chain_with_context() -> None:
    try:
        {}["label"]
    except KeyError:
        raise OSError("the disk is full")  # noqa: B904  an exception in the handler of another


def _raise_group() -> None:
    errors: list[Exception] = [TypeError("bare")]
    try:
        _raise_multiline()
    except ValueError as error:
        errors.append(error)
    raise ExceptionGroup("two failed", errors)


def _raise_chain_in_group() -> None:
    errors: list[Exception] = []
    try:
        _chain_with_cause()
    except ValueError as error:
        errors.append(error)
    raise ExceptionGroup("one reader failed", errors)


def _raise_multiline() -> None:
    raise ValueError("two images are unreadable:\n  a.png\n  b.png")


def _raise_with_note() -> None:
    error = ValueError("the image must have one channel")
    error.add_note("while reading shard 3")
    raise error


def test_failure_reason_recorded_log_returns_exception_of_task() -> None:
    assert failure_reason(read_recorded_log("failed_task")) == (
        "components.storage.contract.StoreError: there is no bucket s3://nosuchbucket at http://seaweedfs.kubeflow:9000"
        ", asked for s3://nosuchbucket/x"
    )


def test_failure_reason_last_lines_of_recorded_log_returns_same() -> None:
    """Only the end of a long log is read: the traceback may have lost its first lines."""
    log = read_recorded_log("failed_task")
    last = "\n".join(log.splitlines()[-20:])
    assert "Traceback" not in last
    assert failure_reason(last) == failure_reason(log)


@pytest.mark.parametrize(
    ("raise_error", "reason"),
    [
        (_chain, "FileNotFoundError: no such object: gs://data/labels.csv"),
        (_chain_with_cause, "ValueError: the table must have the column label"),
        (_chain_with_context, "OSError: the disk is full"),
        (_raise_multiline, "ValueError: two images are unreadable: a.png b.png"),
        (_raise_with_note, "ValueError: the image must have one channel while reading shard 3"),
        (
            _raise_group,
            "ExceptionGroup: two failed (2 sub-exceptions): TypeError: bare; ValueError: two images are unreadable:",
        ),
        (
            _raise_chain_in_group,
            "ExceptionGroup: one reader failed (1 sub-exception): ValueError: the table must have the column label",
        ),
        (lambda: compile("def (", "component.py", "exec"), "SyntaxError: invalid syntax"),
        (lambda: (_ for _ in ()).throw(AssertionError), "AssertionError"),
        (lambda: (_ for _ in ()).throw(KeyboardInterrupt), "KeyboardInterrupt"),
        (lambda: int("x"), "ValueError: invalid literal for int() with base 10: 'x'"),
    ],
)  # fmt: skip
def test_failure_reason_returns_last_exception(raise_error: Callable[[], object], reason: str) -> None:
    assert failure_reason(_log(_raised(raise_error))) == reason


def test_failure_reason_syntax_error_without_traceback_returns_it() -> None:
    output = '  File "/tmp/ephemeral_component.py", line 3\n    def (\n        ^\nSyntaxError: invalid syntax\n'
    assert failure_reason(_log(output)) == "SyntaxError: invalid syntax"


@pytest.mark.parametrize(
    "output", ["Traceback (most recent call last):\n", "  + Exception Group Traceback (most recent call last):\n"]
)
def test_failure_reason_log_ends_in_traceback_returns_nothing(output: str) -> None:
    assert failure_reason(output) == ""


def test_failure_reason_exception_without_usual_suffix_returns_it() -> None:
    output = "Traceback (most recent call last):\n  File x\nbotocore.errorfactory.NoSuchKey: no key\n"
    assert failure_reason(_log(output)) == "botocore.errorfactory.NoSuchKey: no key"


@pytest.mark.parametrize(
    "other",
    [
        "ERROR:root:reading again\nTraceback (most recent call last):\n  File x\nTimeoutError: slow\n",  # before
        "2026-11-28 14:57:59.1: W tensorflow/core/x.cc:3] ran out of memory\n",
        "ValueError: ignored in a line of its own\n",
    ],
)
def test_failure_reason_earlier_output_is_ignored(other: str) -> None:
    assert failure_reason(_log(other + _raised(_chain))) == "FileNotFoundError: no such object: gs://data/labels.csv"


@pytest.mark.parametrize(
    "other",
    [
        "Exception ignored in: <function Pool.__del__>\nTraceback (most recent call last):\n  File x\nTypeError: a\n",
        "Exception in thread Thread-1:\nTraceback (most recent call last):\n  File x\nOSError: a\n",
        "--- Logging error ---\nTraceback (most recent call last):\n  File x\nTypeError: a\n",
    ],
)
def test_failure_reason_later_traceback_that_ends_nothing_is_ignored(other: str) -> None:
    assert failure_reason(_log(_raised(_chain) + other)) == "FileNotFoundError: no such object: gs://data/labels.csv"


@pytest.mark.parametrize("output", ["", "epoch 3\n", "Error: exit status 1\n", "ValueError: printed, not raised\n"])
def test_failure_reason_no_exception_returns_nothing(output: str) -> None:
    assert failure_reason(_log(output)) == ""


def test_failure_reason_killed_returns_signal() -> None:
    """An exception that the task handled and logged is not the reason."""
    log = _log(_raised(_chain)).replace("successfully: exit status 1", "successfully: signal: killed")
    assert failure_reason(log) == "signal: killed"


def test_failure_reason_launcher_failed_returns_its_message() -> None:
    line = "F1128 14:58:00.206296      16 main.go:59] failed to execute component: failed to upload model: 403\n"
    assert failure_reason(START + "epoch 3\n" + line) == "failed to execute component: failed to upload model: 403"


@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=1000))
def test_failure_reason_any_message_is_one_short_line(message: str) -> None:
    line = f"ValueError: {message}"
    reason = failure_reason(_log(f"Traceback (most recent call last):\n  File x\n{line}\n"))
    assert reason == (line if len(line) <= 500 else line[:497] + "...")


@given(st.text(max_size=400))
def test_failure_reason_any_output_returns_no_line_of_argo(output: str) -> None:
    reason = failure_reason(_log(output))
    assert "\n" not in reason
    assert not reason.startswith(("Error: exit status", "time="))
