"""Records of external evaluations on every kind of storage: create once, list, verify, gate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from radiograft import storage
from radiograft.registry import external, versions
from radiograft.registry.result_types import Estimate

MODEL = "chest"
ESTIMATE: Estimate = {"value": 0.8, "low": 0.75, "high": 0.85}
FILES = {"metrics.json": b"{}", "report.html": b"<!doctype html>"}


def summary(name: str, auroc: Estimate = ESTIMATE) -> dict[str, Any]:
    return {
        "name": name, "version": 1, "created": "2026-11-28T22:00:00+00:00", "source": "gs://clinic/films",
        "labels": ["Mass"], "n_images": 40, "n_patients": 30, "auroc": auroc, "internal": ESTIMATE, "loss": ESTIMATE,
    }  # fmt: skip


@pytest.fixture
def version(place: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with version 1."""
    model = tmp_path_factory.mktemp("version") / "saved_model.pb"
    model.write_bytes(b"graph")
    versions.write_version(place, MODEL, 1, {"saved_model.pb": model}, {})
    return place


def test_write_record_is_listed_with_its_files_and_leaves_version_unchanged(version: str) -> None:
    for name in ("nih", "clinic"):
        external.write_record(version, MODEL, summary(name), FILES)
    clinic, nih = external.read_records(version, MODEL, 1)
    assert (clinic.name, nih.name, clinic.auroc) == ("clinic", "nih", ESTIMATE)
    assert storage.read_bytes(external.file_uri(version, MODEL, nih, "report.html")) == b"<!doctype html>"
    assert external.verify_records(version, MODEL, 1) == 4
    assert external.read_records(version, MODEL, 2) == []
    assert versions.list_versions(version, MODEL) == [1]
    versions.verify_version(version, MODEL, 1)


def test_write_record_existing_name_raises_and_keeps_record(version: str) -> None:
    external.write_record(version, MODEL, summary("clinic"), FILES)
    with pytest.raises(FileExistsError, match="version 1 already has an external evaluation clinic"):
        external.write_record(version, MODEL, summary("clinic"), {"metrics.json": b"other"})
    (record,) = external.read_records(version, MODEL, 1)
    assert storage.read_bytes(external.file_uri(version, MODEL, record, "metrics.json")) == b"{}"


def test_write_record_concurrent_writers_one_succeeds_without_leftovers(version: str) -> None:
    def write(number: int) -> bool:
        try:
            external.write_record(version, MODEL, summary("clinic"), {"metrics.json": str(number).encode()})
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(write, range(4))) == 1
    assert external.verify_records(version, MODEL, 1) == 1
    assert len(versions.files_below(storage.join(version, MODEL, "external"))) == 2


@pytest.mark.parametrize("name", ["", "../escape", "a/b", ".hidden", "x" * 64])
def test_write_record_invalid_name_raises(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name must be 1 to 63 characters"):
        external.write_record(str(tmp_path), MODEL, summary(name), FILES)


def test_write_record_unknown_version_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="chest has no version 1"):
        external.write_record(str(tmp_path), MODEL, summary("clinic"), FILES)


def test_read_records_malformed_record_raises(tmp_path: Path) -> None:
    storage.write_bytes(storage.join(str(tmp_path), MODEL, "external", "1", "clinic.json"), b'{"name": "clinic"}')
    with pytest.raises(ValueError, match=r"clinic.json must contain name, version, created"):
        external.read_records(str(tmp_path), MODEL, 1)


@pytest.mark.parametrize(
    ("minimums", "reasons"),
    [
        ({}, []),
        ({"clinic": 0.7}, []),
        ({"nih": 0.5}, ["no external evaluation nih is recorded"]),
        ({"clinic": 0.75}, ["the 95% interval of the AUROC on clinic must lie above 0.75, and is 0.750 to 0.850"]),
        ({"small": 0.5}, ["the AUROC on small has no confidence interval: more patients are needed"]),
    ],
)
def test_unmet_minimums_interval_must_lie_above_minimum(
    tmp_path: Path, minimums: dict[str, float], reasons: list[str]
) -> None:
    model = tmp_path / "saved_model.pb"
    model.write_bytes(b"graph")
    place = str(tmp_path / "registry")
    versions.write_version(place, MODEL, 1, {"saved_model.pb": model}, {})
    unknown: Estimate = {"value": 0.9, "low": None, "high": None}
    records = [
        external.write_record(place, MODEL, summary("clinic"), FILES),
        external.write_record(place, MODEL, summary("small", unknown), FILES),
    ]
    assert external.unmet_minimums(records, minimums) == reasons
