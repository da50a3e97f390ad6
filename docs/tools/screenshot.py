"""Captures the report that the README shows: `make screenshot`, after `make run`.

The data are synthetic. It needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT, COLUMNS = 900, 1476, 3  # pixels of the page in a column
SCALE, GAP = 2 / 3, 24
COLORS = 128  # of the palette: text and curves need no more, and the file is a quarter of the size


def take(report: Path, output: Path) -> None:
    """Stores the beginning of a page as a PNG file, its columns side by side.

    Raises:
        FileNotFoundError: Chromium or the report is missing.
    """
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise FileNotFoundError("chromium is needed: apt-get install chromium")
    if not report.is_file():
        raise FileNotFoundError(f"{report} is missing: `make run` writes it")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
        profile, window = f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{HEIGHT * COLUMNS}"
        command = [browser, *options, profile, window, f"--screenshot={shot}", report.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        _in_columns(Image.open(shot).convert("RGB")).quantize(COLORS).save(output, optimize=True)


def _in_columns(page: Image.Image) -> Image.Image:
    """Cuts a page into columns and sets them side by side on white."""
    sheet = Image.new("RGB", (COLUMNS * WIDTH + (COLUMNS - 1) * GAP, HEIGHT), "white")
    for column in range(COLUMNS):
        part = page.crop((0, column * HEIGHT, WIDTH, (column + 1) * HEIGHT))
        sheet.paste(part, (column * (WIDTH + GAP), 0))
    return sheet.resize((round(sheet.width * SCALE), round(sheet.height * SCALE)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, nargs="?", default=Path("runs/latest/report.html"))
    parser.add_argument("output", type=Path, nargs="?", default=Path("docs/images/report.png"))
    arguments = parser.parse_args()
    take(arguments.report, arguments.output)
