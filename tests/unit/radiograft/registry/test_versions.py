"""The registry's guarantees: unique numbers, immutable versions, and no incomplete version is ever visible."""

from __future__ import annotations

import datetime
import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.registry.version_claims import claim_version

MODEL = "chest-radiograph"
CONTENTS = {
    "contract.json": b'{"labels": ["Pneumonia"]}',
    "model.keras": bytes(range(256)) * 8,
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
}
WRITERS = 16
Files = dict[str, Path]


@pytest.fixture
def make_files(tmp_path: Path) -> Callable[..., Files]:
    """Writes the local files of a version; `changed` replaces some contents."""

    def make(name: str = "files", **changed: bytes) -> Files:
        files = {}
        for file, content in (CONTENTS | changed).items():
            files[file] = tmp_path / name / file
            files[file].parent.mkdir(parents=True, exist_ok=True)
            files[file].write_bytes(content)
        return files

    return make


def _publish(place: str, run_id: str, files: Files) -> int:
    number = claim_version(place, MODEL, run_id).number
    registry.write_version(place, MODEL, number, files, {"run": run_id})
    return number


def _stored(place: str, number: int) -> dict[str, bytes]:
    uri = storage.join(place, MODEL, str(number))
    return {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(uri)}


def test_list_versions_new_registry_is_empty(place: str) -> None:
    assert registry.list_versions(place, MODEL) == []


def test_claim_version_numbers_from_one_past_ten(place: str, make_files: Callable[..., Files]) -> None:
    files = make_files()
    assert [_publish(place, f"run-{n}", files) for n in range(1, 12)] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert registry.list_versions(place, MODEL) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_claim_version_numbers_each_model_separately(place: str) -> None:
    assert claim_version(place, "hand", "run-1").number == 1
    assert claim_version(place, "hand", "run-2").number == 2
    assert claim_version(place, "hand-and-wrist", "run-3").number == 1


