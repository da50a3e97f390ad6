"""Storage keeps the same promises on disk, in gs:// and in s3://, over HTTP: here the embedded server and moto's."""

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
from radiograft.storage import range_reader

names = st.text("abcXYZ019 ._-+%#&?='é", min_size=1, max_size=20).filter(lambda name: name.strip(". "))


def listing(place: str) -> dict[str, bytes]:
    return {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(place)}


@pytest.mark.parametrize("content", [b"", b"one", bytes(range(256)) * 4096])
def test_what_is_written_is_read(place: str, content: bytes) -> None:
    uri = f"{place}/folder/file"
    storage.write_bytes(uri, content)
    assert storage.read_bytes(uri) == content


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=names, content=st.binary(max_size=64))
def test_names_with_signs_and_accents_keep_their_files_apart(place: str, name: str, content: bytes) -> None:
    base = storage.join(place, str(uuid.uuid4()))
    storage.write_bytes(storage.join(base, name), content)
    storage.write_bytes(storage.join(base, name + "2"), b"other")
    assert storage.exists(storage.join(base, name))
    assert storage.read_bytes(storage.join(base, name)) == content


def test_a_second_write_replaces_the_first(place: str) -> None:
    storage.write_bytes(f"{place}/file", b"old and long")
    storage.write_bytes(f"{place}/file", b"new")
    assert listing(place) == {"file": b"new"}


def test_only_files_exist(place: str) -> None:
    storage.write_bytes(f"{place}/folder/file", b"x")
    found = [storage.exists(f"{place}/{name}") for name in ("folder/file", "folder", "folder/fil", "folder/file2")]
    assert found == [True, False, False, False]


def test_a_deleted_file_is_gone_and_its_neighbors_stay(place: str) -> None:
    for name in ("folder/file", "folder/file2", "folder"):
        storage.write_bytes(f"{place}/{name}/x", b"x")
    storage.delete(f"{place}/folder/file/x")
    assert sorted(listing(place)) == ["folder/file2/x", "folder/x"]
    assert not storage.exists(f"{place}/folder/file/x")
    storage.write_bytes(f"{place}/folder/file/x", b"again", only_if_absent=True)
    assert storage.read_bytes(f"{place}/folder/file/x") == b"again"


def test_what_is_not_there_may_be_deleted(place: str) -> None:
    storage.write_bytes(f"{place}/file", b"x")
    for name in ("missing", "missing/file", "fil"):
        storage.delete(f"{place}/{name}")
    storage.delete(f"{place}/file")
    storage.delete(f"{place}/file")
    assert list(storage.list_files(place)) == []


def test_a_tree_is_deleted_and_its_neighbors_stay(place: str) -> None:
    names = ["run/task-1/a/state", "run/task-1/b", "run/task-10", "run-2/task"]
    for name in names:
        storage.write_bytes(f"{place}/{name}", b"x")
    storage.delete_tree(f"{place}/run/task-1")
    assert sorted(listing(place)) == ["run-2/task", "run/task-10"]
    storage.delete_tree(f"{place}/run/task-1")
    assert sorted(listing(place)) == ["run-2/task", "run/task-10"]


def test_of_a_deleted_tree_no_folder_stays_but_the_one_above(tmp_path: Path) -> None:
    """Fails where files alone are deleted, or where a process that has just made the folder above loses it."""
    storage.write_bytes(str(tmp_path / "run/task/a/state"), b"x")
    storage.delete_tree(str(tmp_path / "run/task"))
    assert list(tmp_path.rglob("*")) == [tmp_path / "run"]


def test_two_processes_may_delete_one_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where what another process has removed meanwhile is an error."""
    for number in range(3):
        storage.write_bytes(str(tmp_path / f"run/task-{number}/state"), b"x")
    unlink = os.unlink

    def just_too_late(name: str, **named: int) -> None:
        monkeypatch.setattr(os, "unlink", unlink)
        shutil.rmtree(tmp_path / "run")
        unlink(name, **named)

    monkeypatch.setattr(os, "unlink", just_too_late)
    storage.delete_tree(str(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_goes_while_others_are_listed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where the walk raises what it meets: a registry would seem empty while a version is renamed."""
    for name in ("a/x", "b/y", "c/z"):
        storage.write_bytes(str(tmp_path / name), b"x")
    scandir = os.scandir

    def just_too_late(folder: str) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "b":
            Path(folder).rename(tmp_path / ".b")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", just_too_late)
    assert [entry.name for entry in storage.list_files(str(tmp_path))] == ["a/x", "c/z"]


def test_a_missing_file_is_named(place: str) -> None:
    with pytest.raises(FileNotFoundError, match="folder/missing"):
        storage.read_bytes(f"{place}/folder/missing")


