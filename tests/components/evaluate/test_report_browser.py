"""The page in a real browser, framed and sandboxed as KFP's viewer does it: nothing overflows, nothing complains."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.evaluate.report import Report, render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs the browser chromium (apt-get install chromium)")

# The report has no script of its own, so the frame around it measures it.
FRAME = """<!doctype html>
<iframe sandbox="allow-same-origin" style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => {{
  const page = document.querySelector("iframe").contentDocument;
  const broken = [...page.images].filter(image => image.naturalWidth === 0).length;
  document.body.dataset.measured = [page.documentElement.scrollWidth, page.images.length, broken];
}});
</script>"""


@dataclass(frozen=True)
class Seen:
    """Width of the page in CSS pixels, its pictures, how many did not load, and the console's lines."""

    width: int
    images: int
    broken_images: int
    console: list[str]


@pytest.fixture
def browse(tmp_path: Path) -> Callable[[str, int], Seen]:
    def open_page(page: str, width: int) -> Seen:
        frame = tmp_path / "frame.html"
        frame.write_text(FRAME.format(width=width, page=html.escape(page)), encoding="utf-8")
        command = [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--disable-dev-shm-usage",
        ]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom", frame.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        measured = re.search(r'data-measured="(\d+),(\d+),(\d+)"', done.stdout)
        assert measured, f"chromium did not open the page: {done.stderr[-2000:]}"
        console = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
        return Seen(int(measured[1]), int(measured[2]), int(measured[3]), console)

    return open_page


Browse = Callable[[str, int], Seen]


@pytest.mark.parametrize("width", [390, 1280])
def test_fourteen_labels(browse: Browse, full_report: Report, width: int) -> None:
    assert browse(render_report(full_report), width) == Seen(width, 13 + 4 + 1 + 1 + 1, 0, [])


def test_long_names_do_not_widen_the_page(browse: Browse, build_report: Callable[[Sequence[str]], Report]) -> None:
    seen = browse(render_report(build_report(["<script>alert('x')</script>" * 4, "W" * 80])), 390)
    assert (seen.width, seen.console) == (390, [])


def test_the_measurement_sees_overflow_and_complaints(browse: Browse) -> None:
    wide = browse("<!doctype html><div style='width:500px'>wide</div><img src='data:image/png;base64,AAAA'>", 390)
    assert wide.width > 500
    assert wide.broken_images == 1
    assert len(browse("<!doctype html><script>1</script>", 390).console) == 1
