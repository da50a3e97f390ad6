"""Rows of .npz archives, streamed from disk and buckets. Malformed and corrupt archives raise."""

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


def archive_with(name: str, content: bytes) -> bytes:
    """Returns an archive with one member of arbitrary content."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(f"{name}.npy", content)
    return archive.getvalue()


def to_npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    content = io.BytesIO()
    np.lib.format.write_array(content, array, version)
    return content.getvalue()


def read_all(content: bytes, folder: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Reads the small array at once and the other one row by row."""
    path = folder / "some.npz"
    path.write_bytes(content)
    with npz_archive.open_npz(str(path)) as archive:
        return archive.read("labels"), list(archive.rows("images"))


def test_open_npz_reads_whole_arrays_and_rows(place: str) -> None:
    with npz_archive.open_npz(pack(f"{place}/some.npz", images=COUNTING, labels=LABELS)) as archive:
        header = archive.header("images")
        assert (header.shape, header.dtype) == ((5, 3, 4), np.uint8)
        rows = archive.rows("images")
        np.testing.assert_array_equal(next(rows), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
        np.testing.assert_array_equal(archive.read("labels"), LABELS)  # while the rows of another array are read
        np.testing.assert_array_equal(list(rows), COUNTING[1:])


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_rows_reads_both_header_versions(tmp_path: Path, version: tuple[int, int]) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(archive_with("images", to_npy(COUNTING, version)))
    with npz_archive.open_npz(str(path)) as archive:
        np.testing.assert_array_equal(list(archive.rows("images")), COUNTING)


def test_read_rows_yields_rows_in_order_and_none_for_files(place: str) -> None:
    uri = pack(f"{place}/set#1/some.npz", images=COUNTING, others=COUNTING + 100)
    uris = [
        "gs://elsewhere/a.png",
        *(npz_archive.row_uri(uri, "images", row) for row in (0, 3, 4)),
        npz_archive.row_uri(uri, "others", 2),
        "/data/b.npz",
        npz_archive.row_uri(uri, "images", 1),
    ]
    assert uris[1] == f"{uri}#images/0"
    rows_read = list(npz_archive.read_rows(iter(uris)))
    expected = [None, COUNTING[0], COUNTING[3], COUNTING[4], COUNTING[2] + 100, None, COUNTING[1]]
    for row, wanted in zip(rows_read, expected, strict=True):
        np.testing.assert_array_equal(row, wanted)  # type: ignore[arg-type]


@settings(max_examples=50, deadline=None)
@given(wanted=st.sets(st.integers(0, 39)))
def test_read_rows_equals_indexing(tmp_path_factory: pytest.TempPathFactory, wanted: set[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "forty.npz"
    images = np.random.default_rng(0).integers(0, 256, (40, 2, 3), dtype=np.uint8)
    if not path.exists():
        pack(str(path), images=images)
    rows = sorted(wanted)
    rows_read = list(npz_archive.read_rows(npz_archive.row_uri(str(path), "images", row) for row in rows))
    np.testing.assert_array_equal(np.array(rows_read).reshape(-1, 2, 3), images[rows])


@pytest.mark.parametrize("rows", [[5], [3, 1], [2, 2]], ids=["beyond the end", "backwards", "twice"])
def test_read_rows_missing_or_descending_row_raises(tmp_path: Path, rows: list[int]) -> None:
    uri = pack(str(tmp_path / "some.npz"), images=COUNTING)
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        list(npz_archive.read_rows(npz_archive.row_uri(uri, "images", row) for row in rows))
    assert str(error.value) == (
        f"{uri} must contain row {rows[-1]} of images after the previous one; if the file has changed since ingest, "
        "run ingest again"
    )


def test_open_npz_missing_file_raises(place: str) -> None:
    for read in (
        lambda uri: npz_archive.open_npz(uri).__enter__(),
        lambda uri: list(npz_archive.read_rows([npz_archive.row_uri(uri, "x", 0)])),
    ):
        with pytest.raises(FileNotFoundError, match=r"none\.npz"):
            read(f"{place}/none.npz")


INVALID: dict[str, tuple[bytes, str]] = {
    "missing array": (packed(pixels=COUNTING, labels=LABELS), "must contain the array images, got labels, pixels"),
    "no array": (packed(), "must contain the array images, got no arrays"),
    "pickled objects": (
        packed(images=np.array([{"a": 1}, None], dtype=object)),
        "must contain plain numbers, got pickled objects, which are never loaded; save it with a numeric dtype",
    ),
    "column-major": (
        packed(images=np.asfortranarray(COUNTING)),
        "must be stored in row-major order, got column-major order; save the result of np.ascontiguousarray",
    ),
    "scalar": (packed(images=np.array(7)), "must be stored in row-major order, got a scalar; save the result"),
    "empty rows": (packed(images=COUNTING[:, :0]), "must have 1 to 256,000,000 bytes, got 0"),
    "decompression bomb": (
        archive_with("images", to_npy(COUNTING).replace(b"(5, 3, 4), }     ", b"(5, 99999, 9999)}")),
        "must have 1 to 256,000,000 bytes, got 999,890,001",
    ),
    "not NumPy": (archive_with("images", b"pixels"), "must be a valid .npy array, got: "),
    "corrupt header": (
        archive_with("images", to_npy(COUNTING).replace(b")", b" ")),
        "must be a valid .npy array, got: ",
    ),
    "unsupported header version": (
        archive_with("images", to_npy(COUNTING, (3, 0))),
        "must be a valid .npy array, got: (3, 0)",
    ),
    "too few rows": (
        archive_with("images", to_npy(COUNTING)[:-13]),
        "must be a complete .npz archive, got a corrupt one: images ends in row 3 of 5; download it again",
    ),
    "too many rows": (
        archive_with("images", to_npy(COUNTING) + b"x"),
        "got a corrupt one: images has extra data after its last row",
    ),
    "not an archive": (
        b"PK no archive",
        "must be a complete .npz archive, got a corrupt one: File is not a zip file; download it",
    ),
    "truncated": (packed(images=COUNTING)[:-30], "must be a complete .npz archive, got a corrupt one: "),
    "name not UTF-8": (
        packed(é=COUNTING).replace("é".encode(), b"\x83e"),  # zipfile marks such names as UTF-8
        "must be a complete .npz archive, got a corrupt one: 'utf-8' codec can't decode byte 0x83",
    ),
    "empty": (b"", "must be a complete .npz archive, got a corrupt one: File is not a zip file; download it again"),
}


@pytest.mark.parametrize(("content", "message"), INVALID.values(), ids=INVALID)
def test_rows_invalid_archive_raises(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error, npz_archive.open_npz(str(path)) as archive:  # noqa: PT011
        list(archive.rows("images"))
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_read_pickled_objects_raises(tmp_path: Path) -> None:
    uri = pack(str(tmp_path / "some.npz"), labels=np.array([print, None], dtype=object))
    with npz_archive.open_npz(uri) as archive:
        for read in (archive.header, archive.read):
            with pytest.raises(ValueError, match=r"pickled objects|allow_pickle=False"):
                read("labels")


def is_rejected(content: bytes, folder: Path) -> bool:
    """Returns whether a corrupted file raises. If it does not, the arrays must be intact."""
    try:
        labels, images = read_all(content, folder)
    except ValueError as error:
        assert str(folder / "some.npz") in str(error)  # noqa: PT017  either outcome is right
        return True
    np.testing.assert_array_equal(labels, LABELS)
    np.testing.assert_array_equal(images, COUNTING)
    return False


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_read_changed_byte_raises_or_returns_original(tmp_path: Path, save: Callable[..., None]) -> None:
    buffer = io.BytesIO()
    save(buffer, images=COUNTING, labels=LABELS)
    content = buffer.getvalue()
    rejected = [
        is_rejected(content[:place] + bytes([value]) + content[place + 1 :], tmp_path)
        for place in range(len(content))
        for value in (0, content[place] ^ 1, 255)
    ]
    assert 0.5 < np.mean(rejected) < 1.0  # the other bytes are dates and other metadata that is not read


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_read_archive_with_removed_part_raises(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = packed(images=COUNTING, labels=LABELS)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start, len(content)))
    assert is_rejected(content[:start] + content[stop:], tmp_path_factory.getbasetemp()) or start == stop


def peak_memory(work: Callable[[], object]) -> int:
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_read_rows_memory_is_independent_of_row_count(tmp_path: Path) -> None:
    def memory_of_last_row(count: int) -> int:
        uri = pack(str(tmp_path / f"{count}.npz"), images=np.zeros((count, 100, 100), np.uint8))
        return peak_memory(lambda: list(npz_archive.read_rows([npz_archive.row_uri(uri, "images", count - 1)])))

    memory_of_last_row(10)  # imports modules
    assert memory_of_last_row(1600) < 1.25 * memory_of_last_row(400) < 1_000_000  # bytes; the arrays have 16 and 4 MB
