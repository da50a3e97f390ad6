"""`radiograft.storage` gives the same guarantees on disk, in gs:// (embedded store) and in s3:// (moto over HTTP)."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radiograft import storage
from radiograft.storage import backend

names = st.text("abcXYZ019 ._-+%#&?='é", min_size=1, max_size=20).filter(lambda name: name.strip(". "))


def read_all(place: str) -> dict[str, bytes]:
    return {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(place)}


@pytest.mark.parametrize("content", [b"", b"one", bytes(range(256)) * 4096])
def test_read_bytes_returns_written_content(place: str, content: bytes) -> None:
    uri = f"{place}/folder/file"
    storage.write_bytes(uri, content)
    assert storage.read_bytes(uri) == content


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names, content=st.binary(max_size=64))
def test_names_with_special_characters_are_distinct(place: str, name: str, content: bytes) -> None:
    base = storage.join(place, str(uuid.uuid4()))
    storage.write_bytes(storage.join(base, name), content)
    storage.write_bytes(storage.join(base, name + "2"), b"other")
    assert storage.exists(storage.join(base, name))
    assert storage.read_bytes(storage.join(base, name)) == content


def test_write_bytes_replaces_existing_file(place: str) -> None:
    storage.write_bytes(f"{place}/file", b"old and long")
    storage.write_bytes(f"{place}/file", b"new")
    assert read_all(place) == {"file": b"new"}


def test_exists_is_true_only_for_files(place: str) -> None:
    storage.write_bytes(f"{place}/folder/file", b"x")
    results = [storage.exists(f"{place}/{name}") for name in ("folder/file", "folder", "folder/fil", "folder/file2")]
    assert results == [True, False, False, False]


def test_delete_removes_only_the_file(place: str) -> None:
    for name in ("folder/file", "folder/file2", "folder"):
        storage.write_bytes(f"{place}/{name}/x", b"x")
    storage.delete(f"{place}/folder/file/x")
    assert sorted(read_all(place)) == ["folder/file2/x", "folder/x"]
    assert not storage.exists(f"{place}/folder/file/x")
    storage.write_bytes(f"{place}/folder/file/x", b"again", only_if_absent=True)
    assert storage.read_bytes(f"{place}/folder/file/x") == b"again"


def test_delete_missing_file_succeeds(place: str) -> None:
    storage.write_bytes(f"{place}/file", b"x")
    for name in ("missing", "missing/file", "fil"):
        storage.delete(f"{place}/{name}")
    storage.delete(f"{place}/file")
    storage.delete(f"{place}/file")
    assert list(storage.list_files(place)) == []


def test_delete_tree_removes_only_the_tree(place: str) -> None:
    names = ["run/task-1/a/state", "run/task-1/b", "run/task-10", "run-2/task"]
    for name in names:
        storage.write_bytes(f"{place}/{name}", b"x")
    storage.delete_tree(f"{place}/run/task-1")
    assert sorted(read_all(place)) == ["run-2/task", "run/task-10"]
    storage.delete_tree(f"{place}/run/task-1")
    assert sorted(read_all(place)) == ["run-2/task", "run/task-10"]


def test_delete_tree_keeps_parent_folder(tmp_path: Path) -> None:
    """Fails if empty folders are kept, or if the parent that another process has just created is deleted."""
    storage.write_bytes(str(tmp_path / "run/task/a/state"), b"x")
    storage.delete_tree(str(tmp_path / "run/task"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


def test_delete_tree_concurrent_deletion_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if a file that another process has deleted meanwhile is an error."""
    for number in range(3):
        storage.write_bytes(str(tmp_path / f"run/task-{number}/state"), b"x")
    unlink = os.unlink

    def delete_first(name: str, **kwargs: int) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        shutil.rmtree(tmp_path / "run")
        unlink(name, **kwargs)

    monkeypatch.setattr(os, "unlink", delete_first)
    storage.delete_tree(str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_list_files_folder_renamed_meanwhile_is_omitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the walk raises its errors: a registry would seem empty while a version is renamed."""
    for name in ("a/x", "b/y", "c/z"):
        storage.write_bytes(str(tmp_path / name), b"x")
    scandir = os.scandir

    def rename_first(folder: str) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "b":
            Path(folder).rename(tmp_path / ".b")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", rename_first)
    assert [entry.name for entry in storage.list_files(str(tmp_path))] == ["a/x", "c/z"]


def test_read_bytes_missing_file_raises(place: str) -> None:
    with pytest.raises(FileNotFoundError, match="folder/missing"):
        storage.read_bytes(f"{place}/folder/missing")


def test_open_file_reads_at_any_position(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "READ_AHEAD", 1000)
    content = np.random.default_rng(0).bytes(10_000)
    storage.write_bytes(f"{place}/file", content)
    with storage.open_file(f"{place}/file") as file:
        for start, length in ((9_990, 20), (0, 10), (10, 2_500), (2_400, 100), (5_000, 1), (10_000, 1)):
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        file.seek(-7, io.SEEK_END)
        assert file.read() == content[-7:]


def test_open_file_missing_file_raises(place: str) -> None:
    with pytest.raises(FileNotFoundError, match="folder/missing"):
        storage.open_file(f"{place}/folder/missing")


def test_list_files_sorts_by_name_at_any_depth(place: str) -> None:
    contents = {"a.txt": b"1", "a/b/c": b"22", "a/b.png": b"333", "a-1/b": b"", "é": b"55555"}
    for name, content in contents.items():
        storage.write_bytes(f"{place}/{name}", content)
    entries = list(storage.list_files(place))
    assert [(entry.name, entry.size) for entry in entries] == [
        ("a-1/b", 0),
        ("a.txt", 1),
        ("a/b.png", 3),
        ("a/b/c", 2),
        ("é", 5),
    ]
    assert [entry.uri for entry in entries] == [f"{place}/{entry.name}" for entry in entries]
    assert list(storage.list_files(place + "/")) == entries


def test_list_files_excludes_folders_with_same_prefix(place: str) -> None:
    storage.write_bytes(f"{place}/run/file", b"x")
    storage.write_bytes(f"{place}/run-2/file", b"y")
    assert read_all(f"{place}/run") == {"file": b"x"}


def test_list_files_missing_folder_raises_and_missing_prefix_is_empty(tmp_path: Path, embedded: str, s3: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*/missing"):
        list(storage.list_files(str(tmp_path / "missing")))
    for bucket in (embedded, s3):
        assert list(storage.list_files(f"{bucket}/{uuid.uuid4()}")) == []


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_read_bytes_uri_without_bucket_raises(scheme: str) -> None:
    with pytest.raises(ValueError, match=f"a {scheme}:// URI must name a bucket, got '{scheme}:///file'"):
        storage.read_bytes(f"{scheme}:///file")


def test_write_bytes_only_if_absent_existing_file_raises(place: str) -> None:
    storage.write_bytes(f"{place}/file", b"old", only_if_absent=True)
    with pytest.raises(FileExistsError, match="/file"):
        storage.write_bytes(f"{place}/file", b"new", only_if_absent=True)
    assert read_all(place) == {"file": b"old"}


def test_write_bytes_only_if_absent_exactly_one_concurrent_writer_succeeds(place: str) -> None:
    start = threading.Barrier(12)

    def write(number: int) -> bool:
        start.wait()
        try:
            storage.write_bytes(f"{place}/claim", b"%d" % number * 10_000, only_if_absent=True)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(write, range(12)))
    assert won.count(True) == 1
    assert read_all(place) == {"claim": b"%d" % won.index(True) * 10_000}


def test_join_returns_uri() -> None:
    assert storage.join("gs://bucket/a/", "b", "c/d.png") == "gs://bucket/a/b/c/d.png"
    assert storage.join("/data", "..b", "c..") == "/data/..b/c.."


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "../b", "a/../../b", "a/..", "a\\..\\b"])
def test_join_name_outside_base_raises(name: str) -> None:
    with pytest.raises(ValueError, match="a file name must stay inside gs://bucket/a, got "):
        storage.join("gs://bucket/a", "first", name)


def test_with_md5_fills_in_missing_hashes(place: str) -> None:
    contents = {f"{number}.png": b"%d" % number * 1000 for number in range(20)}
    for name, content in contents.items():
        storage.write_bytes(f"{place}/{name}", content)
    entries = list(storage.list_files(place))
    known = [entry.md5 is not None for entry in entries]
    assert known == [storage.is_bucket(place)] * 20
    filled = [(entry.name, entry.md5) for entry in storage.with_md5(entries)]
    assert filled == [(name, hashlib.md5(contents[name]).hexdigest()) for name in sorted(contents)]


def test_with_md5_known_hash_reads_no_file() -> None:
    entry = storage.ObjectInfo("file", "/nowhere/file", 3, "d41d8cd98f00b204e9800998ecf8427e")
    assert list(storage.with_md5([entry])) == [entry]


def test_with_md5_deleted_file_is_omitted(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"")
    entries = list(storage.list_files(str(tmp_path)))
    (tmp_path / "b").unlink()
    assert [entry.name for entry in storage.with_md5(entries)] == ["a", "c"]


def test_upload_tree_keeps_relative_paths(place: str, tmp_path: Path) -> None:
    tree, contents = tmp_path / "tree", {"a/b/c.bin": b"\x00\x01", "a/d.txt": b"text", "empty": b""}
    for name, content in contents.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    storage.upload_tree(tree, f"{place}/copy")
    assert read_all(f"{place}/copy") == contents


def test_read_bytes_during_writes_returns_old_or_new_content(place: str) -> None:
    old, new = b"a" * 2_000_000, b"b" * 1_500_000
    storage.write_bytes(f"{place}/file", old)
    done = threading.Event()

    def read_until_done() -> list[bool]:
        is_whole = []
        while not done.is_set():
            is_whole.append(storage.read_bytes(f"{place}/file") in (old, new))
        return is_whole

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read_until_done)
        for content in [new, old] * 6:
            storage.write_bytes(f"{place}/file", content)
        done.set()
        assert set(reader.result()) == {True}
