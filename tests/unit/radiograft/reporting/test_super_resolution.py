"""The report of super-resolution."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from radiograft.reporting.super_resolution import SheetRow, draw_sheet, error_map, render_report

ESTIMATE = {"value": 31.5, "low": 31.0, "high": 32.0}
RESULTS = {
    "split": "test",
    "n_images": 3,
    "n_patients": 2,
    "metrics": {
        metric: {name: {"mean": ESTIMATE, "difference": ESTIMATE} for name in ("ours", "projected", "bicubic")}
        for metric in ("psnr", "ssim", "ms_ssim", "energy_ratio")
    },
    "inside_boxes": dict.fromkeys(("ours", "projected", "bicubic"), ESTIMATE),
    "outside_boxes": dict.fromkeys(("ours", "projected", "bicubic"), ESTIMATE),
    "n_images_with_boxes": 1,
    "guard": 2.5,
    "flagged": ["<b>.png"],
}


def row(side: int = 8) -> SheetRow:
    small, large = np.full((side // 2, side // 2, 1), 50, "uint8"), np.full((side, side, 1), 50, "uint8")
    return SheetRow("one.png", small, large, large + np.uint8(2), large)


def test_draw_sheet_has_five_columns_and_the_difference_last() -> None:
    sheet = np.asarray(Image.open(io.BytesIO(draw_sheet(row()))))
    assert sheet.shape == (8, 5 * (8 + 4))
    assert (sheet[:, -8:] == 144).all()


def test_draw_sheet_cuts_large_images_to_the_center() -> None:
    assert Image.open(io.BytesIO(draw_sheet(row(600)))).size == (5 * 260, 256)


def test_error_map_clips() -> None:
    assert error_map(np.array([255, 0], "uint8"), np.array([0, 255], "uint8")).tolist() == [255, 0]


def test_render_report_escapes_names_and_lists_flagged_images() -> None:
    page = render_report(RESULTS, [row()], "generator", "2026-01-01T00:00:00Z")
    assert "1 of 3 enlarged images" in page
    assert "<code>&lt;b&gt;.png</code>" in page
    assert "PSNR (dB) inside boxes, 1 images" in page
    assert "31.500" in page
    assert 'alt="input, bicubic, super-resolution, real, difference of one.png"' in page
