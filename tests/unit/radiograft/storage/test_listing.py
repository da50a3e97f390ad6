"""Which files a listing shows: none that is hidden, in any store, and those behind links once."""

from __future__ import annotations

from pathlib import Path

from radiograft import storage


def listed(place: str) -> list[str]:
    return [entry.name for entry in storage.list_files(place)]


def test_what_is_hidden_is_passed_over_in_every_store_but_not_kept_in_a_deleted_tree(place: str) -> None:
    """Fails where buckets list `._x.png`, as macOS leaves it: another catalog than that of the same files on disk."""
    hidden = ["d/._x.png", "d/.git/x.png", "d/a/.b/c/x.png"]
    for name in ("d/a/x.png", "d/a.b", *hidden):
        storage.write_bytes(f"{place}/{name}", b"x")
    assert listed(f"{place}/d") == ["a.b", "a/x.png"]
    assert listed(f"{place}/d/.git") == ["x.png"]
    storage.delete_tree(f"{place}/d")
    assert [name for name in hidden if storage.exists(f"{place}/{name}")] == []


def linked(place: Path, files: list[str], links: dict[str, str]) -> None:
    for name in files:
        storage.write_bytes(str(place / name), b"x")
    for name, target in links.items():
        (place / name).symlink_to(place / target)


def test_folders_behind_links_are_listed_once(tmp_path: Path) -> None:
    """Fails where links to folders are passed over, or stand in for a folder that is there without them."""
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
    linked(tmp_path, ["data/z/1", "elsewhere/2", "elsewhere/deep/3"], links)
    assert listed(str(tmp_path / "data")) == ["file", "k/3", "m/2", "z/1"]


def test_links_that_lead_back_end_the_listing(tmp_path: Path) -> None:
    """Fails where a folder is entered again through a link: as often as the system bears links in one path."""
    linked(tmp_path, ["data/1", "elsewhere/2"], {"data/y": "elsewhere", "elsewhere/back": "data"})
    assert listed(str(tmp_path / "data")) == ["1", "y/2"]
    assert listed(str(tmp_path / "data/y")) == ["2", "back/1"]
