"""Parses a rendered report."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """A parsed page: tags with attributes, table rows as lists of cells, and the visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            return
        words = " ".join(data.split())
        self.text += f" {words}" if words else ""
        if self.rows and self.rows[-1] and words:
            self.rows[-1][-1] = f"{self.rows[-1][-1]} {words}".strip()

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self.rows.append([])
        self._inside = ""

    def images(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "img"]

    def row(self, first: str) -> list[list[str]]:
        return [row for row in self.rows if row and row[0] == first]
