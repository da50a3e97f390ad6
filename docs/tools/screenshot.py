"""Takes the picture of a report that the README shows: `make screenshot`, after `make run`.

The data are synthetic. It needs Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

WIDTH, HEIGHT = 1200, 1400  # pixels, of the window
COLORS = 128  # of the palette: text and curves need no more, and the file is a quarter of the size


def take(report: Path, output: Path, width: int = WIDTH, height: int = HEIGHT) -> None:
    """Opens the page in a window of this size and stores what it shows as a PNG file.

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
        profile, window = f"--user-data-dir={folder}/profile", f"--window-size={width},{height}"
        command = [browser, *options, profile, window, f"--screenshot={shot}", report.resolve().as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        image = Image.open(shot).convert("RGB").quantize(COLORS)
        image.save(output, optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path, nargs="?", default=Path("runs/latest/report.html"))
    parser.add_argument("output", type=Path, nargs="?", default=Path("docs/images/report.png"))
    arguments = parser.parse_args()
    take(arguments.report, arguments.output)
