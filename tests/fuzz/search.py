"""Searches all files below a folder for words, including packed, compressed and base64-encoded content."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

ENCODINGS = ("utf-8", "utf-16-le", "utf-32-le")  # NumPy uses UTF-32
EMBEDDED = re.compile(rb"base64,([A-Za-z0-9+/=]{20,})")


def found_in(folder: Path, words: Iterable[str]) -> list[str]:
    """Returns `word: path` for each file whose name or content contains a word, ignoring case."""
    patterns = {word: [word.lower().encode(encoding) for encoding in ENCODINGS] for word in words}
    matches = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        texts = [text.lower() for text in (str(path.relative_to(folder)).encode(), *_texts(path.read_bytes()))]
        matches += [
            f"{word}: {path}"
            for word in patterns
            if any(pattern in text for pattern in patterns[word] for text in texts)
        ]
    return matches


def _texts(content: bytes) -> Iterator[bytes]:
    """Yields the content and everything packed in it."""
    yield content
    if content.startswith(b"PAR1"):
        yield pd.read_parquet(io.BytesIO(content)).to_csv().encode()
    elif content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from _texts(archive.read(name))
    elif content.startswith(b"\x1f\x8b"):
        yield from _texts(gzip.decompress(content))
    for encoded in EMBEDDED.findall(content):
        yield from _texts(base64.b64decode(encoded))
