"""Films of 1024 pixels as PNG, as NIH has them: its own of 320 pixels enlarged, or the phantom's."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from tests.benchmarks import films

SIDE = 1024  # pixels
COUNTS = {"train": 160, "validation": 20, "test": 20}
NIH = Path(os.environ.get("RADIOGRAFT_TEST_DATA", "/nowhere")) / "chestxray14"
NAME = "NIH's films of 320 px enlarged to 1024 px" if NIH.exists() else "films of 1024 px drawn by the phantom"


def catalog(work: Path) -> Path:
    """The catalog of COUNTS films below `work`, made at the first call."""
    folder = work / "large_catalog"
    if not folder.exists():
        _draw(work / "large_films")
        films.ingest_some(work / "large_films", COUNTS, folder)
    return folder


def _draw(folder: Path) -> None:
    """Writes the phantom's layout; with NIH's films, their pixels take the place of the phantom's."""
    films.draw(folder, COUNTS, 64 if NIH.exists() else SIDE)
    targets, sources = sorted(folder.rglob("*.png")), sorted(NIH.rglob("*.png"))
    for target, source in zip(targets, sources, strict=False):
        with Image.open(source) as film:
            film.convert("L").resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(target)
