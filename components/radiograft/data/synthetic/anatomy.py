"""Healthy anatomy of the phantom: renders a frontal chest from body proportions.

Positions are in half image widths from the image center: x towards the patient's left, which is on the right of the
image as usual for chest radiographs, and y towards the feet.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Field = npt.NDArray[np.floating[Any]]  # one value per pixel, float32


@dataclass(frozen=True)
class Body:
    """Body proportions of a patient."""

    scale: float  # below 1 for children, who fill less of the image
    width: float  # from the midline to the chest wall
    apex: float  # y of the lung apices
    domes: tuple[float, float]  # y of the diaphragm domes, patient's right and left
    arch: float  # depth of the costophrenic angles below the domes
    heart: float  # cardiothoracic ratio
    fat: float  # 0 to 1
    breast: float  # 0 to 1
    bone: float  # mineral density, 1 in a young adult
    markings: float  # visibility of the lung vessels
    affected: int = 1  # side of unilateral findings: -1 patient's right, 1 left


@dataclass
class Chest:
    """The tissue that the ray to each pixel crosses.

    `air` appears dark, less so along `vessels`; `dense` appears bright. All fields have shape (size, size), except `y`
    with (size, 1).
    """

    body: Body
    x: Field
    y: Field
    wall: Field  # distance from the chest wall, positive inside
    floor: Field  # height above the diaphragm
    lung: Field  # 1 inside the lung outline, which the heart partly covers
    air: Field
    vessels: Field
    dense: Field

    def flood(self, amount: Field) -> None:
        """Replaces air with fluid. At 1, the lung is as bright as the heart and its vessels are invisible."""
        self.air *= 1 - np.clip(amount, 0, 1)

    def distance(self, x: float, y: float) -> Field:
        """Returns the distance of each pixel from a point."""
        return np.sqrt((self.x - np.float32(x)) ** 2 + (self.y - np.float32(y)) ** 2)

    def affected_side(self) -> Field:
        """Returns a mask that is 1 on the affected side of the chest."""
        return ramp(self.body.affected * self.x / 0.03 + 0.5)

    def cloud(self, rng: np.random.Generator, cells: int) -> Field:
        """Returns smooth noise of about unit variance with `cells` independent values along each axis."""
        coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        return np.asarray(coarse.resize(self.air.shape, Image.Resampling.BICUBIC), dtype=np.float32)

    def net(self, rng: np.random.Generator, cells: int, thickness: float) -> Field:
        """Returns a network of curved lines: the zero crossings of smooth noise."""
        return bell(self.cloud(rng, cells) / thickness)


def ramp(position: Field) -> Field:
    """Smoothstep: 0 up to position 0, 1 from position 1."""
    t = np.clip(position, 0, 1)
    return t * t * (3 - 2 * t)


def bell(distance: Field) -> Field:
    """Gaussian: 1 at distance 0, 1/e at distance 1."""
    return np.exp(-distance * distance)


def quarter_ellipse(position: Field) -> Field:
    """Rises along a quarter of an ellipse from 0 at position 0 to 1 at position 1."""
    return np.sqrt(1 - (1 - np.clip(position, 0, 1)) ** 2)


def grow_body(age: int, sex: str, rng: np.random.Generator) -> Body:
    """Samples the body proportions of a patient of this age (years) and sex (`F` or `M`)."""
    child, years_past_50 = max(0.0, 1 - age / 16), max(0, age - 50)
    dome = rng.normal(0.44, 0.04) - 0.08 * child
    return Body(
        scale=1 - 0.22 * child,
        width=rng.normal(0.75 if sex == "M" else 0.71, 0.03),
        apex=rng.normal(-0.72, 0.03) + 0.08 * child,
        domes=(dome, dome + rng.uniform(0.02, 0.09)),
        arch=rng.uniform(0.14, 0.22),
        heart=rng.normal(0.44, 0.025) + 0.07 * child + 0.001 * years_past_50,
        fat=rng.beta(2, 3) * (1 - 0.6 * child),
        breast=rng.uniform(0.3, 1) if sex == "F" and age > 13 else 0.0,
        bone=rng.normal(1, 0.1) * (1 - 0.35 * child) * (1 - 0.008 * years_past_50),
        markings=rng.uniform(0.8, 1.2),
    )


def draw_chest(body: Body, rng: np.random.Generator, size: int) -> Chest:
    """Renders a healthy chest of size by size pixels, slightly off-center and rotated."""
    zoom = body.scale * rng.uniform(0.95, 1.05)
    shift_x, shift_y, tilt = rng.normal(0, 0.04), rng.normal(0, 0.04), rng.normal(0, 0.03)
    axis = np.linspace(-1, 1, size, dtype=np.float32) / zoom
    y = axis[:, None] - shift_y
    x = axis[None, :] - shift_x - tilt * y
    beside, down = np.abs(x), np.clip(y - body.apex, 0, 2)
    tip = 0.36 * body.width
    outer = tip + (body.width - tip) * quarter_ellipse(down / 0.85) + 0.05 * (y - 0.2)
    inner = tip - (tip - 0.09) * quarter_ellipse(down / 0.3)
    dome = np.where(x < 0, np.float32(body.domes[0]), np.float32(body.domes[1]))
    floor = dome + body.arch * ((beside - 0.42 * body.width) / (0.5 * body.width)) ** 2 - y
    wall = outer - beside
    lung = ramp(wall / 0.03) * ramp((beside - inner) / 0.04) * ramp(floor / 0.03) * ramp(down / 0.03)
    heart = heart_shadow(body, x, y)
    air = lung * (1 - 0.55 * np.clip(1 - wall / 0.4, 0, 1) ** 2) * (1 - 0.85 * heart)
    dense = soft_tissue(body, x, y, wall, floor, heart) + body.bone * bones(body, x, y, wall, floor)
    vessels = draw_vessels((vessel_tree(rng) @ [[1, 0], [tilt, 1]] + [shift_x, shift_y]) * zoom, size)
    return Chest(body, x, y, wall, floor, lung, air, vessels, dense)


def heart_shadow(body: Body, x: Field, y: Field) -> Field:
    """Renders the heart and great vessels: atrium on the patient's right; aortic knob and ventricle on the left."""
    base, span = body.domes[1], 2 * body.width * body.heart
    ventricle = ramp((y + 0.22) / (base + 0.22)) ** 0.8 * np.sqrt(1 - np.clip((y - base) / 0.3, 0, 1) ** 2)
    vessels = 0.06 * bell((y + 0.38) / 0.08) + 0.04 * bell((y + 0.2) / 0.1)
    left = 0.11 + vessels + (0.66 * span - 0.11) * ventricle
    atrium = np.clip(1 - ((y - base + 0.16) / 0.42) ** 2, 0, 1)
    right = 0.12 + 0.015 * bell((y + 0.35) / 0.2) + (0.34 * span - 0.1) * atrium
    return ramp((left - x) / 0.035) * ramp((x + right) / 0.035)