def test_an_open_file_is_read_at_any_place(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_reader, "READ_AHEAD", 1000)
    content = np.random.default_rng(0).bytes(10_000)
    storage.write_bytes(f"{place}/file", content)
    with storage.open_file(f"{place}/file") as file:
        for start, length in ((9_990, 20), (0, 10), (10, 2_500), (2_400, 100), (5_000, 1), (10_000, 1)):
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        file.seek(-7, io.SEEK_END)
        assert file.read() == content[-7:]


def test_a_missing_file_does_not_open(place: str) -> None:
    with pytest.raises(FileNotFoundError, match="folder/missing"):
        storage.open_file(f"{place}/folder/missing")


def test_files_are_listed_in_order_of_name_at_any_depth(place: str) -> None:
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


def test_a_folder_is_not_taken_for_its_longer_namesake(place: str) -> None:
    storage.write_bytes(f"{place}/run/file", b"x")
    storage.write_bytes(f"{place}/run-2/file", b"y")
    assert listing(f"{place}/run") == {"file": b"x"}


def test_a_folder_that_does_not_exist_is_refused_and_an_unused_prefix_is_empty(
    tmp_path: Path, embedded: str, s3: str
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*/missing"):
        list(storage.list_files(str(tmp_path / "missing")))
    for bucket in (embedded, s3):
        assert list(storage.list_files(f"{bucket}/{uuid.uuid4()}")) == []


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_uri_without_a_bucket_is_refused(scheme: str) -> None:
    with pytest.raises(ValueError, match=f"a {scheme}:// URI must name a bucket, got '{scheme}:///file'"):
        storage.read_bytes(f"{scheme}:///file")


def test_what_exists_is_not_replaced_when_told_so(place: str) -> None:
    storage.write_bytes(f"{place}/file", b"old", only_if_absent=True)
    with pytest.raises(FileExistsError, match="/file"):
        storage.write_bytes(f"{place}/file", b"new", only_if_absent=True)
    assert listing(place) == {"file": b"old"}


def test_of_twelve_racing_writers_exactly_one_wins(place: str) -> None:
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
    assert listing(place) == {"claim": b"%d" % won.index(True) * 10_000}


def test_join_builds_uris() -> None:
    assert storage.join("gs://bucket/a/", "b", "c/d.png") == "gs://bucket/a/b/c/d.png"
    assert storage.join("/data", "..b", "c..") == "/data/..b/c.."


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "../b", "a/../../b", "a/..", "a\\..\\b"])
def test_join_refuses_to_leave_its_base(name: str) -> None:
    with pytest.raises(ValueError, match="a file name must stay inside gs://bucket/a, got "):
        storage.join("gs://bucket/a", "first", name)


def test_md5_is_known_or_filled_in(place: str) -> None:
    contents = {f"{number}.png": b"%d" % number * 1000 for number in range(20)}
    for name, content in contents.items():
        storage.write_bytes(f"{place}/{name}", content)
    entries = list(storage.list_files(place))
    known = [entry.md5 is not None for entry in entries]
    assert known == [storage.is_bucket(place)] * 20
    filled = [(entry.name, entry.md5) for entry in storage.with_md5(entries)]
    assert filled == [(name, hashlib.md5(contents[name]).hexdigest()) for name in sorted(contents)]


def test_a_file_whose_md5_is_known_is_not_read() -> None:
    entry = storage.ObjectInfo("file", "/nowhere/file", 3, "d41d8cd98f00b204e9800998ecf8427e")
    assert list(storage.with_md5([entry])) == [entry]


def test_a_file_that_is_gone_since_it_was_listed_gets_no_md5(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_bytes(b"")
    entries = list(storage.list_files(str(tmp_path)))
    (tmp_path / "b").unlink()
    assert [entry.name for entry in storage.with_md5(entries)] == ["a", "c"]


def test_a_tree_is_uploaded_under_its_own_names(place: str, tmp_path: Path) -> None:
    tree, contents = tmp_path / "tree", {"a/b/c.bin": b"\x00\x01", "a/d.txt": b"text", "empty": b""}
    for name, content in contents.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    storage.upload_tree(tree, f"{place}/copy")
    assert listing(f"{place}/copy") == contents


def test_a_reader_sees_the_old_content_or_the_new_one(place: str) -> None:
    old, new = b"a" * 2_000_000, b"b" * 1_500_000
    storage.write_bytes(f"{place}/file", old)
    done = threading.Event()

    def read_all() -> list[bool]:
        found = []
        while not done.is_set():
            found.append(storage.read_bytes(f"{place}/file") in (old, new))
        return found

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read_all)
        for content in [new, old] * 6:
            storage.write_bytes(f"{place}/file", content)
        done.set()
        assert set(reader.result()) == {True}
