"""PNG films of 1024 px, the size of NIH's: NIH's films of 320 px enlarged, or synthetic ones."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from tests.benchmarks import films

SIDE = 1024  # pixels
COUNTS = {"train": 160, "validation": 20, "test": 20}
NIH = Path(os.environ.get("RADIOGRAFT_TEST_DATA", "/nowhere")) / "chestxray14"
NAME = "NIH's films of 320 px enlarged to 1024 px" if NIH.exists() else "synthetic films of 1024 px"


def catalog(work: Path) -> Path:
    """Returns the catalog of COUNTS films below `work`; the first call creates it."""
    folder = work / "large_catalog"
    if not folder.exists():
        _draw(work / "large_films")
        films.ingest_some(work / "large_films", COUNTS, folder)
    return folder


def _draw(folder: Path) -> None:
    """Writes a synthetic dataset; replaces its images by NIH's enlarged films if they are available."""
    films.draw(folder, COUNTS, 64 if NIH.exists() else SIDE)
    targets, sources = sorted(folder.rglob("*.png")), sorted(NIH.rglob("*.png"))
    for target, source in zip(targets, sources, strict=False):
        with Image.open(source) as film:
            film.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(target)
