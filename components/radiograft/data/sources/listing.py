"""Lists the files of a dataset, in folders and archives: each is an image, set aside with the reason, or ignored."""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.config.data_policy import ARCHIVED_COPY, MASK, OUTSIDE_MEMBER, REPEATED_NAME
from radiograft.data.file_counts import FileCounts
from radiograft.data.sources import masks
from radiograft.imaging import formats
from radiograft.storage import archive

IGNORED, DOCUMENT, ARCHIVE, IMAGE, UNSUPPORTED, UNKNOWN = (
    "ignored", "document", "archive", "image", "unsupported", "unknown"
)  # fmt: skip
SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp")
UNSUPPORTED_SUFFIXES = {  # suffixes of files that are set aside unread, and their format
    ".dcm": formats.DICOM, ".dicom": formats.DICOM, ".jp2": "JPEG 2000", ".jxl": "JPEG XL", ".heic": "HEIC",
    ".avif": "AVIF", ".npy": "NumPy", ".npz": "NumPy", ".nii": "NIfTI", ".nii.gz": "NIfTI", ".h5": "HDF5",
    ".hdf5": "HDF5", ".mha": "MetaImage", ".mhd": "MetaImage", ".nrrd": "NRRD", ".tar": "tar",
    ".7z": "7z", ".rar": "RAR", ".svg": "SVG", ".mp4": "video", ".avi": "video",
}  # fmt: skip
DOCUMENTS = (
    ".csv", ".tsv", ".csv.gz", ".csv.zip", ".tsv.gz", ".tsv.zip", ".parquet", ".feather", ".xls", ".xlsx", ".ods",
    ".json", ".jsonl", ".txt", ".md", ".rst", ".pdf", ".htm", ".html", ".xml", ".yaml", ".yml", ".toml", ".log", ".doc",
    ".docx", ".bib", ".py", ".ipynb", ".md5", ".sha256",
)  # fmt: skip
IGNORED_NAMES = {  # files and folders of operating systems, in lower case, as they are reported
    name.lower(): name
    for name in ("Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store", "__MACOSX", "@eaDir", "$RECYCLE.BIN",
                 "System Volume Information", "lost+found")
}  # fmt: skip
HIDDEN = "hidden files"
GONE = "deleted since it was listed, or a link to a missing file"
NO_IMAGE = "not an image by its name and content"
OUTSIDE_PATH = r"^/|(?:^|/)\.\.(?:/|$)"  # absolute paths and paths with ..
COLUMNS = {"path": "string", "uri": "string", "bytes": "int64", "md5": "string"}


class Listing(NamedTuple):
    """The images with path below the source, uri, bytes and md5, sorted by path; the files set aside; the numbers."""

    images: pd.DataFrame
    excluded: pd.DataFrame
    files: FileCounts


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Suspends the collector, which would search a million entries again and again, none of which is garbage."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_without_garbage_collection()
def list_source(uri: str) -> list[storage.ObjectInfo]:
    """Lists every file below a folder or prefix, including hidden ones, sorted by name.

    Raises:
        FileNotFoundError: The folder does not exist.
    """
    return list(storage.list_files(uri, hidden=True))


def ignored_as(path: str) -> str:
    """Returns the name by which a file is ignored, such as `Thumbs.db`, or "" if it is not.

    Example:
        >>> ignored_as("x/__MACOSX/a.png"), ignored_as(".git/config"), ignored_as("x/a.png")
        ('__MACOSX', 'hidden files', '')
    """
    folder, _, name = path.rpartition("/")
    of_folder, hidden = _folder_ignored_as(folder)
    return of_folder or IGNORED_NAMES.get(name.lower(), "") or (HIDDEN if hidden or name.startswith(".") else "")


@functools.lru_cache(maxsize=1024)
def _folder_ignored_as(path: str) -> tuple[str, bool]:
    """Returns the name of a system's folder on the path, or "", and whether a folder on the path is hidden."""
    found = next((IGNORED_NAMES[part] for part in path.lower().split("/") if part in IGNORED_NAMES), "")
    return found, storage.is_hidden(path)


def kind_of(path: str) -> str:
    """Returns IGNORED, DOCUMENT, ARCHIVE, IMAGE, UNSUPPORTED or UNKNOWN, by the name of a file."""
    name = path.lower()
    if ignored_as(path):
        return IGNORED
    if name.endswith(SUFFIXES):
        return IMAGE
    if name.endswith(DOCUMENTS):
        return DOCUMENT
    if archive.is_archive(name):
        return ARCHIVE
    return UNSUPPORTED if name.endswith(tuple(UNSUPPORTED_SUFFIXES)) else UNKNOWN


class _Part(NamedTuple):
    """Files of a folder or archive: images, (path, reason) of those set aside, and the others by kind and name."""

    images: list[storage.ObjectInfo]
    reasons: list[tuple[str, str]]
    others: collections.Counter[tuple[str, str]]


