"""Paths in tables and archives that lead out of the data's folder: nothing is read there, and each is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.config import Ingest
from radiograft.config.data import TableLayout
from radiograft.data.catalog import exclusion
from radiograft.data.sources import image_folder, table
from radiograft.stages.ingest import task
from tests.helpers.nih_source import half_validating, nih_files, put
from tests.helpers.tar_files import tar_gz

OUTSIDE = "path outside the data folder"
ROWS = "image,label\na/1.png,Mass\na/2.png,No Finding\n"
IMAGES = {"a/1.png": b"1", "a/2.png": b"2"}


def outside(*names: str) -> list[list[str]]:
    return exclusion(names, OUTSIDE).to_numpy().tolist()


@pytest.mark.parametrize("path", ["../secret.png", "a/../../secret.png", "/secret.png", "a/.."])
def test_a_row_that_leads_out_of_the_folder_reads_nothing_there(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    uri = put(IMAGES | {"t.csv": f"{ROWS}{path},Mass\n".encode()}, str(tmp_path / "data"))
    source = table.read(f"{uri}/t.csv", TableLayout())
    assert source.excluded.to_numpy().tolist() == outside(path)
    assert source.rows["image_id"].tolist() == ["a/1.png", "a/2.png"]


def test_dots_in_a_name_lead_nowhere(tmp_path: Path) -> None:
    files = {"a/1..png": b"1", "a..b/2.png": b"2", "t.csv": b"image,label\na/1..png,Mass\na..b/2.png,Normal\n"}
    source = table.read(f"{put(files, str(tmp_path))}/t.csv", TableLayout())
    assert source.rows["image_id"].tolist() == ["a..b/2.png", "a/1..png"]


@pytest.mark.parametrize("path", ["../../PNEUMONIA/x.png", "/PNEUMONIA/x.png", "PNEUMONIA/../../x.png"])
def test_a_file_in_an_archive_that_leads_out_of_it_is_set_aside(tmp_path: Path, path: str) -> None:
    packed = tar_gz({"PNEUMONIA/1.png": b"1", "NORMAL/2.png": b"2", path: b"3"})
    source = image_folder.read(put({"all.tar.gz": packed}, str(tmp_path)))
    assert source.rows["image_id"].tolist() == ["NORMAL/2.png", "PNEUMONIA/1.png"]
    assert source.excluded.to_numpy().tolist() == outside(path)


def test_nihs_archives_are_looked_at_too_and_the_policy_decides(tmp_path: Path) -> None:
    files = nih_files() | {"images_02.tar.gz": tar_gz({"../00000001_000.png": b"another"})}
    source = put(files, str(tmp_path))
    found = task.build_catalog(half_validating(source))
    assert len(found.rows) == 8
    assert found.excluded.to_numpy().tolist() == outside("../00000001_000.png")
    message = r"got 1 \(outside: .*\): \.\./00000001_000\.png; repair the data, or set outside=drop"
    with pytest.raises(ValueError, match=message):
        task.build_catalog(Ingest(data_source=source, data_validation_fraction=0.5, data_policy="outside=fail"))