def soft_tissue(body: Body, x: Field, y: Field, wall: Field, floor: Field, heart: Field) -> Field:
    """Renders muscle, fat, arms, abdomen, blood, breasts and trachea."""
    beside = np.abs(x)
    torso = body.width + 0.12 + 0.25 * body.fat
    shoulders = 0.24 + 0.06 * body.fat + 1.1 * np.clip((y + 0.98) / 0.36, 0, 1) ** 1.3
    outline = shoulders + (torso - shoulders) * ramp((y + 0.55) / 0.85)
    flesh = np.sqrt(np.clip(1 - (beside / outline) ** 6, 0, 1)) * (0.82 + 0.22 * body.fat)
    arms = 0.7 * quarter_ellipse((beside - torso - 0.06 - 0.14 * y) / 0.2) * ramp((y + 0.8) / 0.3)
    belly = ramp(0.1 - floor / 0.3) * ramp(wall / 0.12 + 0.5)
    blood = heart * ramp(floor / 0.25 + 0.8) * ramp((y + 0.85) / 0.35)
    dense: Field = np.maximum(flesh, arms) + 0.13 * blood + 0.26 * belly
    if body.breast:
        lower_edge = ((beside - 0.43) / 0.33) ** 2 + ((y - 0.2) / (0.2 + 0.16 * body.breast)) ** 2
        dense += (0.1 + 0.1 * body.breast) * ramp((1 - lower_edge) / 0.4) * ramp((y + 0.25) / 0.5)
    windpipe = bell((x - 0.01) / 0.05) * ramp((-0.14 - y) / 0.12)
    return dense - 0.2 * windpipe


