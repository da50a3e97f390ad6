"""Paths in tables and archives that lead outside the data folder: nothing is read there, and each is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.config import Ingest
from radiograft.config.table_layout import TableLayout
from radiograft.data.catalog import exclusion
from radiograft.data.sources import image_folder, table
from radiograft.stages.ingest import task
from tests.helpers.archives import tar_gz
from tests.helpers.nih_source import half_validating, nih_files, put

OUTSIDE = "path outside the data folder"
OUTSIDE_MEMBER = "member of an archive with a path outside the data folder"
ROWS = "image,label\na/1.png,Mass\na/2.png,No Finding\n"
IMAGES = {"a/1.png": b"1", "a/2.png": b"2"}


def outside(name: str, reason: str = OUTSIDE) -> list[list[str]]:
    return exclusion([name], reason).to_numpy().tolist()


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "/secret.png", "a/.."])
def test_read_table_row_outside_folder_is_excluded(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    uri = put(IMAGES | {"t.csv": f"{ROWS}{path},Mass\n".encode()}, str(tmp_path / "data"))
    source = table.read(f"{uri}/t.csv", TableLayout())
    assert source.excluded.to_numpy().tolist() == outside(path)
    assert source.rows["image_id"].tolist() == ["a/1.png", "a/2.png"]


def test_read_table_dots_in_names_are_allowed(tmp_path: Path) -> None:
    files = {"a/1..png": b"1", "a..b/2.png": b"2", "t.csv": b"image,label\na/1..png,Mass\na..b/2.png,Normal\n"}
    source = table.read(f"{put(files, str(tmp_path))}/t.csv", TableLayout())
    assert source.rows["image_id"].tolist() == ["a..b/2.png", "a/1..png"]


@pytest.mark.parametrize("path", ["../../PNEUMONIA/x.png", "/PNEUMONIA/x.png", "PNEUMONIA/../../x.png"])
def test_read_archive_member_outside_folder_is_excluded(tmp_path: Path, path: str) -> None:
    packed = tar_gz({"PNEUMONIA/1.png": b"1", "NORMAL/2.png": b"2", path: b"3"})
    source = image_folder.read(put({"all.tar.gz": packed}, str(tmp_path)))
    assert source.rows["image_id"].tolist() == ["NORMAL/2.png", "PNEUMONIA/1.png"]
    assert source.excluded.to_numpy().tolist() == outside(path, OUTSIDE_MEMBER)


def test_build_catalog_path_outside_follows_policy(tmp_path: Path) -> None:
    files = nih_files() | {"images_02.tar.gz": tar_gz({"../00000001_000.png": b"another"})}
    source = put(files, str(tmp_path))
    found = task.build_catalog(half_validating(source))
    assert len(found.rows) == 8
    assert found.excluded.to_numpy().tolist() == outside("../00000001_000.png", OUTSIDE_MEMBER)
    message = r"got 1 \(outside: .*\): \.\./00000001_000\.png; repair the data, or set outside=drop"
    with pytest.raises(ValueError, match=message):
        task.build_catalog(Ingest(data_source=source, data_validation_fraction=0.5, data_policy="outside=fail"))
