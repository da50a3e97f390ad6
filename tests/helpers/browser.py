"""Opens a page in a real browser, in a sandboxed frame like that of KFP's viewer."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium (apt-get install chromium)")

# The pages contain no scripts, so the surrounding frame measures them.
FRAME = """<!doctype html>
<iframe sandbox="allow-same-origin" style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const broken = [...page.images].filter(image => image.naturalWidth === 0).length;
  const scrolled = [...page.querySelectorAll(".scroll")].filter(each => each.scrollWidth > each.clientWidth);
  const names = scrolled.map(each => each.ariaLabel);
  document.body.dataset.measured = JSON.stringify(
    {{width: page.documentElement.scrollWidth, images: page.images.length, broken_images: broken, scrolled: names}});
}});
</script>"""
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage")


@dataclass(frozen=True)
class Seen:
    """Measurements of a page.

    Attributes:
        width: of the page in CSS pixels.
        images: number of images.
        broken_images: number of images that did not load.
        console: lines of the browser console.
        scrolled: labels of elements that scroll horizontally.
    """

    width: int
    images: int
    broken_images: int
    console: list[str]
    scrolled: list[str] = field(default_factory=list, compare=False)


def open_page(page: str, width: int, folder: Path) -> Seen:
    """Opens a page in a frame of this width; the browser writes its files to `folder`."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr"]
    process = subprocess.run(
        [*command, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    measured = re.search(r'data-measured="([^"]+)"', process.stdout)
    assert measured, f"chromium did not open the page: {process.stderr[-2000:]}"
    console = [line for line in process.stderr.splitlines() if ":CONSOLE" in line]
    return Seen(**json.loads(html.unescape(measured[1])), console=console)


def photograph(page: str, width: int, folder: Path) -> Image.Image:
    """Takes a screenshot of the first 9,000 pixel rows of a page in a window of this width; writes to `folder`."""
    (folder / "page.html").write_text(page, encoding="utf-8")
    image = folder / "page.png"
    window = (f"--screenshot={image}", f"--window-size={width},9000", f"--user-data-dir={folder / 'profile'}")
    command = [str(CHROMIUM), *OPTIONS, *window, (folder / "page.html").as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    return Image.open(image).convert("RGB")
