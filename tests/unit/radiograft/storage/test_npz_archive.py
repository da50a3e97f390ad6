"""Rows of an archive come as they were saved, one at a time, from disk and bucket; what is broken is never believed."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.storage import npz_archive
from tests.helpers.archives import pack, packed

COUNTING = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
LABELS = np.array([[1], [0], [1], [1], [0]], dtype=np.int64)


def stored_as(name: str, content: bytes) -> bytes:
    """An archive with one member of any content."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(f"{name}.npy", content)
    return archive.getvalue()


def saved(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version)
    return content.getvalue()


def everything(content: bytes, folder: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """The small array whole, and the rows of the other."""
    path = folder / "some.npz"
    path.write_bytes(content)
    with npz_archive.open_npz(str(path)) as archive:
        return archive.read("labels"), list(archive.rows("images"))


def test_arrays_are_read_whole_or_by_row_from_disk_and_bucket(place: str) -> None:
    with npz_archive.open_npz(pack(f"{place}/some.npz", images=COUNTING, labels=LABELS)) as archive:
        header = archive.header("images")
        assert (header.shape, header.dtype) == ((5, 3, 4), np.uint8)
        rows = archive.rows("images")
        np.testing.assert_array_equal(next(rows), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
        np.testing.assert_array_equal(
            archive.read("labels"), LABELS
        )  # in between: the passes do not disturb each other
        np.testing.assert_array_equal(list(rows), COUNTING[1:])


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_both_versions_of_numpys_header_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(stored_as("images", saved(COUNTING, version)))
    with npz_archive.open_npz(str(path)) as archive:
        np.testing.assert_array_equal(list(archive.rows("images")), COUNTING)


def test_picked_rows_come_in_the_order_asked_for_and_files_of_their_own_are_passed_over(place: str) -> None:
    uri = pack(f"{place}/set#1/some.npz", images=COUNTING, others=COUNTING + 100)
    uris = [
        "gs://elsewhere/a.png",
        *(npz_archive.row_uri(uri, "images", row) for row in (0, 3, 4)),
        npz_archive.row_uri(uri, "others", 2),
        "/data/b.npz",
        npz_archive.row_uri(uri, "images", 1),
    ]
    assert uris[1] == f"{uri}#images/0"
    found = list(npz_archive.read_rows(iter(uris)))
    expected = [None, COUNTING[0], COUNTING[3], COUNTING[4], COUNTING[2] + 100, None, COUNTING[1]]
    for row, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(row, wanted)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(wanted=st.sets(st.integers(0, 39)))
def test_picking_is_indexing(tmp_path_factory: pytest.TempPathFactory, wanted: set[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "forty.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 3), dtype=np.uint8)
    if not path.exists():
        pack(str(path), images=images)
    rows = sorted(wanted)
    found = list(npz_archive.read_rows(npz_archive.row_uri(str(path), "images", row) for row in rows))
    np.testing.assert_array_equal(np.array(found).reshape(-1, 2, 3), images[rows])


@pytest.mark.parametrize("rows", [[5], [3, 1], [2, 2]], ids=["beyond the end", "backwards", "twice"])
def test_a_row_that_no_longer_comes_is_missed(tmp_path: Path, rows: list[int]) -> None:
    uri = pack(str(tmp_path / "some.npz"), images=COUNTING)
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        list(npz_archive.read_rows(npz_archive.row_uri(uri, "images", row) for row in rows))
    assert str(error.value) == (
        f"{uri} must hold a row {rows[-1]} of images behind the one read before; if the file has changed since "
        "ingest, run ingest again"
    )


def test_a_missing_file_is_named(place: str) -> None:
    for read in (
        lambda uri: npz_archive.open_npz(uri).__enter__(),
        lambda uri: list(npz_archive.read_rows([npz_archive.row_uri(uri, "x", 0)])),
    ):
        with pytest.raises(FileNotFoundError, match=r"none\.npz"):
            read(f"{place}/none.npz")


ROWS_REFUSED: dict[str, tuple[bytes, str]] = {
    "missing array": (packed(images=COUNTING, labels=LABELS), "must hold an array images, got images, labels"),
    "no array": (packed(), "must hold an array images, got none"),
    "pickled objects": (
        packed(images=np.array([{"a": 1}, None], dtype=object)),
        "must hold plain numbers, got pickled objects, which are never loaded; save it with a numeric dtype",
    ),
    "columns first": (
        packed(images=np.asfortranarray(COUNTING)),
        "must be stored row after row, got it column after",
    ),
    "no rows": (packed(images=np.array(7)), "must be stored row after row, got a single number; save what"),
    "rows of nothing": (packed(images=COUNTING[:, :0]), "must have 1 to 256,000,000 bytes, got 0"),
    "a bomb": (
        stored_as("images", saved(COUNTING).replace(b"(5, 3, 4), }     ", b"(5, 99999, 9999)}")),
        "must have 1 to 256,000,000 bytes, got 999,890,001",
    ),
    "no NumPy": (stored_as("images", b"pixels"), "must be an array as NumPy saves it, got: "),
    "a broken header": (
        stored_as("images", saved(COUNTING).replace(b")", b" ")),
        "must be an array as NumPy saves it, got: ",
    ),
    "a later NumPy": (
        stored_as("images", saved(COUNTING, (3, 0))),
        "must be an array as NumPy saves it, got: (3, 0)",
    ),
    "too few rows": (
        stored_as("images", saved(COUNTING)[:-13]),
        "must be a whole .npz archive, got a broken one: images ends in row 3 of 5; fetch it anew",
    ),
    "too many rows": (
        stored_as("images", saved(COUNTING) + b"x"),
        "got a broken one: images goes on after its numbers",
    ),
    "no archive": (b"PK no archive", "must be a whole .npz archive, got a broken one: File is not a zip file; fetch"),
    "truncated": (packed(images=COUNTING)[:-30], "must be a whole .npz archive, got a broken one: "),
    "a name that is no UTF-8": (
        packed(é=COUNTING).replace("é".encode(), b"\x83e"),  # zipfile marks such names as UTF-8
        "must be a whole .npz archive, got a broken one: 'utf-8' codec can't decode byte 0x83",
    ),
    "empty": (b"", "must be a whole .npz archive, got a broken one: File is not a zip file; fetch it anew"),
}


@pytest.mark.parametrize(("content", "message"), ROWS_REFUSED.values(), ids=ROWS_REFUSED)
def test_what_cannot_be_read_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error, npz_archive.open_npz(str(path)) as archive:  # noqa: PT011
        list(archive.rows("images"))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_pickled_objects_are_not_loaded_whole_either(tmp_path: Path) -> None:
    uri = pack(str(tmp_path / "some.npz"), labels=np.array([print, None], dtype=object))
    with npz_archive.open_npz(uri) as archive:
        for read in (archive.header, archive.read):
            with pytest.raises(ValueError, match=r"pickled objects|allow_pickle=False"):
                read("labels")


def refused_or_intact(content: bytes, folder: Path) -> bool:
    """Whether a damaged file is refused; where it is not, what is read must be what was saved."""
    try:
        labels, images = everything(content, folder)
    except ValueError as error:
        assert str(folder / "some.npz") in str(error)  # noqa: PT017  either outcome is right
        return True
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(images, COUNTING)
    return False


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_byte_changed_passes_for_other_content(tmp_path: Path, save: Callable[..., None]) -> None:
    buffer = io.BytesIO()
    save(buffer, images=COUNTING, labels=LABELS)
    content = buffer.getvalue()
    refused = [
        refused_or_intact(content[:place] + bytes([value]) + content[place + 1 :], tmp_path)
        for place in range(len(content))
        for value in (0, content[place] ^ 1, 255)
    ]
    assert 0.5 < np.mean(refused) < 1.0  # the rest are dates and the like, which nobody reads


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_part_of_an_archive_passes_for_the_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = packed(images=COUNTING, labels=LABELS)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    assert refused_or_intact(content[:start] + content[stop:], tmp_path_factory.getbasetemp()) or start == stop


def peak(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    def last_row(count: int) -> int:
        uri = pack(str(tmp_path / f"{count}.npz"), images=np.zeros((count, 100, 100), np.uint8))
        return peak(lambda: list(npz_archive.read_rows([npz_archive.row_uri(uri, "images", count - 1)])))

    last_row(10)  # imports
    assert last_row(1600) < 1.25 * last_row(400) < 1_000_000  # bytes; the arrays have 16 and 4 million
