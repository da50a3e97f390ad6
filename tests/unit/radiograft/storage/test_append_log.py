"""The log that several processes append to, on disk and in both object stores."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.storage.append_log import AppendLog


def test_append_log_two_writers_read_each_other_in_one_order(place: str) -> None:
    first, second = AppendLog(f"{place}/log"), AppendLog(f"{place}/log")
    first.append([{"n": 1}, {"n": 2}])
    assert second.read_new() == [{"n": 1}, {"n": 2}]
    second.append([{"n": 3}])
    assert first.read_new() == [{"n": 3}]
    assert first.read_new() == []
    assert AppendLog(f"{place}/log").read_new() == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_append_log_behind_another_writer_raises(place: str) -> None:
    first, second = AppendLog(f"{place}/log"), AppendLog(f"{place}/log")
    first.append([{"n": 1}])
    with pytest.raises(FileExistsError):
        second.append([{"n": 2}])
    assert second.read_new() == [{"n": 1}]
    second.append([{"n": 2}])
    assert first.read_new() == [{"n": 2}]


def test_append_log_concurrent_writers_lose_nothing(place: str) -> None:
    def write(writer: int) -> None:
        log = AppendLog(f"{place}/log")
        for number in range(5):
            while True:
                try:
                    log.append([{"writer": writer, "number": number}])
                    break
                except FileExistsError:
                    log.read_new()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    entries = AppendLog(f"{place}/log").read_new()
    assert sorted((entry["writer"], entry["number"]) for entry in entries) == [
        (w, n) for w in range(4) for n in range(5)
    ]
    for writer in range(4):
        assert [entry["number"] for entry in entries if entry["writer"] == writer] == list(range(5))


def test_append_log_lost_response_recognizes_own_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client library repeats a write whose response was lost, and finds its own object."""
    log, write = AppendLog(str(tmp_path)), storage.write_bytes

    def write_twice(uri: str, data: bytes, *, only_if_absent: bool = False) -> None:
        write(uri, data, only_if_absent=only_if_absent)
        write(uri, data, only_if_absent=only_if_absent)

    monkeypatch.setattr(storage, "write_bytes", write_twice)
    log.append([{"n": 1}])
    log.append([{"n": 2}])
    assert AppendLog(str(tmp_path)).read_new() == [{"n": 1}, {"n": 2}]


def test_append_log_read_new_lists_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, reader, listings = AppendLog(str(tmp_path)), AppendLog(str(tmp_path)), []
    list_files = storage.list_files
    monkeypatch.setattr(storage, "list_files", lambda uri: listings.append(uri) or list_files(uri))
    writer.append([{"n": 1}])
    for number in range(2, 5):
        reader.read_new()
        writer.append([{"n": number}])
    assert reader.read_new() == [{"n": 4}]
    assert listings == [str(tmp_path)]


def test_append_log_malformed_object_raises(tmp_path: Path) -> None:
    (tmp_path / "00000000.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"00000000\.json must contain a JSON object"):
        AppendLog(str(tmp_path)).read_new()
