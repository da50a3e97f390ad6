"""Which files of a dataset are images, which are set aside and which are ignored; the numbers add up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.data.file_counts import FileCounts, count_files
from radiograft.data.sources.listing import Listing, list_images, list_source
from tests.helpers.archives import tar_gz, zipped
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put

JPEG = encode(noise(32), "JPEG")


def listed(files: dict[str, bytes], place: str) -> Listing:
    return list_images(list_source(put(files, place)))


def reasons(found: Listing) -> dict[str, str]:
    return dict(found.excluded[["image_id", "reason"]].to_numpy().tolist())


def test_list_images_recognizes_files_by_suffix_or_content(place: str) -> None:
    """Fails if images without a usual suffix vanish without a word."""
    files = {
        "a/1.jfif": JPEG,
        "a/2.jpe": JPEG,
        "a/3": JPEG,
        "a/4.1.2": encode(noise(32), "BMP"),
        "a/5.tif": encode(noise(32), "TIFF"),
        "a/6.PNG": b"not read as a whole",
        "a/7.pgm": encode(noise(32), "PPM"),
        "a/8": b"who knows",
        "a/9.img": dicom_file(noise(32)),
        "a/10.dcm": dicom_file(noise(32)),
        "Thumbs.db": b"x",
        "a/desktop.ini": b"x",
        "a/.DS_Store": b"x",
        "__MACOSX/a/._1.png": b"x",
        ".git/config": b"x",
        "README.md": b"x",
        "labels.csv.zip": b"x",
    }
    found = listed(files, place)
    assert found.images["path"].tolist() == ["a/1.jfif", "a/2.jpe", "a/3", "a/4.1.2", "a/5.tif", "a/6.PNG"]
    assert reasons(found) == {
        "a/10.dcm": "DICOM file: set data_format=dicom",
        "a/9.img": "DICOM file: set data_format=dicom",
        "a/7.pgm": "PNM file: convert it to PNG",
        "a/8": "not an image by its name and content",
    }
    ignored = {".DS_Store": 1, "Thumbs.db": 1, "__MACOSX": 1, "desktop.ini": 1, "hidden files": 1}
    assert found.files == FileCounts(total=17, documents=2, archives=0, ignored=ignored)


@pytest.mark.parametrize(("suffix", "pack"), [(".zip", zipped), (".tar.gz", tar_gz), (".tgz", tar_gz)])
def test_list_images_counts_members_of_archives(suffix: str, pack: object, tmp_path: Path) -> None:
    members = {
        "x/1.png": b"1", "x/2": JPEG, "x/notes.txt": b"t", "x/more.zip": b"z", "x/a.dcm": b"d", "x/3": b"?",
        "__MACOSX/x/._1.png": b"m", "../4.png": b"4",
    }  # fmt: skip
    found = listed({f"sub/all{suffix}": pack(members), "sub/y.png": b"y"}, str(tmp_path))  # type: ignore[operator]
    assert found.images["path"].tolist() == ["sub/x/1.png", "sub/x/2", "sub/y.png"]
    assert reasons(found) == {
        "sub/../4.png": "member of an archive with a path outside the data folder",
        "sub/x/3": "not an image by its name and content",
        "sub/x/a.dcm": "DICOM file: set data_format=dicom",
        "sub/x/more.zip": "archive inside an archive: unpack it",
    }
    assert found.files == FileCounts(total=10, documents=1, archives=1, ignored={"__MACOSX": 1})


def test_list_images_archive_beside_its_unpacked_files_counts_once(tmp_path: Path) -> None:
    """Fails if a forgotten archive doubles the dataset, or puts one image into two splits."""
    files = {"a/1.png": b"1", "a/2.png": b"2", "b/3.png": b"3"}
    found = listed({**files, "all.zip": zipped(files | {"a/2.png": b"another"})}, str(tmp_path))
    assert found.images[["path", "uri"]].to_numpy().tolist() == [
        ["a/1.png", f"{tmp_path}/a/1.png"],
        ["b/3.png", f"{tmp_path}/b/3.png"],
    ]
    assert (
        sorted(found.excluded["reason"])
        == ["copy of another file, in an archive"] * 2 + ["file name used in more than one folder"] * 2
    )
    assert found.files.total == 7


FOLDERS = st.sampled_from(["", "a/", "b/", "a/masks/", "a/images/", ".git/", "__MACOSX/"])
NAMES = st.sampled_from(["1", "2", "x_mask", "Thumbs", "README", ".DS_Store", "labels", "x"])
SUFFIXES = st.sampled_from(["", ".png", ".JPG", ".jfif", ".db", ".csv", ".txt", ".dcm", ".pgm", ".tif", ".npy", ".xyz"])
CONTENTS = st.sampled_from([b"", b"1", JPEG, encode(noise(16)), dicom_file(noise(16)), b"<html>", b"GIF89a"])
TREES = st.dictionaries(st.builds("".join, st.tuples(FOLDERS, NAMES, SUFFIXES)), CONTENTS, max_size=12)


@settings(deadline=None, max_examples=150)
@given(plain=TREES, members=TREES, kind=st.sampled_from([".zip", ".tar.gz", ""]))
def test_list_images_every_file_is_used_set_aside_or_ignored(
    plain: dict[str, bytes], members: dict[str, bytes], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The law of the numbers in the data report, for any folder of files."""
    files = {**plain, "keep.png": b"k"}
    if kind:
        files[f"a/archive{kind}"] = {".zip": zipped, ".tar.gz": tar_gz}[kind](members)
    found = listed(files, str(tmp_path_factory.mktemp("tree")))
    count = len(files) + (len(members) if kind else 0)
    numbers = count_files(found.files, len(found.images), found.excluded)
    assert numbers is not None
    assert numbers["total"] == count
    parts = (numbers[name] for name in ("used", "set_aside", "documents", "archives"))
    assert sum(parts) + sum(numbers["ignored"].values()) == count
    assert not set(found.images["uri"]) & set(found.excluded["image_id"])
    assert not found.images["path"].duplicated().any()
