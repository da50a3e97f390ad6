"""The registry's promises: numbers that nobody shares, versions that never change, nothing half written to be seen."""

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
from radiograft.storage import conditional_write

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
    """Local files of a version; `changed` replaces some contents."""

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


def test_a_registry_begins_empty(place: str) -> None:
    assert registry.list_versions(place, MODEL) == []


def test_versions_are_numbered_from_one_past_ten(place: str, make_files: Callable[..., Files]) -> None:
    files = make_files()
    assert [_publish(place, f"run-{n}", files) for n in range(1, 12)] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert registry.list_versions(place, MODEL) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_models_are_numbered_for_themselves(place: str) -> None:
    assert claim_version(place, "hand", "run-1").number == 1
    assert claim_version(place, "hand", "run-2").number == 2
    assert claim_version(place, "hand-and-wrist", "run-3").number == 1


def test_a_number_is_not_given_anew_where_the_claims_were_lost(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    storage.delete(storage.join(place, MODEL, "claims", "1.json"))
    assert claim_version(place, MODEL, "run-2").number == 2


def test_all_attempts_of_a_run_have_the_same_claim(place: str) -> None:
    first = claim_version(place, MODEL, "run-1")
    assert claim_version(place, MODEL, "run-1") == first
    assert (first.number, first.run_id, first.parent) == (1, "run-1", None)
    assert datetime.datetime.fromisoformat(first.created).utcoffset() == datetime.timedelta(0)


def test_a_version_is_stored_with_its_manifest(place: str, make_files: Callable[..., Files]) -> None:
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


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path: Path, make_files: Callable[..., Files]) -> None:
    """Fails where the manifest does not state its own SHA-256: nothing else tells a wrong run from the right one."""
    _publish(str(tmp_path), "run-1", make_files())
    path = tmp_path / MODEL / "1" / "manifest.json"
    content = path.read_bytes()
    for place, bit in itertools.product(range(len(content)), range(8)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"1/manifest\.json must"):
            registry.read_manifest(str(tmp_path), MODEL, 1)


