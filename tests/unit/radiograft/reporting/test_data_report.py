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
from tests.helpers.browser import Seen, audit_accessibility, needs_chromium, open_page
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


def findings(unlabeled: int) -> dict[str, bytes]:
    """Twelve images with and without Mass, and further ones whose row has no finding."""
    rows = [f"{n}.png,p{n},{'Mass' if n % 2 else 'No Finding'},{SPLITS[n % 3]}" for n in range(12)]
    rows += [f"{n}.png,p{n},,train" for n in range(12, 12 + unlabeled)]
    images = {f"{n}.png": encode(noise(32, n)) for n in range(12 + unlabeled)}
    return images | {"t.csv": "\n".join(["image,patient,label,split", *rows]).encode()}


def write_report(folder: Path, uri: str, label: str) -> str:
    """Runs ingest and preprocess on a table below `uri`, and returns the report."""
    source = Ingest(data_format="table", data_source=f"{uri}/t.csv", data_labels=label, data_table="views=all")
    ingest.run(source, folder / "catalog")
    preprocess.run(Preprocess(image_size=32), folder / "catalog", folder / "shards")
    data_report.write_data_report(folder / "shards", folder / "data.html")
    return (folder / "data.html").read_text()


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of that data set, stored in a folder with a hostile name."""
    folder = tmp_path_factory.mktemp("page")
    return write_report(folder, put(files(), str(folder / EVIL)), SCRIPT)


def test_report_hostile_text_is_escaped_and_complete(text: str) -> None:
    page = Page(text)
    assert not {"script", "iframe", "link", "object"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
    assert all((image["src"] or "").startswith("data:") for image in page.images())
    counts = "2 positive 2 negative, 0 unknown 2 positive patients"
    assert [SCRIPT, counts, counts, counts] in page.rows
    assert ["Pixels of a file median, minimum to maximum", *["1,024 1,024 to 1,024"] * 3] in page.rows
    assert [f"View {EVIL.upper()}", "4", "4", "4"] in page.rows
    assert ["row without an image", "1", "row_without_image=drop", f"gone{EVIL}.png"] in page.rows


def test_report_rows_without_finding_are_counted_as_excluded(tmp_path: Path) -> None:
    """Row 39: `Nothing was left out` stood above a table of 10."""
    text = Page(write_report(tmp_path, put(findings(unlabeled=10), str(tmp_path / "source")), "Mass")).text
    assert "12 images from 12 patients are usable." in text
    assert "Files below the source: 23 (images in use: 12; set aside: 10; tables and texts: 1)." in text
    assert "10 images, rows or boxes were excluded: 0 for defects, 10 because they were not requested." in text
    assert "Nothing was excluded" not in text


def test_report_without_exclusions_says_so_once(tmp_path: Path) -> None:
    text = Page(write_report(tmp_path, put(findings(unlabeled=0), str(tmp_path / "source")), "Mass")).text
    assert "12 images from 12 patients are usable. Nothing was excluded." in text
    assert text.count("Nothing was excluded") == 1
    assert "were excluded" not in text


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
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_has_no_accessibility_violation(text: str, scheme: str, tmp_path: Path) -> None:
    assert audit_accessibility(text, scheme, tmp_path) == []


@needs_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_report_in_browser_fits_width_without_console_messages(text: str, width: int, tmp_path: Path) -> None:
    assert open_page(text, width, tmp_path) == Seen(width, 1, 0, [])


@needs_chromium
def test_report_age_plot_scrolls_on_phone(text: str, tmp_path: Path) -> None:
    """Fails if the plot shrinks with the page: its text would be five pixels high."""
    assert "Fraction of images by decade of age" in open_page(text, 375, tmp_path).scrolled
    assert "Fraction of images by decade of age" not in open_page(text, 1280, tmp_path).scrolled


def test_describe_files_names_every_group_that_is_not_empty() -> None:
    files = {
        "total": 1302, "documents": 2, "archives": 1, "ignored": {"Thumbs.db": 1, "__MACOSX": 3}, "used": 1240,
        "set_aside": 55,
    }  # fmt: skip
    assert data_report.describe_files(files) == (
        "Files below the source: 1,302 (images in use: 1,240; set aside: 55; tables and texts: 2; archives, besides "
        "their members: 1; ignored by name (Thumbs.db: 1, __MACOSX: 3): 4)."
    )
    plain = dict.fromkeys(files, 0) | {"total": 5, "used": 5, "ignored": {}}
    assert data_report.describe_files(plain) == "Files below the source: 5 (images in use: 5)."
    assert data_report.describe_files(None) == ""
