"""Opens a page in a real browser, in a sandboxed frame like that of KFP's viewer."""

from __future__ import annotations

import html
import importlib.util
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
  const uncaptioned = [...page.images].filter(image => !image.closest("figure")?.querySelector("figcaption"));
  const squares = [...page.querySelectorAll(".curves img")].map(image => image.getBoundingClientRect().width);
  document.body.dataset.measured = JSON.stringify(
    {{width: page.documentElement.scrollWidth, images: page.images.length, broken_images: broken, scrolled: names,
      height: page.documentElement.scrollHeight, uncaptioned: uncaptioned.length, squares: squares}});
}});
</script>"""
# axe-core runs in the page, whose policy forbids scripts, and after all parts of it are unfolded.
POLICY = "default-src 'none'"
AUDIT = """<script>{axe}</script><script>
document.querySelectorAll("details").forEach(each => each.open = true);
axe.run().then(found => document.body.dataset.violations = JSON.stringify(
  found.violations.flatMap(rule => rule.nodes.map(node => `${{rule.id}}: ${{node.html.slice(0, 200)}}`))));
</script></body>"""
SCHEMES = {"dark": 0, "light": 1}  # Blink's numbers
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
        height: of the page in CSS pixels.
        uncaptioned: number of images without a caption.
        squares: widths of the ROC curves and reliability diagrams.
    """

    width: int
    images: int
    broken_images: int
    console: list[str]
    scrolled: list[str] = field(default_factory=list, compare=False)
    height: int = field(default=0, compare=False)
    uncaptioned: int = field(default=0, compare=False)
    squares: list[float] = field(default_factory=list, compare=False)


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


def audit_accessibility(page: str, scheme: str, folder: Path) -> list[str]:
    """Returns the rules of axe-core that a page violates, with the element, in the color scheme `light` or `dark`."""
    (package,) = importlib.util.find_spec("axe_core_python").submodule_search_locations  # type: ignore[union-attr,misc]
    axe = (Path(package) / "axe.min.js").read_text(encoding="utf-8")
    assert POLICY in page
    audited = page.replace(POLICY, "script-src 'unsafe-inline'", 1).replace("</body>", AUDIT.format(axe=axe), 1)
    (folder / "audited.html").write_text(audited, encoding="utf-8")
    command = [str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=60000"]
    command += [f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", "--window-size=1280,2000", "--dump-dom"]
    process = subprocess.run(
        [*command, (folder / "audited.html").as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    found = re.search(r'data-violations="([^"]*)"', process.stdout)
    assert found, f"axe-core did not run: {process.stderr[-2000:]}"
    return list(json.loads(html.unescape(found[1])))
