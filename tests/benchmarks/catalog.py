"""Ingest of ChestX-ray14's full tables and of 1,000,000 images.

`python -m tests.benchmarks.catalog FOLDER CATALOG` ingests a folder once and prints seconds and megabytes.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from radiograft.config import Ingest
from radiograft.stages.ingest import task
from tests.benchmarks import nih_tables, peak
from tests.benchmarks.row import Row

MAX_SECONDS, MAX_MEGABYTES = 10.0, 700.0
MILLION, PATIENTS_OF_MILLION = 1_000_000, 274_750  # as many images of a patient as NIH has
MAX_SECONDS_OF_MILLION, MAX_MEGABYTES_OF_MILLION = 60.0, 1500.0


def measure(work: Path) -> list[Row]:
    """Measures processor time and peak memory of a process that ingests 112,120 images, with start-up and imports.

    Raises:
        RuntimeError: if the counts of the catalog differ from those of the table.
    """
    folder = work / "nih_tables"
    copied = nih_tables.copy(folder)
    if not copied:
        nih_tables.draw(folder)
    tables = "NIH's tables" if copied else "Synthetic tables in NIH's format"
    return _measure(folder, "catalog", f"{tables}: {nih_tables.ROWS:,}", MAX_SECONDS, MAX_MEGABYTES)


def measure_million(work: Path) -> list[Row]:
    """Measures the same for 1,000,000 images; raises as `measure`. Writing their headers takes minutes and 4 GB."""
    folder = work / "million"
    nih_tables.draw(folder, MILLION, PATIENTS_OF_MILLION)
    tables = f"Synthetic tables in NIH's format: {MILLION:,}"
    return _measure(folder, "catalog of a million", tables, MAX_SECONDS_OF_MILLION, MAX_MEGABYTES_OF_MILLION)


def _measure(folder: Path, name: str, tables: str, max_seconds: float, max_megabytes: float) -> list[Row]:
    nih_tables.write_headers(folder)
    catalog = folder.with_name(f"{folder.name}-catalog")
    seconds, megabytes = _ingest(folder, catalog)
    if not nih_tables.counts_of_catalog(catalog).equals(nih_tables.counts_of_table(folder)):
        raise RuntimeError("the catalog and the table must have the same counts by split, view, sex and finding")
    how = (
        f"{tables} images, image headers only; all 14 findings; a new process. Ours: the processor time of the ingest "
        "stage. Theirs: the limit. The counts equal those that pandas computes on the raw table."
    )
    return [
        Row.cost(f"{name} seconds", seconds, max_seconds, floor=1, unit="s", how=how),
        Row.cost(f"{name} memory", megabytes, max_megabytes, floor=1, unit="MB", how=how),
    ]


def _ingest(folder: Path, catalog: Path) -> tuple[float, float]:
    """Returns seconds and megabytes."""
    command = [sys.executable, "-m", "tests.benchmarks.catalog", str(folder), str(catalog)]
    seconds, megabytes = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(seconds), float(megabytes)


if __name__ == "__main__":
    task.run(Ingest(data_source=sys.argv[1], data_labels="all"), Path(sys.argv[2]))
    print(time.process_time(), peak.megabytes())