def test_claim_version_lost_claim_is_not_reused(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    storage.delete(storage.join(place, MODEL, "claims", "1.json"))
    assert claim_version(place, MODEL, "run-2").number == 2


def test_claim_version_same_run_returns_same_claim(place: str) -> None:
    first = claim_version(place, MODEL, "run-1")
    assert claim_version(place, MODEL, "run-1") == first
    assert (first.number, first.run_id, first.parent) == (1, "run-1", None)
    assert datetime.datetime.fromisoformat(first.created).utcoffset() == datetime.timedelta(0)


def test_write_version_writes_files_and_manifest(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    stored = _stored(place, 1)
    manifest = json.loads(stored.pop("manifest.json"))
    assert stored == CONTENTS
    assert manifest["version"] == 1
    assert manifest["run"] == "run-1"
    assert set(manifest["files"]) == set(CONTENTS)
    assert manifest["files"]["saved_model.pb"] == {
        "sha256": "eef93e1d14482804277fca0172464032d1a4fdbcc338524059fa1e861454ad4d",
        "bytes": 5,
    }


def test_read_manifest_flipped_bit_raises(tmp_path: Path, make_files: Callable[..., Files]) -> None:
    """Fails if the manifest does not contain its own SHA-256: nothing else would reveal a changed run id."""
    _publish(str(tmp_path), "run-1", make_files())
    path = tmp_path / MODEL / "1" / "manifest.json"
    content = path.read_bytes()
    for place, bit in itertools.product(range(len(content)), range(8)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"1/manifest\.json must"):
            registry.read_manifest(str(tmp_path), MODEL, 1)


def test_write_version_leaves_other_versions_unchanged(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    before = _stored(place, 1)
    _publish(place, "run-2", make_files("others", **{"model.keras": b"another"}))
    assert _stored(place, 1) == before
    assert _stored(place, 2)["model.keras"] == b"another"


def test_write_version_existing_version_is_unchanged(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    before = _stored(place, 1)
    changed = make_files("others", **{"model.keras": b"another"})
    assert registry.write_version(place, MODEL, 1, changed, {"run": "run-1"}) == storage.join(place, MODEL, "1")
    assert _stored(place, 1) == before


@pytest.mark.parametrize("lost", list(CONTENTS))
def test_write_version_after_crash_is_completed_by_next_attempt(
    place: str, make_files: Callable[..., Files], lost: str
) -> None:
    files = make_files()
    files[lost].unlink()  # the upload fails here
    with pytest.raises(FileNotFoundError):
        _publish(place, "run-1", files)
    assert registry.list_versions(place, MODEL) == []
    assert not storage.exists(storage.join(place, MODEL, "1", "saved_model.pb"))  # otherwise Serving would load it
    assert _publish(place, "run-2", make_files("others")) == 2
    assert registry.list_versions(place, MODEL) == [2]
    assert _publish(place, "run-1", make_files()) == 1
    assert registry.list_versions(place, MODEL) == [1, 2]
    assert registry.verify_version(place, MODEL, 1)["run"] == "run-1"


def test_write_version_deletes_leftovers_of_other_attempts(place: str, make_files: Callable[..., Files]) -> None:
    left = storage.join(place, MODEL, ".1-dead" if place[0] == "/" else "1", "variables/old.index")
    storage.write_bytes(left, b"old")
    _publish(place, "run-1", make_files())
    assert set(_stored(place, 1)) == {*CONTENTS, "manifest.json"}
    registry.verify_version(place, MODEL, 1)
    assert not storage.exists(left)


def test_claim_version_concurrent_attempts_share_a_claim(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the attempt that loses a number does not check its owner and claims the next one."""
    seconds = itertools.count()
    monkeypatch.setattr(production, "utc_now", lambda: f"2026-01-01T00:00:{next(seconds):02}+00:00")
    results = _run_during(monkeypatch, storage, "swap_content", lambda: claim_version(place, MODEL, "run-1"))
    assert claim_version(place, MODEL, "run-1") == results[0]
    assert results[0].number == 1
    assert claim_version(place, MODEL, "run-2").number == 2


def test_claim_version_claimed_while_versions_are_listed_is_found(
    place: str, monkeypatch: pytest.MonkeyPatch, make_files: Callable[..., Files]
) -> None:
    """Fails if claims are listed before versions: a new number is claimed instead of the other attempt's."""

    def publish_others() -> int:
        first = claim_version(place, MODEL, "run-1").number
        _publish(place, "run-2", make_files())
        return first

    results = _run_during(monkeypatch, registry, "list_versions", publish_others)
    assert claim_version(place, MODEL, "run-1").number == 1
    assert results == [1]
    assert registry.list_versions(place, MODEL) == [2]


@pytest.mark.parametrize("write", range(len(CONTENTS) + 1))
def test_write_version_two_live_attempts_write_one_version(
    place: str, monkeypatch: pytest.MonkeyPatch, make_files: Callable[..., Files], write: int
) -> None:
    """Fails if both attempts use the same draft folder: one deletes it while the other writes."""
    files = make_files()
    results = _run_during(
        monkeypatch, storage, "write_bytes", lambda: registry.write_version(place, MODEL, 1, files, {}), after=write
    )
    assert registry.write_version(place, MODEL, 1, files, {}) == storage.join(place, MODEL, "1")
    assert results == [storage.join(place, MODEL, "1")]
    registry.verify_version(place, MODEL, 1)
    assert set(_stored(place, 1)) == {*CONTENTS, "manifest.json"}
    assert [path.name for path in Path(place, MODEL).glob("*")] in (["1"], [])  # no draft is left on disk


@pytest.mark.parametrize("write", range(len(CONTENTS) + 1))
def test_write_version_killed_attempt_does_not_disturb_live_one(
    place: str, monkeypatch: pytest.MonkeyPatch, make_files: Callable[..., Files], write: int
) -> None:
    """Fails if the manifest is deleted as a leftover: the live attempt's version is served but not registered."""
    files = make_files()

    def attempt_and_die() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "write_bytes", _killed)
            with pytest.raises(KeyboardInterrupt):
                registry.write_version(place, MODEL, 1, files, {})

    _run_during(monkeypatch, storage, "write_bytes", attempt_and_die, after=write)
    registry.write_version(place, MODEL, 1, files, {})
    assert registry.list_versions(place, MODEL) == [1]
    registry.verify_version(place, MODEL, 1)


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_write_version_many_concurrent_attempts_write_one_version(
    tmp_path: Path, make_files: Callable[..., Files]
) -> None:
    """Fails if another attempt may delete a draft before it is renamed: files are missing."""
    files, start = make_files(), threading.Barrier(WRITERS)

    def write(_: int) -> int:
        start.wait()
        return _publish(str(tmp_path), "run-1", files)

    with ThreadPoolExecutor(WRITERS) as pool:
        assert set(pool.map(write, range(WRITERS))) == {1}
    registry.verify_version(str(tmp_path), MODEL, 1)


def _run_during(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, other: Callable[[], Any], after: int = 0
) -> list[Any]:
    """Runs `other` before the call number `after` of a function, counted from 0; its result is added to the list."""
    original, results, calls = getattr(module, name), [], itertools.count()

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == after:
            results.append(other())
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, interrupted)
    return results


def test_write_version_without_saved_model_raises(place: str, make_files: Callable[..., Files]) -> None:
    files = make_files()
    del files["saved_model.pb"]
    with pytest.raises(
        ValueError, match=r"^a version must contain saved_model\.pb, got contract\.json, model\.keras, "
    ):
        _publish(place, "run-1", files)
    assert registry.list_versions(place, MODEL) == []


def test_publish_concurrent_runs_get_separate_complete_versions(place: str, make_files: Callable[..., Files]) -> None:
    files = {run: make_files(run, **{"model.keras": run.encode()}) for run in map("run-{}".format, range(WRITERS))}
    start = threading.Barrier(WRITERS)

    def write(run: str) -> int:
        start.wait()
        return _publish(place, run, files[run])

    with ThreadPoolExecutor(WRITERS) as pool:
        numbers = dict(zip(files, pool.map(write, files), strict=True))
    assert sorted(numbers.values()) == list(range(1, 17))
    assert registry.list_versions(place, MODEL) == list(range(1, 17))
    for run, number in numbers.items():
        assert registry.verify_version(place, MODEL, number)["run"] == run
        assert _stored(place, number)["model.keras"] == run.encode()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a published version."""
    files = {}
    for name, content in CONTENTS.items():
        files[name] = tmp_path_factory.mktemp("files") / "file"
        files[name].write_bytes(content)
    place = tmp_path_factory.mktemp("registry")
    _publish(str(place), "run-1", files)
    return place / MODEL / "1"


@given(name=st.sampled_from(sorted(CONTENTS)), position=st.integers(0), bit=st.integers(0, 7))
def test_verify_version_flipped_bit_raises(published: Path, name: str, position: int, bit: int) -> None:
    place, content = str(published.parents[1]), bytearray(CONTENTS[name])
    content[position % len(content)] ^= 1 << bit
    (published / name).write_bytes(content)
    try:
        with pytest.raises(ValueError, match=f"{name} must have SHA-256 ") as raised:
            registry.verify_version(place, MODEL, 1)
    finally:
        (published / name).write_bytes(CONTENTS[name])
    assert str(raised.value).startswith(f"{published / name} ")
    assert registry.verify_version(place, MODEL, 1)["version"] == 1


def test_verify_version_flipped_byte_in_bucket_raises(
    embedded: str, make_files: Callable[..., Files], tmp_path: Path
) -> None:
    place = storage.join(embedded, tmp_path.name)
    _publish(place, "run-1", make_files())
    storage.write_bytes(storage.join(place, MODEL, "1", "model.keras"), b"\x01" + CONTENTS["model.keras"][1:])
    with pytest.raises(ValueError, match=f"^{place}/chest-radiograph/1/model.keras must have SHA-256 "):
        registry.verify_version(place, MODEL, 1)


@pytest.mark.parametrize("name", sorted(CONTENTS.keys() - {"saved_model.pb"}))
def test_verify_version_missing_file_raises(tmp_path: Path, make_files: Callable[..., Files], name: str) -> None:
    _publish(str(tmp_path), "run-1", make_files())
    (tmp_path / MODEL / "1" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{MODEL}/1/{name}"):
        registry.verify_version(str(tmp_path), MODEL, 1)


@pytest.mark.parametrize("lost", ["saved_model.pb", "manifest.json"])
def test_list_versions_requires_manifest_and_saved_model(
    place: str, make_files: Callable[..., Files], lost: str
) -> None:
    for run in ("run-1", "run-2"):
        _publish(place, run, make_files())
    storage.delete(storage.join(place, MODEL, "2", lost))
    assert registry.list_versions(place, MODEL) == [1]
    with pytest.raises(FileNotFoundError, match=f"^{MODEL} has no version 2 in {place}; existing versions: 1$"):
        registry.verify_version(place, MODEL, 2)


def test_read_manifest_empty_registry_raises(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^{MODEL} has no version 1 in {place}; existing versions: none$"):
        registry.read_manifest(place, MODEL, 1)


def test_verify_version_unlisted_file_raises(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    storage.write_bytes(storage.join(place, MODEL, "1", "variables/more.index"), b"other")
    with pytest.raises(ValueError, match=r"must contain only files in its manifest, got also variables/more\.index$"):
        registry.verify_version(place, MODEL, 1)


def test_fetch_version_copies_and_verifies_files(place: str, make_files: Callable[..., Files], tmp_path: Path) -> None:
    _publish(place, "run-1", make_files())
    registry.fetch_version(place, MODEL, 1, ["model.keras", "variables/variables.index"], tmp_path / "copy")
    assert (tmp_path / "copy" / "model.keras").read_bytes() == CONTENTS["model.keras"]
    assert (tmp_path / "copy" / "variables" / "variables.index").read_bytes() == b"index"
    assert not (tmp_path / "copy" / "saved_model.pb").exists()
    storage.write_bytes(storage.join(place, MODEL, "1", "model.keras"), b"corrupt")
    with pytest.raises(ValueError, match=r"/1/model\.keras must have SHA-256 "):
        registry.fetch_version(place, MODEL, 1, ["model.keras"], tmp_path / "corrupt")
    assert not (tmp_path / "corrupt").exists()
    with pytest.raises(ValueError, match=r"version 1 of chest-radiograph has no 'model\.h5'; it has contract\.json, "):
        registry.fetch_version(place, MODEL, 1, ["model.h5"], tmp_path / "copy")
