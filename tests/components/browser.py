"""A page in a real browser, framed and sandboxed as KFP's viewer does it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium (apt-get install chromium)")

# The pages have no script of their own, so the frame around one measures it.
FRAME = """<!doctype html>
<iframe sandbox="allow-same-origin" style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const broken = [...page.images].filter(image => image.naturalWidth === 0).length;
  document.body.dataset.measured = [page.documentElement.scrollWidth, page.images.length, broken];
}});
</script>"""
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")


@dataclass(frozen=True)
class Seen:
    """Width of the page in CSS pixels, its pictures, how many did not load, and the console's lines."""

    width: int
    images: int
    broken_images: int
    console: list[str]


def open_page(page: str, width: int, folder: Path) -> Seen:
    """Opens a page in a frame of this width; the browser's files go to `folder`."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    measured = re.search(r'data-measured="(\d+),(\d+),(\d+)"', done.stdout)
    assert measured, f"chromium did not open the page: {done.stderr[-2000:]}"
    console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(int(measured[1]), int(measured[2]), int(measured[3]), console)
