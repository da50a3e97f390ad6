"""Parsers of files from earlier stages and runs: artifacts, and the drift reference of a version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from radiograft.data.catalog import Catalog
from radiograft.drift.comparison import compare_samples
from radiograft.drift.reference import KINDS, ReferenceSample
from radiograft.stages.ingest import task as ingest
from radiograft.storage import checksums
from tests.fuzz.contract import Parser
from tests.fuzz.fast_parsers import arrays
from tests.fuzz.mutations import Seeds
from tests.helpers.nih_source import half_validating, nih_files, put

SAMPLE = {
    "labels": np.array(["Mass"]), "patients": np.arange(12), "view": np.array(["PA"] * 12), "sex": np.array(["M"] * 12),
    "age": np.zeros(12, "float32"), "scores": np.zeros((12, 1), "float32"), "features": np.zeros((12, 3), "float16"),
}  # fmt: skip


def _sample(content: bytes, folder: Path) -> bool:
    return bool(compare_samples(ReferenceSample.read(content), ReferenceSample(**SAMPLE), seed=0))


def _catalog() -> dict[str, bytes]:
    """Returns the files of an ingest output by name."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "catalog"
        ingest.build_catalog(half_validating(put(nih_files(), f"{folder}/nih"))).write(output)
        checksums.write_checksums(output)
        return {path.name: path.read_bytes() for path in output.iterdir()}


CATALOG = _catalog()


def _read_artifact_with(name: str) -> Callable[[bytes, Path], bool]:
    """Returns a function that reads an artifact as a stage does, with one file replaced."""

    def read(content: bytes, folder: Path) -> bool:
        put(CATALOG | {name: content}, str(folder))
        checksums.verify_checksums(folder)
        return bool(len(Catalog.read(folder).rows))

    return read


PARSERS = {
    "artifact": Parser(
        [Seeds([CATALOG["catalog.parquet"]])],
        _read_artifact_with("catalog.parquet"),
        required_text="catalog.parquet must match",
    ),
    "checksums": Parser([Seeds([CATALOG[checksums.NAME]])], _read_artifact_with(checksums.NAME)),
    "drift sample": Parser(arrays(SAMPLE, *KINDS), _sample),
}
