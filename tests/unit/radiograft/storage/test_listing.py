"""`list_files` omits hidden files in every store and lists linked folders once."""

from __future__ import annotations

from pathlib import Path

from radiograft import storage


def list_names(place: str) -> list[str]:
    return [entry.name for entry in storage.list_files(place)]


def test_hidden_files_are_not_listed_but_deleted_with_their_tree(place: str) -> None:
    """Fails if buckets list macOS's `._x.png`: the catalog would differ from that of the same files on disk."""
    hidden = ["d/._x.png", "d/.git/x.png", "d/a/.b/c/x.png"]
    for name in ("d/a/x.png", "d/a.b", *hidden):
        storage.write_bytes(f"{place}/{name}", b"x")
    assert list_names(f"{place}/d") == ["a.b", "a/x.png"]
    assert list_names(f"{place}/d/.git") == ["x.png"]
    storage.delete_tree(f"{place}/d")
    assert [name for name in hidden if storage.exists(f"{place}/{name}")] == []


def create_files(place: Path, files: list[str], links: dict[str, str]) -> None:
    for name in files:
        storage.write_bytes(str(place / name), b"x")
    for name, target in links.items():
        (place / name).symlink_to(place / target)


def test_list_files_lists_linked_folders_once(tmp_path: Path) -> None:
    """Fails if links to folders are ignored, or replace the direct path of a folder."""
    links = {
        "data/a": "data/z",
        "data/y": "elsewhere",
        "data/m": "elsewhere",
        "data/k": "elsewhere/deep",
        "data/.hidden": "elsewhere",
        "data/file": "elsewhere/2",
        "data/gone": "nowhere",
        "data/itself": "data/itself",
    }
    create_files(tmp_path, ["data/z/1", "elsewhere/2", "elsewhere/deep/3"], links)
    assert list_names(str(tmp_path / "data")) == ["file", "k/3", "m/2", "z/1"]


def test_list_files_hidden_lists_links_to_missing_files(tmp_path: Path) -> None:
    """Fails if the images of a DataLad or git-annex dataset that were not fetched are not counted."""
    create_files(tmp_path, ["data/1.png"], {"data/2.png": "annex/2", "data/3": "data/3"})
    entries = list(storage.list_files(str(tmp_path / "data"), hidden=True))
    assert [(entry.name, entry.size) for entry in entries] == [("1.png", 1), ("2.png", 0), ("3", 0)]
    assert [entry.name for entry in storage.with_md5(entries)] == ["1.png"]


def test_list_files_circular_links_terminates(tmp_path: Path) -> None:
    """Fails if a folder is entered again through a link, up to the system's limit of links in a path."""
    create_files(tmp_path, ["data/1", "elsewhere/2"], {"data/y": "elsewhere", "elsewhere/back": "data"})
    assert list_names(str(tmp_path / "data")) == ["1", "y/2"]
    assert list_names(str(tmp_path / "data/y")) == ["2", "back/1"]