def bones(body: Body, x: Field, y: Field, wall: Field, floor: Field) -> Field:
    """Renders ribs, clavicles, spine, scapulae and shoulder joints."""
    beside, down = np.abs(x), y - body.apex
    cage = ramp(wall / 0.04 + 0.9) * ramp(down / 0.08 + 0.6) * (0.35 + 0.65 * ramp(floor / 0.1 + 0.5))
    sweep = (0.95 - 0.4 * y) * (beside - 0.2) ** 2 + 0.12 * beside * (y + 0.6)
    back = tube(in_period((down - sweep) / 0.132) / 0.42) * ramp((beside - 0.06) / 0.04)
    front = tube(in_period((down + 0.62 * beside) / 0.18) / 0.36) * ramp((beside - 0.28) / 0.15)
    rim = bell((wall + 0.015) / 0.025) * ramp(down / 0.1)
    collar = down - 0.2 + 0.24 * beside - 0.035 * np.sin(6.5 * beside)
    collar_width = 0.034 + 0.02 * bell((beside - 0.1) / 0.08)
    clavicle = tube(collar / collar_width) * ramp((beside - 0.07) / 0.04)
    spine = ramp((0.085 - beside) / 0.03) * (0.04 + 0.05 * ramp(np.cos(y * 44) + 0.6))
    blade = ramp((beside - 0.6 - 0.16 * y) / 0.03) * ramp((y + 0.66) / 0.08) * ramp((0.1 - y) / 0.3)
    joint = ramp((1 - ((beside - 1) / 0.2) ** 2 - ((y + 0.46) / 0.17) ** 2) / 0.5)
    ribs = cage * (0.11 * back + 0.05 * front) + 0.07 * rim
    return ribs + 0.14 * clavicle + spine + 0.05 * blade + 0.08 * joint


def in_period(phase: Field) -> Field:
    """Returns the distance of a phase from the center of its unit period, 0 to 1."""
    return np.abs(2 * (phase - np.floor(phase)) - 1)


def tube(offset: Field) -> Field:
    """Cross-section of a hollow bone: bright cortex at offset 1, less dense marrow inside, 0 outside."""
    return ramp((1.2 - np.abs(offset)) / 0.4) * (0.5 + 0.5 * np.minimum(offset * offset, 1))


def vessel_tree(rng: np.random.Generator, branches: int = 40, steps: int = 9) -> npt.NDArray[np.float64]:
    """Samples vessels as random walks that fan out from both hila, points of shape (branches, steps, 2)."""
    side = np.repeat([-1, 1], branches // 2)[:, None]
    fan = np.tile(np.linspace(-1.4, 1.45, branches // 2), 2) + rng.normal(0, 0.12, branches)
    heading = fan[:, None] + np.cumsum(rng.normal(0, 0.2, (branches, steps)), axis=1)
    stride = rng.uniform(0.04, 0.085, (branches, 1))
    across = side * (0.13 + np.cumsum(stride * np.cos(heading), axis=1))
    return np.stack([across, np.cumsum(stride * np.sin(heading), axis=1) - 0.05], axis=2)


def draw_vessels(tree: npt.NDArray[np.float64], size: int) -> Field:
    """Renders a vessel tree as tapering lines."""
    canvas = Image.new("L", (size, size))
    pen = ImageDraw.Draw(canvas)
    pixels = (tree + 1) * size / 2
    steps = pixels.shape[1]
    for step in range(steps - 1):
        taper = 1 - step / steps
        for segment in pixels[:, step : step + 2].reshape(-1, 4).tolist():
            pen.line(segment, fill=int(60 + 195 * taper), width=max(1, round(size * 0.014 * taper)))
    return blur(np.asarray(canvas, dtype=np.float32) / 255)


def blur(field: Field) -> Field:
    """Smooths with [1, 2, 1] / 4 along both axes; border pixels are not smoothed across the border."""
    out = field.copy()
    out[1:-1] = (field[:-2] + 2 * field[1:-1] + field[2:]) / 4
    rows = out.copy()
    out[:, 1:-1] = (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 4
    return out
