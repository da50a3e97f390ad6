"""The data report of a hostile data set, as HTML and in a real browser framed as in KFP."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import SPLITS
from radiograft.reporting import data_report
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.browser import Seen, needs_chromium, open_page
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put
from tests.helpers.report_page import Page

EVIL = "<img src=x onerror=alert(1)>"
SCRIPT = "<script>alert('x')</script>"


def files() -> dict[str, bytes]:
    """A table of twelve valid and three defective images; all text taken from the data is hostile."""
    rows = [
        f"{n}{EVIL}.png;p{n};{SCRIPT if n % 2 else 'No Finding'};{SPLITS[n % 3]};{EVIL};{30 + n}" for n in range(12)
    ]
    defective = {f"{'W' * 90}{EVIL}.png": np.full((32, 32), 7, "uint8"), f"'\"&lt{EVIL}.png": noise(8, 1)}
    rows += [f"{name};p;{SCRIPT};train;{EVIL};40" for name in defective]
    rows += [f"gone{EVIL}.png;p;{SCRIPT};train;{EVIL};40"]
    table = "\n".join(["image,patient,label,split,view,age", *(row.replace(";", ",") for row in rows)])
    valid = {f"{n}{EVIL}.png": noise(32, n) for n in range(12)}
    return {name: encode(pixels) for name, pixels in (valid | defective).items()} | {"t.csv": table.encode()}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of that data set, stored in a folder with a hostile name."""
    folder = tmp_path_factory.mktemp("page")
    uri = put(files(), str(folder / EVIL))
    source = Ingest(data_format="table", data_source=f"{uri}/t.csv", data_labels=SCRIPT)
    ingest.run(source, folder / "catalog")
    preprocess.run(Preprocess(image_size=32), folder / "catalog", folder / "shards")
    data_report.write_data_report(folder / "shards", folder / "data.html")
    return (folder / "data.html").read_text()


def test_report_hostile_text_is_escaped_and_complete(text: str) -> None:
    page = Page(text)
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all((image["src"] or "").startswith("data:") for image in page.images())
    assert [SCRIPT, "2", "2", "2"] in page.rows
    assert [f"View {EVIL.upper()}", "4", "4", "4"] in page.rows
    assert ["row without an image", "1", "row_without_image=drop", f"gone{EVIL}.png"] in page.rows


def test_report_loads_no_external_resource(text: str) -> None:
    assert "default-src 'none'" in text
    assert not re.findall(r"https?://", text.replace(EVIL, ""))


def test_report_images_and_tables_are_accessible(text: str) -> None:
    page = Page(text)
    assert all(image["alt"] for image in page.images())
    scrolled = [attributes for tag, attributes in page.tags if tag == "div" and attributes.get("class") == "scroll"]
    assert len(scrolled) >= 4
    assert all(attributes["aria-label"] and attributes["tabindex"] == "0" for attributes in scrolled)
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_report_in_browser_fits_width_without_console_messages(text: str, width: int, tmp_path: Path) -> None:
    assert open_page(text, width, tmp_path) == Seen(width, 1, 0, [])


@needs_chromium
def test_report_age_plot_scrolls_on_phone(text: str, tmp_path: Path) -> None:
    """Fails if the plot shrinks with the page: its text would be five pixels high."""
    assert "Fraction of images by decade of age" in open_page(text, 375, tmp_path).scrolled
    assert "Fraction of images by decade of age" not in open_page(text, 1280, tmp_path).scrolled
