"""The report of super-resolution: metrics, flagged images, and sheets of enlarged images beside the real ones."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from radiograft.reporting.html import environment, format_quantity
from radiograft.reporting.model_card import plain_text

NAMES = {"ours": "Super-resolution", "projected": "Bicubic with projection", "bicubic": "Bicubic"}
METRICS = {"psnr": "PSNR (dB)", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "energy_ratio": "High-frequency energy ratio"}
COLUMNS = ("Input", "Bicubic", "Super-resolution", "Real", "Difference")
WARNING = (
    "A generator that enlarges images. Experimental, research only, not for diagnosis: the detail that it adds is an "
    "estimate. Shrunk as preprocess does, an enlarged image is its input up to rounding."
)
GAP = 4
DIFFERENCE_GAIN = 8  # gray levels of the map for each gray level of difference
MAX_SIDE = 256  # pixels; larger images are cut to the center, because shrinking would hide what is to be seen


class SheetRow(NamedTuple):
    """An image for the sheet, each uint8 [size, size, channels]; `small` is the input before enlarging."""

    image_id: str
    small: np.ndarray
    bicubic: np.ndarray
    ours: np.ndarray
    real: np.ndarray


def render_report(results: Mapping[str, Any], rows: Sequence[SheetRow], title: str, created: str) -> str:
    """Renders the report as a self-contained HTML page.

    Args:
        results: of `radiograft.evaluation.super_resolution.summarize_scores`.
        rows: images that the sheet shows.
        title: of the page.
        created: ISO 8601 time.
    """
    sheets = [{"image_id": row.image_id, "png": draw_sheet(row)} for row in rows]
    page = environment().get_template("super_resolution_page.html.j2")
    return page.render(
        title=title,
        created=created,
        results=results,
        sheets=sheets,
        names=NAMES,
        metrics=METRICS,
        columns=", ".join(COLUMNS).lower(),
        gain=DIFFERENCE_GAIN,
    )


def draw_sheet(row: SheetRow) -> bytes:
    """Returns a PNG with the columns of COLUMNS: the difference is that of the enlarged from the real image."""
    scale = len(row.real) // len(row.small)
    repeated = row.small.repeat(scale, axis=0).repeat(scale, axis=1)
    panels = [_cut(image) for image in (repeated, row.bicubic, row.ours, row.real)]
    panels.append(error_map(panels[2], panels[3]))
    spaced = [np.pad(panel, ((0, 0), (GAP, 0), (0, 0)), constant_values=255) for panel in panels]
    pixels = np.concatenate(spaced, axis=1)
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG", optimize=True)
    return content.getvalue()


def error_map(image: np.ndarray, real: np.ndarray) -> np.ndarray:
    """Returns the signed difference of two uint8 images: 128 if they are equal, brighter is too bright, uint8.

    Example:
        >>> error_map(np.array([[10, 12]], "uint8"), np.array([[10, 10]], "uint8")).tolist()
        [[128, 144]]
    """
    difference = image.astype("int64") - real.astype("int64")
    shown: np.ndarray = np.clip(128 + DIFFERENCE_GAIN * difference, 0, 255).astype("uint8")
    return shown


def _cut(image: np.ndarray) -> np.ndarray:
    """Returns the center of an image, at most MAX_SIDE pixels wide and high."""
    top, left = (max(0, (side - MAX_SIDE) // 2) for side in image.shape[:2])
    return image[top : top + MAX_SIDE, left : left + MAX_SIDE]


def render_card(model: str, results: Mapping[str, Any], lineage: Mapping[str, Any]) -> str:
    """Renders the model card of a generator as Markdown.

    Args:
        model: its name.
        results: as `render_report`.
        lineage: of the version.
    """
    settings = ", ".join(f"{name}={value}" for name, value in sorted(lineage["settings"].items()))
    rows = [
        f"| {NAMES[method]} | "
        + " | ".join(format_quantity(results["metrics"][metric][method]["mean"]["value"]) for metric in METRICS)
        + " |"
        for method in NAMES
    ]
    return "\n".join(
        [
            f"# {plain_text(model)}",
            "",
            WARNING,
            "",
            f"Data: {plain_text(lineage['source'])}, fingerprint {lineage['fingerprint']}.",
            "",
            f"## Results on {results['n_images']} test images of {results['n_patients']} patients",
            "",
            f"| method | {' | '.join(METRICS.values())} |",
            "|" + "---|" * (len(METRICS) + 1),
            *rows,
            "",
            f"{len(results['flagged'])} images are flagged for more energy at high frequencies than real images have.",
            "",
            "## Settings",
            "",
            plain_text(settings),
            "",
        ]
    )