@_without_garbage_collection()
def list_images(entries: Iterable[storage.ObjectInfo]) -> Listing:
    """Finds the images among the files of a dataset and the members of its archives.

    Files are images by their suffix; files with another suffix or none are recognized by their first bytes. A whole
    file is read only to compute a checksum that the storage does not provide. Archives are read in parallel.

    Args:
        entries: files from `list_source`.

    Raises:
        ValueError: An archive is corrupt.
    """
    kinds = [(entry, kind_of(entry.name)) for entry in entries]
    archives = [entry for entry, kind in kinds if kind == ARCHIVE]
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        parts = [_list_folder(kinds), *pool.map(_list_archive, archives)]
    images = image_frame(image for part in parts for image in part.images)
    reasons = _reasons(images)
    is_used = reasons.eq("")
    others_aside = [pair for part in parts for pair in part.reasons]
    set_aside = [*zip(images["path"][~is_used], reasons[~is_used], strict=True), *others_aside]
    excluded = pd.DataFrame(set_aside, columns=["image_id", "reason"], dtype="string")
    others = sum((part.others for part in parts), collections.Counter())
    return Listing(
        images[is_used].reset_index(drop=True),
        excluded.sort_values(["reason", "image_id"], kind="stable", ignore_index=True),
        FileCounts(
            total=len(images) + len(others_aside) + others.total(),
            documents=others[DOCUMENT, ""],
            archives=others[ARCHIVE, ""],
            ignored={name: count for (kind, name), count in sorted(others.items()) if kind == IGNORED},
        ),
    )


def _list_folder(kinds: Iterable[tuple[storage.ObjectInfo, str]]) -> _Part:
    """Lists files with their kinds, in the order of their names."""
    unknown = [entry for entry, kind in kinds if kind == UNKNOWN]
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        recognized = dict(zip([entry.name for entry in unknown], pool.map(_recognize_file, unknown), strict=True))
    part = _Part([], [], collections.Counter())
    for entry, kind in kinds:
        if kind == IMAGE:  # of a million files, most
            part.images.append(entry)
        else:
            _add(part, entry, kind, recognized.get(entry.name, ""))
    images = list(storage.with_md5(part.images))
    gone = _names(part.images) - _names(images) if len(images) < len(part.images) else set()
    return part._replace(images=images, reasons=part.reasons + [(name, GONE) for name in sorted(gone)])


def _names(entries: Iterable[storage.ObjectInfo]) -> set[str]:
    return {entry.name for entry in entries}


def _list_archive(entry: storage.ObjectInfo) -> _Part:
    """Lists the members of an archive; paths outside its folder are set aside."""
    folder = entry.name.rpartition("/")[0]
    part = _Part([], [], collections.Counter())
    for member in archive.iter_members(entry.uri, lambda name: kind_of(_relative(name)) in (IMAGE, UNKNOWN)):
        name = _relative(member.name)
        path = "/".join(filter(None, (folder, name)))
        if re.search(OUTSIDE_PATH, name):
            part.reasons.append((path, OUTSIDE_MEMBER))
            continue
        content = member.content or b""
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        kind = kind_of(name).replace(ARCHIVE, UNSUPPORTED)
        _add(part, storage.ObjectInfo(path, member.uri, len(content), digest), kind, formats.recognize(content))
    return part


def _relative(name: str) -> str:
    """Returns the path of a member without `./` at its beginning, which is hidden neither on disk nor in buckets."""
    return name.removeprefix("./")


def _add(part: _Part, entry: storage.ObjectInfo, kind: str, recognized: str) -> None:
    """Adds a file; `recognized` is its format if its kind is UNKNOWN."""
    if kind == IMAGE or (kind == UNKNOWN and recognized in (*formats.SERVED, *formats.CONVERTED)):
        part.images.append(entry)
    elif kind == UNKNOWN:
        part.reasons.append((entry.name, formats.reason_unsupported(recognized) if recognized else NO_IMAGE))
    elif kind == UNSUPPORTED:
        part.reasons.append((entry.name, _reason_of_suffix(entry.name)))
    else:
        part.others[kind, ignored_as(entry.name) if kind == IGNORED else ""] += 1


def _reason_of_suffix(path: str) -> str:
    names = [name for suffix, name in UNSUPPORTED_SUFFIXES.items() if path.lower().endswith(suffix)]
    return formats.reason_unsupported(names[0]) if names else "archive inside an archive: unpack it"


def _recognize_file(entry: storage.ObjectInfo) -> str:
    try:
        with storage.open_file(entry.uri) as file:
            return formats.recognize(file.read(formats.HEAD_BYTES))
    except OSError as error:
        if storage.is_missing(error):
            return ""
        raise


def _reasons(images: pd.DataFrame) -> pd.Series[str]:
    """Returns why images are set aside by their paths, "" for those that are used."""
    paths = images["path"]
    reasons = pd.Series("", index=paths.index, dtype="string")
    reasons = reasons.mask(paths.isin(masks.find_masks(paths.tolist())), MASK)
    shared = images[paths.duplicated(keep=False)]  # a file that lies unpacked beside its archive
    differ = shared.groupby("path")["md5"].transform("nunique").gt(1)
    reasons[shared.index[shared["path"].duplicated()]] = ARCHIVED_COPY
    reasons[shared.index[differ]] = REPEATED_NAME
    return reasons


def image_frame(entries: Iterable[storage.ObjectInfo]) -> pd.DataFrame:
    """Returns a row with path, uri, bytes and md5 per entry, sorted by path; the md5 must be known."""
    rows = pd.DataFrame([(e.name, e.uri, e.size, e.md5) for e in entries], columns=list(COLUMNS)).astype(COLUMNS)
    return rows.sort_values("path", kind="stable", ignore_index=True)
