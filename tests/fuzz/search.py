"""Looks for words in everything below a folder, also in what is packed, compressed or encoded there."""

from __future__ import annotations

import base64
import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

ENCODINGS = ("utf-8", "utf-16-le", "utf-32-le")  # the last is NumPy's
EMBEDDED = re.compile(rb"base64,([A-Za-z0-9+/=]{20,})")


def found_in(folder: Path, words: Iterable[str]) -> list[str]:
    """`word: path` for each file whose name or content has a word, in small or large letters."""
    codes = {word: [word.lower().encode(encoding) for encoding in ENCODINGS] for word in words}
    told = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        texts = [text.lower() for text in (str(path.relative_to(folder)).encode(), *_texts(path.read_bytes()))]
        told += [f"{word}: {path}" for word in codes if any(code in text for code in codes[word] for text in texts)]
    return told


def _texts(content: bytes) -> Iterator[bytes]:
    """The content, and what is in it."""
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
