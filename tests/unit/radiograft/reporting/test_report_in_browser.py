"""The report in a real browser, framed and sandboxed as in KFP's viewer: no overflow, no console messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from radiograft.evaluation import subgroups
from radiograft.registry.analysis_types import Contrast, Subgroup
from radiograft.reporting.evaluation_report import Report, render_report
from tests.helpers.browser import Seen, audit_accessibility, needs_chromium, open_page, photograph
from tests.helpers.stages import Evaluated

pytestmark = needs_chromium


@pytest.mark.parametrize("width", [390, 1280])
def test_report_fourteen_labels_fits_width(tmp_path: Path, full_report: Report, width: int) -> None:
    assert open_page(render_report(full_report), width, tmp_path) == Seen(width, 13 + 4 + 1 + 1 + 1, 0, [])


def test_report_long_names_fit_width(tmp_path: Path, build_report: Callable[[Sequence[str]], Report]) -> None:
    report = build_report(["<script>alert('x')</script>" * 4, "W" * 80])
    seen = open_page(render_report(report), 390, tmp_path)
    assert (seen.width, seen.console) == (390, [])


def _group(name: str) -> Subgroup:
    """A subgroup with as many metrics and digits as in the whole of ChestX-ray14."""
    contrast: Contrast = {
        "group": {"value": 0.812, "low": 0.781, "high": 0.843},
        "difference": {"value": -0.107, "low": -0.131, "high": -0.083},
    }
    mean = dict.fromkeys(subgroups.SHOWN, contrast)
    return Subgroup(
        variable="age", group=name, n_images=25_596, n_patients=12_797, compared=["Mass"] * 13, mean=mean, labels={}
    )


def test_report_tables_fit_desktop_width(tmp_path: Path, full_report: Report) -> None:
    """Fails if the last columns of a table lie outside the page."""
    groups = subgroups.subgroup_section([_group("under 18"), _group("80 and over")], "test", 10)
    page = render_report(dataclasses.replace(full_report, sections=[groups]))
    assert "25,596" in page
    assert open_page(page, 1280, tmp_path).scrolled == []


def test_report_wide_plots_scroll_on_phone(tmp_path: Path, full_report: Report) -> None:
    """Fails if a full-width plot shrinks with the page: its text would be five pixels high."""
    scrolled = open_page(render_report(full_report), 375, tmp_path).scrolled
    assert "Validation AUROC of a linear probe on each layer, with 95% confidence intervals" in scrolled
    assert "Results by label" in scrolled


def test_report_row_borders_cross_sticky_column(tmp_path: Path, full_report: Report) -> None:
    """Fails if borders are collapsed or below the rows: the sticky cell would cover the border above it."""
    image = photograph(render_report(full_report), 375, tmp_path)
    inside, beside = (
        sum(image.getpixel((x, y)) == (0xDD, 0xE2, 0xE7) for y in range(image.height)) for x in (168, 180)
    )
    assert beside > 40
    assert abs(inside - beside) <= 2  # a text pixel may have the color of a border


def test_report_plots_are_legible_and_captioned(tmp_path: Path, full_report: Report, evaluation: Evaluated) -> None:
    """Fails if ROC curves of many labels shrink to thumbnails, or an image has no caption."""
    many, complete = (
        open_page(page, 1280, tmp_path) for page in (render_report(full_report), evaluation.report.read_text())
    )
    assert len(many.squares) == 13
    assert min(many.squares + complete.squares) >= 360
    assert complete.images > 20
    assert (many.uncaptioned, complete.uncaptioned) == (0, 0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_has_no_accessibility_violation(tmp_path: Path, evaluation: Evaluated, scheme: str) -> None:
    assert audit_accessibility(evaluation.report.read_text(), scheme, tmp_path) == []


def test_audit_accessibility_detects_violations(tmp_path: Path) -> None:
    """Fails if axe-core does not run, does not unfold details, or ignores the color scheme."""
    page = """<!doctype html><html lang="en"><head><title>x</title>
    <meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
    <style>@media (prefers-color-scheme: dark) { main { background: #000; color: #111 } }</style></head>
    <body><main><h1>Report</h1><details><summary>More</summary><img src="data:,"></details></main></body></html>"""
    light, dark = (audit_accessibility(page, scheme, tmp_path) for scheme in ("light", "dark"))
    assert {violation.partition(":")[0] for violation in light} == {"image-alt"}
    assert {violation.partition(":")[0] for violation in dark} == {"image-alt", "color-contrast"}


def test_open_page_detects_overflow_and_console_messages(tmp_path: Path) -> None:
    wide = "<!doctype html><div style='width:500px'>wide</div><img src='data:image/png;base64,AAAA'>"
    seen = open_page(wide, 390, tmp_path)
    assert seen.width > 500
    assert seen.broken_images == 1
    assert len(open_page("<!doctype html><script>1</script>", 390, tmp_path).console) == 1
