"""Unusual file names are read or rejected by name, and never confused with other files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import Catalog
from radiograft.data.sources import image_folder
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.archives import tar_gz
from tests.helpers.images import encode
from tests.helpers.sources import CASES

NAMES = (
    *("new\nline.png", "tab\there.png", "<script>.png", "'; rm -rf x.png", "$(touch y).png", "-rf.png", "a b.png"),
    *("\u202egnp.txt.png", "e\u0301.png", "%2e%2e%2f.png", "C:\\x.png", "#0123456789abcdef0123.png"),
)


def test_pipeline_unusual_file_names_are_kept_apart(tmp_path: Path) -> None:
    for case, name in zip(CASES, NAMES, strict=True):
        path = tmp_path / "in" / case.split / ("sick" if case.sick else "well") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(case.pixels))
    settings = Ingest(data_format="folders", data_source=str(tmp_path / "in"), data_labels="sick")
    ingest.run(settings, tmp_path / "catalog")
    names = [image_id.rpartition("/")[2] for image_id in Catalog.read(tmp_path / "catalog").rows["image_id"]]
    assert sorted(names) == sorted(NAMES)
    preprocess.run(Preprocess(image_size=32), tmp_path / "catalog", tmp_path / "shards")
    assert {path.name for path in tmp_path.iterdir()} == {"in", "catalog", "shards"}
    assert not Catalog.read(tmp_path / "catalog").excluded["image_id"].tolist()


def test_read_file_name_not_utf8_raises(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a/\xff.png")).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"file names must be valid UTF-8, got 'a/\\udcff.png'; rename it"):
        image_folder.read(str(tmp_path))


def test_read_archive_member_name_not_utf8_is_escaped(tmp_path: Path) -> None:
    content = tar_gz({f"{kind}/{os.fsdecode(b'%c.png' % (200 + n))}": b"x%d" % n for n, kind in enumerate("abab")})
    (tmp_path / "all.tar.gz").write_bytes(content)
    assert image_folder.read(str(tmp_path)).rows["image_id"].tolist() == [
        *("a/\\udcc8.png", "a/\\udcca.png", "b/\\udcc9.png", "b/\\udccb.png"),
    ]
