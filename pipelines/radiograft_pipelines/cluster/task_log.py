"""Finds why a task failed in the log of its pod.

A log begins and ends with lines of Argo's executor and of KFP's launcher. The task's own exception is in between.
"""

from __future__ import annotations

import itertools
import re

MAX_LENGTH = 500  # of a reason, in characters
HEADER = re.compile(r"(  \+ Exception Group )?Traceback \(most recent call last\):")
NOT_FATAL = re.compile(r"Exception (?:ignored )?in|--- Logging error ---")  # the line before a traceback's header
OTHER_OUTPUT = re.compile(
    rf"time=\S+ level=|Error: exit status|\[KFP Executor |[IWEF]\d{{4}} \d\d:\d\d:|"
    rf"\d{{4}}-\d\d-\d\d[ T]\d\d:\d\d:|{NOT_FATAL.pattern}"
)
EXCEPTION = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Exit|Interrupt)(?:: .*)?")
IN_GROUP = re.compile(r"\s*[|+] ?")
FATAL = re.compile(r"F\d{4} \d\d:\d\d:[^\]]*\] (.+)")  # the line with which KFP's launcher or driver exits
SIGNAL = re.compile(r"[EF]\d{4} \d\d:\d\d:[^\]]*\] .*?(signal: .+)")  # what the launcher reports of a killed process


def failure_reason(log: str) -> str:
    """Returns why a task failed, on one line of at most 500 characters; empty if the log does not contain it.

    This is the exception that ended the task. If there is none, it is the signal that killed the task, or else what
    KFP's launcher or driver reports. An exit status alone is not returned.

    >>> failure_reason("Traceback (most recent call last):\\n  File x\\nKeyError: 'a'\\nError: exit status 1")
    "KeyError: 'a'"
    """
    lines = log.splitlines()
    signals = [match[1] for line in lines if (match := SIGNAL.match(line))]
    fatal = [match[1] for line in lines if (match := FATAL.match(line)) and "exit status" not in line]
    reason = next(filter(None, (*signals[-1:], _exception(lines), *fatal[-1:])), "")
    return reason if len(reason) <= MAX_LENGTH else reason[: MAX_LENGTH - 3] + "..."


def _exception(lines: list[str]) -> str:
    """Returns the last uncaught exception, with all lines of its message joined; empty if there is none."""
    headers = [
        number
        for number, line in enumerate(lines)
        if HEADER.fullmatch(line) and not NOT_FATAL.match(lines[number - 1] if number else "")
    ]
    if not headers:
        return _exception_below_frames(lines)
    after = lines[headers[-1] + 1 :]
    if "Group" in lines[headers[-1]]:
        return _group_message(after)
    start = next((number for number, line in enumerate(after) if not _is_frame(line)), len(after))
    return _message(after[start:])


def _is_frame(line: str) -> bool:
    return line.startswith(" ") or bool(OTHER_OUTPUT.match(line))


def _message(lines: list[str]) -> str:
    """Returns an exception's line and the other lines of its message, up to a blank line or another's output."""
    length = next((n for n, line in enumerate(lines) if not line.strip() or OTHER_OUTPUT.match(line)), len(lines))
    return " ".join(line.strip() for line in lines[:length])


def _exception_below_frames(lines: list[str]) -> str:
    """Returns the last exception in a log whose traceback has lost its header, or that never had one: a SyntaxError."""
    for number in range(len(lines) - 1, 0, -1):
        if lines[number - 1].startswith(" ") and EXCEPTION.fullmatch(lines[number]):
            return _message(lines[number:])
    return ""


def _group_message(lines: list[str]) -> str:
    """Returns the first line of a group's own message, and those of the exceptions in it."""
    messages, expected = [""], True
    for line in itertools.takewhile(lambda line: not OTHER_OUTPUT.match(line), lines):
        marker = IN_GROUP.match(line)
        content = line[marker.end() :] if marker else ""  # the second line of a message has no marker
        if content.startswith("-"):  # the line above a member
            messages.append("")
        if content.startswith("-") or HEADER.search(content):
            expected = True
        elif expected and content and not content.startswith(" "):
            messages[-1], expected = content, False
    group, *members = messages
    return ": ".join(filter(None, (group, "; ".join(filter(None, members)))))
