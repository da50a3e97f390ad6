"""Ingest of the full ChestX-ray14 tables. `python -m tests.benchmarks.catalog FOLDER CATALOG` runs it once."""

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


def measure(work: Path) -> list[Row]:
    """Measures time and peak memory of a process that ingests 112,120 images, including start-up and imports.

    Raises:
        RuntimeError: if the counts of the catalog differ from those of the table.
    """
    folder, catalog = work / "nih_tables", work / "nih_catalog"
    copied = nih_tables.copy(folder)
    if not copied:
        nih_tables.draw(folder)
    nih_tables.write_headers(folder)
    start = time.perf_counter()
    megabytes = _ingest(folder, catalog)
    seconds = time.perf_counter() - start
    if not nih_tables.counts_of_catalog(catalog).equals(nih_tables.counts_of_table(folder)):
        raise RuntimeError("the catalog and the table must have the same counts by split, view, sex and finding")
    tables = "NIH's tables" if copied else "Synthetic tables in NIH's format"
    how = (
        f"{tables}: {nih_tables.ROWS:,} images, image headers only; all 14 findings; a new process. "
        "Ours: the ingest stage. Theirs: the limit. The counts equal those that pandas computes on the raw table."
    )
    return [
        Row.cost("catalog seconds", seconds, MAX_SECONDS, floor=1, unit="s", how=how),
        Row.cost("catalog memory", megabytes, MAX_MEGABYTES, floor=1, unit="MB", how=how),
    ]


def _ingest(folder: Path, catalog: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.catalog", str(folder), str(catalog)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


if __name__ == "__main__":
    task.run(Ingest(data_source=sys.argv[1], data_labels="all"), Path(sys.argv[2]))
    print(peak.megabytes())
