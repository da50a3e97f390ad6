"""Hostile bytes: valid files with bytes changed, cut out, doubled, moved and spliced together, and JSON that is whole
but says something else."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

# What parsers take for a length, an offset, an end or a way out.
WORDS = (
    *(b"\x00", b"\xff", b"\x80", b"\n", b",", b'"', b"'", b"{", b"[", b"}", b"]", b":", b"#", b"|", b"-1", b"0"),
    *(b"\xff" * 2, b"\xff" * 4, b"\xff" * 8, b"\x00" * 4, b"\x00" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"),
    *(b"9" * 20, b"1e999", b"NaN", b"../", b"../../../../canary", b"<b>", b"\xed\xb3\xbf", b"\xe2\x80\xae"),
)  # fmt: skip
ODD = (None, True, -1, 2**70, 0.5, float("nan"), "", "../canary", "\udcff", [], [0], {}, {"x": 0})
MOST_CHANGES = 6


class Seeds(NamedTuple):
    """Valid files, what makes a whole file of one that was changed, such as its packing and checksums, and in how many
    places at most it is changed."""

    files: Sequence[bytes]
    wrap: Callable[[bytes], bytes] = bytes
    changes: int = MOST_CHANGES


@st.composite
def mutated(draw: st.DrawFn, kinds: Sequence[Seeds]) -> bytes:
    """A file of one of the kinds, changed before it is wrapped."""
    kind = draw(st.sampled_from(kinds))
    content = draw(st.sampled_from(kind.files))
    for _ in range(draw(st.integers(min(1, kind.changes), kind.changes))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, min(64, len(content) - start)))
        content = _changed(draw, content, slice(start, start + length), kind.files)
    return kind.wrap(content)


def _changed(draw: st.DrawFn, content: bytes, place: slice, files: Sequence[bytes]) -> bytes:
    before, part, after = content[: place.start], content[place], content[place.stop :]
    match draw(st.sampled_from(["word", "bit", "random", "cut", "double", "end", "splice"])):
        case "word":
            word = draw(st.sampled_from(WORDS))
            return before + word + (after if draw(st.booleans()) else after[len(word) - len(part) :])
        case "bit" if part:
            return before + bytes([part[0] ^ 1 << draw(st.integers(0, 7))]) + part[1:] + after
        case "random":
            return before + draw(st.binary(min_size=len(part), max_size=len(part))) + after
        case "double":
            return before + part * draw(st.integers(2, 50)) + after
        case "end":
            return before
        case "splice":
            other = draw(st.sampled_from(files))
            return before + other[draw(st.integers(0, len(other))) :]
    return before + after


def of_json(content: bytes, wrap: Callable[[bytes], bytes] = bytes) -> list[Seeds]:
    """A JSON file to be changed, and the same with any part of it left out or something else."""
    others = [json.dumps(each).encode() for each in _others(json.loads(content))]
    return [Seeds([content], wrap), Seeds(others, wrap, changes=0)]


def _others(part: Any) -> Iterator[Any]:
    yield from ODD
    for name in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
        for each in _others(part[name]):
            changed = copy.copy(part)
            changed[name] = each
            yield changed
        less = copy.copy(part)
        del less[name]
        yield less
