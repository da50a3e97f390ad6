"""Generates malformed inputs: valid files with changed, removed, repeated and spliced bytes, and well-formed JSON with
wrong values."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

# Values that parsers may read as lengths, offsets, delimiters or paths.
TOKENS = (
    *(b"\x00", b"\xff", b"\x80", b"\n", b",", b'"', b"'", b"{", b"[", b"}", b"]", b":", b"#", b"|", b"-1", b"0"),
    *(b"\xff" * 2, b"\xff" * 4, b"\xff" * 8, b"\x00" * 4, b"\x00" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f"),
    *(b"9" * 20, b"1e999", b"NaN", b"../", b"../../../../canary", b"<b>", b"\xed\xb3\xbf", b"\xe2\x80\xae"),
)  # fmt: skip
ODD_VALUES = (None, True, -1, 2**70, 0.5, float("nan"), "", "../canary", "\udcff", [], [0], {}, {"x": 0})
MAX_CHANGES = 6


class Seeds(NamedTuple):
    """Valid contents to mutate.

    Attributes:
        files: The contents.
        wrap: Turns a mutated content into a file, for example by compressing it or adding a checksum.
        changes: Maximum number of mutations per input.
    """

    files: Sequence[bytes]
    wrap: Callable[[bytes], bytes] = bytes
    changes: int = MAX_CHANGES


@st.composite
def mutated(draw: st.DrawFn, kinds: Sequence[Seeds]) -> bytes:
    """Draws a content of one kind, mutates it and wraps it."""
    kind = draw(st.sampled_from(kinds))
    content = draw(st.sampled_from(kind.files))
    for _ in range(draw(st.integers(min(1, kind.changes), kind.changes))):
        start = draw(st.integers(0, len(content)))
        length = draw(st.integers(0, min(64, len(content) - start)))
        content = _mutate(draw, content, slice(start, start + length), kind.files)
    return kind.wrap(content)


def _mutate(draw: st.DrawFn, content: bytes, span: slice, files: Sequence[bytes]) -> bytes:
    before, part, after = content[: span.start], content[span], content[span.stop :]
    match draw(st.sampled_from(["token", "bit", "random", "cut", "repeat", "truncate", "splice"])):
        case "token":
            token = draw(st.sampled_from(TOKENS))
            return before + token + (after if draw(st.booleans()) else after[len(token) - len(part) :])
        case "bit" if part:
            return before + bytes([part[0] ^ 1 << draw(st.integers(0, 7))]) + part[1:] + after
        case "random":
            return before + draw(st.binary(min_size=len(part), max_size=len(part))) + after
        case "repeat":
            return before + part * draw(st.integers(2, 50)) + after
        case "truncate":
            return before
        case "splice":
            other = draw(st.sampled_from(files))
            return before + other[draw(st.integers(0, len(other))) :]
    return before + after


def of_json(content: bytes, wrap: Callable[[bytes], bytes] = bytes) -> list[Seeds]:
    """Returns seeds of a JSON file: the file itself, and all variants with one part removed or replaced."""
    variants = [json.dumps(variant).encode() for variant in _variants(json.loads(content))]
    return [Seeds([content], wrap), Seeds(variants, wrap, changes=0)]


def _variants(part: Any) -> Iterator[Any]:
    yield from ODD_VALUES
    for name in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
        for variant in _variants(part[name]):
            changed = copy.copy(part)
            changed[name] = variant
            yield changed
        shortened = copy.copy(part)
        del shortened[name]
        yield shortened
