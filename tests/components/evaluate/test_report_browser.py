"""The page in a real browser, framed and sandboxed as KFP's viewer does it: nothing overflows, nothing complains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from components.evaluate.report import Report, render_report
from tests.components.browser import Seen, needs_chromium, open_page

pytestmark = needs_chromium


@pytest.mark.parametrize("width", [390, 1280])
def test_fourteen_labels(tmp_path: Path, full_report: Report, width: int) -> None:
    assert open_page(render_report(full_report), width, tmp_path) == Seen(width, 13 + 4 + 1 + 1 + 1, 0, [])


def test_long_names_do_not_widen_the_page(tmp_path: Path, build_report: Callable[[Sequence[str]], Report]) -> None:
    report = build_report(["<script>alert('x')</script>" * 4, "W" * 80])
    seen = open_page(render_report(report), 390, tmp_path)
    assert (seen.width, seen.console) == (390, [])


def test_the_measurement_sees_overflow_and_complaints(tmp_path: Path) -> None:
    wide = "<!doctype html><div style='width:500px'>wide</div><img src='data:image/png;base64,AAAA'>"
    seen = open_page(wide, 390, tmp_path)
    assert seen.width > 500
    assert seen.broken_images == 1
    assert len(open_page("<!doctype html><script>1</script>", 390, tmp_path).console) == 1
