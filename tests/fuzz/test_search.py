"""The search for secrets finds words in packed, compressed and encoded files."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fuzz.search import found_in
from tests.helpers.archives import packed

WORD = "Quackenbush"
TABLE = pd.DataFrame({"patient": [f"{WORD}^Jane"] * 500})
HIDDEN = {
    "plain.log": f"salted with {WORD}".encode(),
    "large.txt": WORD.upper().encode(),
    "rows.parquet": TABLE.to_parquet(compression="gzip", write_statistics=False),
    "text.npz": packed(view=np.array([WORD] * 500)),
    "table.csv.gz": gzip.compress(TABLE.to_csv().encode()),
    "page.html": b'<img src="data:image/svg+xml;base64,' + base64.b64encode(f"<text>{WORD}</text>".encode()) + b'">',
    f"of-{WORD}.png": b"pixels",
}


@pytest.mark.parametrize("name", HIDDEN)
def test_found_in_finds_word_in_any_encoding(name: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / name).write_bytes(HIDDEN[name])
    (tmp_path / "other.txt").write_bytes(b"nothing")
    assert found_in(tmp_path, [WORD, "absent"]) == [f"{WORD}: {tmp_path}/deep/{name}"]


def test_hidden_word_is_not_in_plain_bytes() -> None:
    unseen = {name for name, content in HIDDEN.items() if WORD.encode() not in content}
    assert unseen >= {"rows.parquet", "text.npz", "table.csv.gz", "page.html"}
