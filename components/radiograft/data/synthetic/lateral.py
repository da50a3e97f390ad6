"""Lateral images of the phantom: a patient who faces left, with caricatures of some of the findings.

Positions are those of `anatomy`, with x from the breastbone at -1 to the spine at 1.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from radiograft.data.synthetic.anatomy import Body, Field, bell, blur, quarter_ellipse, ramp

VIEW = "LATERAL"


def draw_lateral(body: Body, findings: frozenset[str], rng: np.random.Generator, size: int) -> Image.Image:
    """Draws a lateral image, 8-bit grayscale and size by size pixels. Findings without a caricature are not shown."""
    zoom = body.scale * rng.uniform(0.95, 1.05)
    axis = np.linspace(-1, 1, size, dtype=np.float32) / np.float32(zoom)
    x, y = axis[None, :] - np.float32(rng.normal(0, 0.04)), axis[:, None] - np.float32(rng.normal(0, 0.04))
    dome = np.float32(body.domes[0] + rng.normal(0, 0.03))
    floor = dome + np.float32(0.45) * (x - np.float32(0.1)) ** 2 * (0.6 + 0.6 * ramp((x - 0.1) / 0.4)) - y
    front, back = np.float32(-0.55) - 0.1 * ramp((y + 0.6) / 0.8), np.float32(0.55) + 0.06 * bell((y + 0.1) / 0.5)
    lung = ramp((x - front) / 0.06) * ramp((back - x) / 0.06) * ramp(floor / 0.03) * quarter_ellipse((y + 0.78) / 0.3)
    wide = body.heart * (1.25 if "Cardiomegaly" in findings else 1.0)
    heart = ramp((1 - ((x + 0.24) / wide) ** 2 - ((y - dome + 0.26) / 0.36) ** 2) / 0.2)
    torso = ramp((0.84 + 0.1 * body.fat - np.abs(x)) / 0.08)
    spine = ramp((0.13 - np.abs(x - 0.62 - 0.08 * bell(y / 0.5))) / 0.04) * (0.12 + 0.08 * ramp(np.cos(y * 40) + 0.5))
    path = torso * (0.78 + 0.2 * body.fat) + body.bone * spine + 0.2 * heart + 0.2 * ramp(0.1 - floor / 0.3) * torso
    air = lung * (1 - 0.8 * heart)
    for finding in sorted(findings & DRAW.keys()):
        air = air * (1 - np.clip(DRAW[finding](x, y, floor, rng), 0, 1))
    return _expose(path - 0.5 * air, rng)


def _effusion(x: Field, y: Field, floor: Field, rng: np.random.Generator) -> Field:  # noqa: ARG001
    """Fluid in the angle behind the diaphragm, where the smallest effusions collect."""
    return ramp((rng.uniform(0.3, 0.42) - floor) / 0.06) * ramp((x - 0.12) / 0.15)


def _spot(low: float, high: float) -> Callable[[Field, Field, Field, np.random.Generator], Field]:
    """Returns the drawing of a round opacity whose radius is between low and high."""

    def draw(x: Field, y: Field, floor: Field, rng: np.random.Generator) -> Field:  # noqa: ARG001
        left, top, radius = rng.uniform(-0.2, 0.35), rng.uniform(-0.4, 0.15), rng.uniform(low, high)
        return bell(np.sqrt((x - np.float32(left)) ** 2 + (y - np.float32(top)) ** 2) / np.float32(radius))

    return draw


DRAW: dict[str, Callable[[Field, Field, Field, np.random.Generator], Field]] = {
    "Consolidation": _spot(0.25, 0.35),
    "Effusion": _effusion,
    "Infiltration": _spot(0.2, 0.3),
    "Mass": _spot(0.12, 0.18),
    "Nodule": _spot(0.05, 0.08),
    "Pneumonia": _spot(0.2, 0.35),
}


def _expose(path: Field, rng: np.random.Generator) -> Image.Image:
    path = blur(path)
    path = path + rng.uniform(0.006, 0.016) * rng.standard_normal(path.shape, dtype=np.float32)
    middle, latitude = rng.normal(0.6, 0.05), rng.uniform(0.22, 0.32)
    return Image.fromarray((255 / (1 + np.exp((middle - path) / latitude))).astype(np.uint8))
