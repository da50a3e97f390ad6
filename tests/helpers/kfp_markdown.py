"""Shows Markdown in a browser as the UI of KFP 2.17.0 does: with the npm packages, versions and options of that UI."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.browser import CHROMIUM, OPTIONS
from tests.repository import ROOT

SOURCE = ROOT / "tests" / "browser"
FILES = (".npmrc", "package-lock.json", "package.json")
PACKAGES = ROOT / "build" / "browser"  # git ignores it; `make clean` removes it
OTHER_PACKAGES = ("EINTEGRITY", "EUSAGE")  # npm's codes for packages or a package.json that differ from the lock file
NPM_CI = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
TOOLS = {"chromium": CHROMIUM, "node": shutil.which("node"), "npm": shutil.which("npm")}
MISSING = " and ".join(name for name, found in TOOLS.items() if not found)
needs_renderer = pytest.mark.skipif(bool(MISSING), reason=f"needs {MISSING} (apt-get install chromium nodejs npm)")

# KFP's card for a pipeline: 34 rem with a padding of 1.25 rem, and the reset of its style sheet.
PAGE = """<!doctype html><meta charset="utf-8"><style>
  html {{ font: 13px/1.5 sans-serif }} body {{ margin: 0; padding: 1.25rem; width: 31.5rem }} code {{ font-size: 1em }}
  h2, h3 {{ font: inherit }} h2, h3, p, ul {{ margin: 0 }} ul {{ list-style: none; padding: 0 }}
</style>{content}<script>
  const read = selector => [...document.querySelectorAll(selector)].map(element => element.innerText);
  const headings = [...document.querySelectorAll("h1,h2,h3,h4,h5,h6")];
  document.body.dataset.shown = JSON.stringify({{
    text: document.body.innerText, codes: read("code"), emphasized: read("em,i,strong,b,del,mark,sub,sup"),
    headings: headings.map(each => `${{each.localName}} ${{each.innerText}}`), items: read("li"), links: read("a"),
    height: document.body.getBoundingClientRect().height}});
</script>"""


@dataclass(frozen=True)
class Shown:
    """What a reader sees.

    Attributes:
        text: of the whole page.
        codes: texts in a fixed-width font.
        emphasized: texts that are italic, bold, struck through, marked, lowered or raised.
        headings: each with its level, such as `h2 Run form`.
        items: texts of the list items.
        links: texts of the links.
        height: of the card in CSS pixels.
    """

    text: str
    codes: list[str]
    emphasized: list[str]
    headings: list[str]
    items: list[str]
    links: list[str]
    height: float


def show_description(markdown: str, folder: Path, inline: bool = False) -> Shown:
    """Shows a description in a browser, which writes its files to `folder`; `inline` as in a cell of KFP's tables."""
    if inline:  # KFP's tables have no lists
        markdown = re.sub(r"^( *)[-*+] ", r"\1• ", markdown, flags=re.MULTILINE)
    command = ["node", str(SOURCE / "render.mjs"), *(["inline"] if inline else [])]
    content = _run(command, install_packages(), markdown)
    page = folder / "description.html"
    page.write_text(PAGE.format(content=content), encoding="utf-8")
    dom = _run([str(CHROMIUM), *OPTIONS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", page.as_uri()], folder)
    shown = re.search(r'data-shown="([^"]+)"', dom)
    assert shown, f"chromium did not open the page: {dom[-2000:]}"
    return Shown(**json.loads(html.unescape(shown[1])))


def install_packages() -> Path:
    """Returns the folder of the locked npm packages, which the first call installs; skips the test if npm cannot."""
    version = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES)).hexdigest()[:12]
    folder = PACKAGES / version
    if not folder.exists() and (problem := _install(folder)):
        pytest.skip(f"npm could not install tests/browser/package.json: {problem}")
    return folder


@functools.cache  # a test after the first does not wait for a network that is missing
def _install(folder: Path) -> str:
    """Installs the packages, in another folder until they are complete. Returns what prevented it."""
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGES) as parent:
        new = Path(parent) / "new"
        new.mkdir()
        for name in FILES:
            shutil.copy(SOURCE / name, new)
        try:
            _run(NPM_CI, new)
        except subprocess.CalledProcessError as error:
            problem = str(error.stderr)
            assert not any(code in problem for code in OTHER_PACKAGES), f"npm rejected package-lock.json: {problem}"
            return problem[:300]
        with contextlib.suppress(OSError):  # another process was first
            new.rename(folder)
    return ""


def _run(command: list[str], folder: Path, content: str = "") -> str:
    return subprocess.run(
        command, cwd=folder, input=content, capture_output=True, encoding="utf-8", timeout=120, check=True
    ).stdout
