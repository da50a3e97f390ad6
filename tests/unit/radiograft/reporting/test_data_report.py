"""The data report of hostile data, as a reader finds it and as a real browser shows it in KFP's frame."""

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
    """A table of twelve good images and three bad ones, hostile wherever text is taken from the data."""
    rows = [
        f"{n}{EVIL}.png;p{n};{SCRIPT if n % 2 else 'No Finding'};{SPLITS[n % 3]};{EVIL};{30 + n}" for n in range(12)
    ]
    bad = {f"{'W' * 90}{EVIL}.png": np.full((32, 32), 7, "uint8"), f"'\"&lt{EVIL}.png": noise(8, 1)}
    rows += [f"{name};p;{SCRIPT};train;{EVIL};40" for name in bad]
    rows += [f"gone{EVIL}.png;p;{SCRIPT};train;{EVIL};40"]
    table = "\n".join(["image,patient,label,split,view,age", *(row.replace(";", ",") for row in rows)])
    good = {f"{n}{EVIL}.png": noise(32, n) for n in range(12)}
    return {name: encode(pixels) for name, pixels in (good | bad).items()} | {"t.csv": table.encode()}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of that data, which lie in a folder of a hostile name."""
    folder = tmp_path_factory.mktemp("page")
    place = put(files(), str(folder / EVIL))
    source = Ingest(data_format="table", data_source=f"{place}/t.csv", data_labels=SCRIPT)
    ingest.run(source, folder / "catalog")
    preprocess.run(Preprocess(image_size=32), folder / "catalog", folder / "shards")
    data_report.write_data_report(folder / "shards", folder / "data.html")
    return (folder / "data.html").read_text()


def test_nothing_that_the_data_say_becomes_a_tag_or_is_lost(text: str) -> None:
    found = Page(text)
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in found.tags}
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    assert all((image["src"] or "").startswith("data:") for image in found.images())
    assert [SCRIPT, "2", "2", "2"] in found.rows
    assert [f"View {EVIL.upper()}", "4", "4", "4"] in found.rows
    assert ["row without an image", "1", "row_without_image=drop", f"gone{EVIL}.png"] in found.rows


def test_it_loads_nothing_from_elsewhere(text: str) -> None:
    assert "default-src 'none'" in text
    assert not re.findall(r"https?://", text.replace(EVIL, ""))


def test_every_image_is_described_and_every_table_has_headings(text: str) -> None:
    found = Page(text)
    assert all(image["alt"] for image in found.images())
    scrolled = [attributes for tag, attributes in found.tags if tag == "div" and attributes.get("class") == "scroll"]
    assert len(scrolled) >= 4
    assert all(attributes["aria-label"] and attributes["tabindex"] == "0" for attributes in scrolled)
    headings = [tag for tag, _ in found.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_whole_and_has_nothing_to_complain_of(text: str, width: int, tmp_path: Path) -> None:
    assert open_page(text, width, tmp_path) == Seen(width, 1, 0, [])


@needs_chromium
def test_the_plot_of_ages_stays_readable_on_a_phone(text: str, tmp_path: Path) -> None:
    """Fails where the plot shrinks with the page: its letters would be five pixels high."""
    assert "Share of images by decade of age" in open_page(text, 375, tmp_path).scrolled
    assert "Share of images by decade of age" not in open_page(text, 1280, tmp_path).scrolled
