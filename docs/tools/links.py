"""Checks the built pages: links between them must resolve, and none may load anything from elsewhere.

`python -m docs.tools.links FOLDER` prints what is wrong and exits with 1 if anything is.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

LOADING = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
LINK_RELATIONS = {"canonical", "next", "prev"}  # of <link>: they load nothing


class _Page(HTMLParser):
    """Collects the ids of a page, the targets of its links, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if LOADING.get(tag) in values and values.get("rel", "") not in LINK_RELATIONS:
            self.loaded.append(values[LOADING[tag]])


def check(folder: Path) -> list[str]:
    """What is wrong with the pages below a folder, a line each."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}
    problems = []
    for path, page in pages.items():
        if path.name == "404.html":  # its links are absolute, for any server may show it anywhere
            continue
        name = path.relative_to(folder)
        problems += [f"{name} loads {target} from elsewhere" for target in page.loaded if urlsplit(target).netloc]
        local = [target for target in (*page.links, *page.loaded) if not urlsplit(target).scheme]
        problems += [
            f"{name} links to {target}, which is missing" for target in local if not _exists(path, target, pages)
        ]
    return problems


def _exists(page: Path, target: str, pages: dict[Path, _Page]) -> bool:
    """Whether a relative link leads to a file, and to an id in it if it names one."""
    address, fragment = urldefrag(target)
    path = (page.parent / unquote(urlsplit(address).path)).resolve() if address else page
    path = path / "index.html" if path.is_dir() else path
    if not path.is_file():
        return False
    return not fragment or path not in pages or unquote(fragment) in pages[path].ids


if __name__ == "__main__":
    found = check(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "all links resolve, and nothing is loaded from elsewhere")
    sys.exit(bool(found))
