"""Ingest of ChestX-ray14 in full size: `python -m tests.benchmarks.catalog FOLDER CATALOG` does it once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from radiograft.config import Ingest
from radiograft.stages.ingest import task
from tests.benchmarks import nih_tables, peak
from tests.benchmarks.row import Row

MOST_SECONDS, MOST_MEGABYTES = 10.0, 700.0


def measure(work: Path) -> list[Row]:
    """Seconds and peak memory of a process that ingests 112,120 images, start and imports included.

    Raises:
        RuntimeError: the catalog's counts are not the table's.
    """
    folder, catalog = work / "nih_tables", work / "nih_catalog"
    own = nih_tables.copy(folder)
    if not own:
        nih_tables.draw(folder)
    nih_tables.write_headers(folder)
    start = time.perf_counter()
    megabytes = _ingest(folder, catalog)
    seconds = time.perf_counter() - start
    if not nih_tables.counts_of_catalog(catalog).equals(nih_tables.counts_of_table(folder)):
        raise RuntimeError("the catalog must count what the table does by split, view, sex and finding")
    tables = "NIH's own tables" if own else "Tables drawn in NIH's format"
    how = (
        f"{tables}: {nih_tables.ROWS:,} images, of which only the headers are there; all 14 findings; a fresh "
        "process. Ours: the stage; theirs: the most it may take. Counts equal those of pandas on the raw table."
    )
    return [
        Row.cost("catalog seconds", seconds, MOST_SECONDS, floor=1, unit="s", how=how),
        Row.cost("catalog memory", megabytes, MOST_MEGABYTES, floor=1, unit="MB", how=how),
    ]


def _ingest(folder: Path, catalog: Path) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.catalog", str(folder), str(catalog)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


if __name__ == "__main__":
    task.run(Ingest(data_source=sys.argv[1], data_labels="all"), Path(sys.argv[2]))
    print(peak.megabytes())