def test_another_version_changes_no_byte_of_the_first(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    before = _stored(place, 1)
    _publish(place, "run-2", make_files("others", **{"model.keras": b"another"}))
    assert _stored(place, 1) == before
    assert _stored(place, 2)["model.keras"] == b"another"


def test_a_committed_version_is_left_alone(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    before = _stored(place, 1)
    changed = make_files("others", **{"model.keras": b"another"})
    assert registry.write_version(place, MODEL, 1, changed, {"run": "run-1"}) == storage.join(place, MODEL, "1")
    assert _stored(place, 1) == before


@pytest.mark.parametrize("lost", list(CONTENTS))
def test_after_a_crash_there_is_no_version_until_a_second_attempt_completes_it(
    place: str, make_files: Callable[..., Files], lost: str
) -> None:
    files = make_files()
    files[lost].unlink()  # the upload ends here
    with pytest.raises(FileNotFoundError):
        _publish(place, "run-1", files)
    assert registry.list_versions(place, MODEL) == []
    assert not storage.exists(storage.join(place, MODEL, "1", "saved_model.pb"))  # or Serving would load it
    assert _publish(place, "run-2", make_files("others")) == 2
    assert registry.list_versions(place, MODEL) == [2]
    assert _publish(place, "run-1", make_files()) == 1
    assert registry.list_versions(place, MODEL) == [1, 2]
    assert registry.verify_version(place, MODEL, 1)["run"] == "run-1"


def test_what_another_attempt_wrote_and_this_one_does_not_is_cleaned_up(
    place: str, make_files: Callable[..., Files]
) -> None:
    left = storage.join(place, MODEL, ".1-dead" if place[0] == "/" else "1", "variables/old.index")
    storage.write_bytes(left, b"old")
    _publish(place, "run-1", make_files())
    assert set(_stored(place, 1)) == {*CONTENTS, "manifest.json"}
    registry.verify_version(place, MODEL, 1)
    assert not storage.exists(left)


def test_two_live_attempts_of_a_run_claim_one_version(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the loser of a number does not look whose it is, and takes the next."""
    seconds = itertools.count()
    monkeypatch.setattr(production, "utc_now", lambda: f"2026-01-01T00:00:{next(seconds):02}+00:00")
    found = _in_the_middle(monkeypatch, conditional_write, "swap", lambda: claim_version(place, MODEL, "run-1"))
    assert claim_version(place, MODEL, "run-1") == found[0]
    assert found[0].number == 1
    assert claim_version(place, MODEL, "run-2").number == 2


def test_a_claim_made_while_versions_are_listed_is_seen(
    place: str, monkeypatch: pytest.MonkeyPatch, make_files: Callable[..., Files]
) -> None:
    """Fails where claims are listed before versions: the other attempt's number is passed over for a higher one."""

    def others() -> int:
        first = claim_version(place, MODEL, "run-1").number
        _publish(place, "run-2", make_files())
        return first

    found = _in_the_middle(monkeypatch, registry, "versions", others)
    assert claim_version(place, MODEL, "run-1").number == 1
    assert found == [1]
    assert registry.list_versions(place, MODEL) == [2]


@pytest.mark.parametrize("write", range(len(CONTENTS) + 1))
def test_two_live_attempts_of_a_run_write_one_whole_version(
    place: str, monkeypatch: pytest.MonkeyPatch, make_files: Callable[..., Files], write: int
) -> None:
    """Fails where both attempts write to one draft folder: one removes it while the other writes."""
    files = make_files()
    found = _in_the_middle(
        monkeypatch, storage, "write_bytes", lambda: registry.write_version(place, MODEL, 1, files, {}), after=write
    )
    assert registry.write_version(place, MODEL, 1, files, {}) == storage.join(place, MODEL, "1")
    assert found == [storage.join(place, MODEL, "1")]
    registry.verify_version(place, MODEL, 1)
    assert set(_stored(place, 1)) == {*CONTENTS, "manifest.json"}
    assert [path.name for path in Path(place, MODEL).glob("*")] in (["1"], [])  # no draft is left on disk


@pytest.mark.parametrize("write", range(len(CONTENTS) + 1))
def test_an_attempt_that_dies_before_its_first_write_takes_nothing_from_a_live_one(
    place: str, monkeypatch: pytest.MonkeyPatch, make_files: Callable[..., Files], write: int
) -> None:
    """Fails where the manifest is cleaned up as a stranger: what the live one completes is served, not registered."""
    files = make_files()

    def dies() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(storage, "write_bytes", _killed)
            with pytest.raises(KeyboardInterrupt):
                registry.write_version(place, MODEL, 1, files, {})

    _in_the_middle(monkeypatch, storage, "write_bytes", dies, after=write)
    registry.write_version(place, MODEL, 1, files, {})
    assert registry.list_versions(place, MODEL) == [1]
    registry.verify_version(place, MODEL, 1)


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_many_attempts_of_a_run_at_once_write_one_whole_version(
    tmp_path: Path, make_files: Callable[..., Files]
) -> None:
    """Fails where a draft may be removed by another attempt before it is renamed: files are missing."""
    files, start = make_files(), threading.Barrier(WRITERS)

    def write(_: int) -> int:
        start.wait()
        return _publish(str(tmp_path), "run-1", files)

    with ThreadPoolExecutor(WRITERS) as pool:
        assert set(pool.map(write, range(WRITERS))) == {1}
    registry.verify_version(str(tmp_path), MODEL, 1)


def _in_the_middle(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, other: Callable[[], Any], after: int = 0
) -> list[Any]:
    """Has `other` run when the function was called `after` times before; what it returns will be in the list."""
    original, found, calls = getattr(module, name), [], itertools.count()

    def interrupted(*arguments: Any, **named: Any) -> Any:
        if next(calls) == after:
            found.append(other())
        return original(*arguments, **named)

    monkeypatch.setattr(module, name, interrupted)
    return found


def test_a_version_without_a_saved_model_is_refused(place: str, make_files: Callable[..., Files]) -> None:
    files = make_files()
    del files["saved_model.pb"]
    with pytest.raises(ValueError, match=r"^a version must hold saved_model\.pb, got contract\.json, model\.keras, "):
        _publish(place, "run-1", files)
    assert registry.list_versions(place, MODEL) == []


def test_racing_writers_get_complete_versions_of_their_own(place: str, make_files: Callable[..., Files]) -> None:
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
    """The folder of a committed version."""
    files = {}
    for name, content in CONTENTS.items():
        files[name] = tmp_path_factory.mktemp("files") / "file"
        files[name].write_bytes(content)
    place = tmp_path_factory.mktemp("registry")
    _publish(str(place), "run-1", files)
    return place / MODEL / "1"


@given(name=st.sampled_from(sorted(CONTENTS)), position=st.integers(0), bit=st.integers(0, 7))
def test_one_flipped_bit_is_found(published: Path, name: str, position: int, bit: int) -> None:
    place, content = str(published.parents[1]), bytearray(CONTENTS[name])
    content[position % len(content)] ^= 1 << bit
    (published / name).write_bytes(content)
    try:
        with pytest.raises(ValueError, match=f"{name} must have SHA-256 ") as refused:
            registry.verify_version(place, MODEL, 1)
    finally:
        (published / name).write_bytes(CONTENTS[name])
    assert str(refused.value).startswith(f"{published / name} ")
    assert registry.verify_version(place, MODEL, 1)["version"] == 1


def test_a_flipped_byte_is_found_in_a_bucket(embedded: str, make_files: Callable[..., Files], tmp_path: Path) -> None:
    place = storage.join(embedded, tmp_path.name)
    _publish(place, "run-1", make_files())
    storage.write_bytes(storage.join(place, MODEL, "1", "model.keras"), b"\x01" + CONTENTS["model.keras"][1:])
    with pytest.raises(ValueError, match=f"^{place}/chest-radiograph/1/model.keras must have SHA-256 "):
        registry.verify_version(place, MODEL, 1)


@pytest.mark.parametrize("name", sorted(CONTENTS.keys() - {"saved_model.pb"}))
def test_a_missing_file_is_named(tmp_path: Path, make_files: Callable[..., Files], name: str) -> None:
    _publish(str(tmp_path), "run-1", make_files())
    (tmp_path / MODEL / "1" / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{MODEL}/1/{name}"):
        registry.verify_version(str(tmp_path), MODEL, 1)


@pytest.mark.parametrize("lost", ["saved_model.pb", "manifest.json"])
def test_a_version_exists_with_manifest_and_saved_model_alone(
    place: str, make_files: Callable[..., Files], lost: str
) -> None:
    for run in ("run-1", "run-2"):
        _publish(place, run, make_files())
    storage.delete(storage.join(place, MODEL, "2", lost))
    assert registry.list_versions(place, MODEL) == [1]
    with pytest.raises(FileNotFoundError, match=f"^{MODEL} has no version 2 in {place}; there are 1$"):
        registry.verify_version(place, MODEL, 2)


def test_in_an_empty_registry_no_version_is_found(place: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"^{MODEL} has no version 1 in {place}; there are no versions yet$"):
        registry.read_manifest(place, MODEL, 1)


def test_a_strangers_file_is_found(place: str, make_files: Callable[..., Files]) -> None:
    _publish(place, "run-1", make_files())
    storage.write_bytes(storage.join(place, MODEL, "1", "variables/more.index"), b"other")
    with pytest.raises(ValueError, match=r"must hold the files of its manifest alone, got variables/more\.index too$"):
        registry.verify_version(place, MODEL, 1)


def test_files_are_fetched_by_name_and_checked(place: str, make_files: Callable[..., Files], tmp_path: Path) -> None:
    _publish(place, "run-1", make_files())
    registry.fetch_version(place, MODEL, 1, ["model.keras", "variables/variables.index"], tmp_path / "copy")
    assert (tmp_path / "copy" / "model.keras").read_bytes() == CONTENTS["model.keras"]
    assert (tmp_path / "copy" / "variables" / "variables.index").read_bytes() == b"index"
    assert not (tmp_path / "copy" / "saved_model.pb").exists()
    storage.write_bytes(storage.join(place, MODEL, "1", "model.keras"), b"damaged")
    with pytest.raises(ValueError, match=r"/1/model\.keras must have SHA-256 "):
        registry.fetch_version(place, MODEL, 1, ["model.keras"], tmp_path / "damaged")
    assert not (tmp_path / "damaged").exists()
    with pytest.raises(ValueError, match=r"version 1 of chest-radiograph has no 'model\.h5'; it has contract\.json, "):
        registry.fetch_version(place, MODEL, 1, ["model.h5"], tmp_path / "copy")
