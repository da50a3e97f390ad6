"""Findings of the phantom: caricatures of the 14 findings of ChestX-ray14."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from radiograft.data.synthetic.anatomy import Body, Chest, Field, bell, heart_shadow, ramp

BOXED = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax")
INSIDE = (0.03, 0.97)  # quantiles of a finding along each axis at which its box starts and ends

Box = tuple[float, float, float, float]  # x and y of the upper left corner, width and height, as fractions of the image


def pose(body: Body, view: str, findings: frozenset[str], rng: np.random.Generator) -> Body:
    """Returns the body proportions in one image: breathing, magnified heart in AP views, and effects of findings."""
    affected = int(rng.choice([-1, 1]))
    heart, arch, markings = body.heart * (1.14 if view == "AP" else 1), body.arch, body.markings
    breath, lost = rng.normal(-0.1 if view == "AP" else 0, 0.03), 0.0
    if "Cardiomegaly" in findings:
        heart += rng.uniform(0.1, 0.2)
    if "Edema" in findings:
        heart, markings = heart + rng.uniform(0, 0.08), markings * 1.5
    if "Emphysema" in findings:
        breath += rng.uniform(0.1, 0.18)
        heart, arch, markings = heart * 0.8, arch * 0.25, markings * 0.5
    if "Fibrosis" in findings:
        breath -= rng.uniform(0.03, 0.1)
    if "Atelectasis" in findings:
        lost = rng.uniform(0.06, 0.14)
    right, left = body.domes
    domes = (right + breath - lost * (affected < 0), left + breath - lost * (affected > 0))
    return replace(body, domes=domes, heart=heart, arch=arch, markings=markings, affected=affected)


def draw_findings(chest: Chest, findings: frozenset[str], rng: np.random.Generator) -> dict[str, Box]:
    """Draws into `chest` the findings that `pose` does not represent.

    Args:
        chest: modified in place.
        findings: names as in ChestX-ray14's table, without `No Finding`.
        rng: random generator.

    Returns:
        One bounding box for each of the findings in BOXED.
    """
    boxes = {}
    if "Cardiomegaly" in findings:
        below_great_vessels, above_diaphragm = ramp((chest.y + 0.25) / 0.05), ramp(chest.floor / 0.05)
        heart = heart_shadow(chest.body, chest.x, chest.y)
        boxes["Cardiomegaly"] = box_around(heart * below_great_vessels * above_diaphragm)
    for finding in sorted(findings & DRAW.keys()):
        before = chest.dense - chest.air
        DRAW[finding](chest, rng)
        change = np.abs(chest.dense - chest.air - before)
        if finding in BOXED and change.any():
            boxes[finding] = box_around(change)
    return boxes


def box_around(amount: Field) -> Box:
    """Returns the bounding box of most of a non-negative field, see INSIDE."""
    (left, width), (top, height) = (_extent(amount.sum(axis, dtype="float64")) for axis in (0, 1))
    return left, top, width, height


def _extent(amount: Field) -> tuple[float, float]:
    """Returns start and length as fractions of the axis."""
    fraction = np.cumsum(amount) / amount.sum()
    first, last = np.searchsorted(fraction, INSIDE)
    return float(first / len(amount)), float((last + 1 - first) / len(amount))


def spot(chest: Chest, rng: np.random.Generator) -> tuple[float, float]:
    """Samples a point in the affected lung, away from its borders."""
    return chest.body.affected * rng.uniform(0.28, 0.55), rng.uniform(-0.45, min(chest.body.domes) - 0.1)


def pneumonia(chest: Chest, rng: np.random.Generator) -> None:
    """Draws one or two ill-defined patches with air bronchograms."""
    for _ in range(1 + int(rng.random() < 0.35)):
        radius = rng.uniform(0.16, 0.3)
        ragged = 0.35 * chest.cloud(rng, 14) + 0.25 * chest.cloud(rng, 40)
        patch = ramp(1.3 - 0.6 * (chest.distance(*spot(chest, rng)) / radius) ** 2 + ragged)
        chest.flood(rng.uniform(0.25, 0.75) * patch * (1 - 0.25 * chest.net(rng, 12, 0.2)))


def consolidation(chest: Chest, rng: np.random.Generator) -> None:
    """Draws a homogeneous opacity with a straight border at a fissure."""
    x, y = spot(chest, rng)
    fissure = ramp((chest.y - y + 0.1 + rng.uniform(-0.3, 0.3) * (chest.x - x)) / 0.06)
    away = chest.distance(x, y + 0.1) / rng.uniform(0.26, 0.38)
    lobe = ramp(1.6 - away**2 + 0.2 * chest.cloud(rng, 10))
    chest.flood(rng.uniform(0.6, 0.92) * lobe * fissure)


def infiltration(chest: Chest, rng: np.random.Generator) -> None:
    """Draws faint streaks and dots over a wide, ill-defined area."""
    zone = bell(chest.distance(*spot(chest, rng)) / rng.uniform(0.3, 0.5))
    grain = 0.25 + 0.4 * ramp(chest.cloud(rng, 44)) + 0.4 * chest.net(rng, 26, 0.3)
    chest.flood(rng.uniform(0.25, 0.5) * zone * grain)


def edema(chest: Chest, rng: np.random.Generator) -> None:
    """Draws bat-wing opacities around both hila and Kerley lines at the bases."""
    wings = np.exp(-(((np.abs(chest.x) - 0.25) / 0.3) ** 2) - ((chest.y + 0.02) / 0.38) ** 2)
    chest.flood(rng.uniform(0.4, 0.7) * wings * (0.85 + 0.2 * chest.cloud(rng, 22)))
    lines = bell((chest.wall - 0.05) / 0.04) * ramp(np.cos(chest.y * 110)) * ramp(chest.y / 0.2)
    chest.dense += 0.08 * lines * chest.lung


def effusion(chest: Chest, rng: np.random.Generator) -> None:
    """Draws fluid on the diaphragm, with a meniscus at the chest wall."""
    dome = chest.body.domes[chest.body.affected > 0]
    surface = dome + rng.uniform(-0.3, 0.08) - 0.3 * np.exp(-np.clip(chest.wall, 0, 1) / 0.12)
    chest.flood(0.97 * ramp((chest.y - surface) / 0.06) * chest.affected_side())


def pneumothorax(chest: Chest, rng: np.random.Generator) -> None:
    """Draws a dark apical rim without vessels, bounded by the thin pleural line."""
    depth = rng.uniform(0.08, 0.24) * (1 - 0.75 * ramp((chest.y - chest.body.apex) / 1.1))
    wall, roof = np.maximum(chest.wall, 0.01), np.maximum(chest.y - chest.body.apex, 0.01)
    inside = (wall**-3 + (0.8 * roof) ** -3) ** np.float32(-1 / 3) - depth
    side = chest.affected_side() * chest.lung
    gap = ramp(-inside / 0.015) * side
    chest.vessels *= 1 - gap
    chest.air *= 1 - 0.12 * side + 0.4 * gap
    chest.dense += 0.09 * bell(inside / 0.012) * side


def ball(chest: Chest, rng: np.random.Generator, radius: float, lobes: float) -> None:
    """Draws a sphere of this radius; `lobes` is the irregularity of its outline."""
    away = chest.distance(*spot(chest, rng)) / radius * (1 + lobes * chest.cloud(rng, 16))
    chest.flood(rng.uniform(0.6, 0.9) * np.sqrt(np.clip(1 - away**2, 0, 1)))


def nodule(chest: Chest, rng: np.random.Generator) -> None:
    """Draws one to three small spheres."""
    for _ in range(int(rng.integers(1, 4))):
        ball(chest, rng, rng.uniform(0.04, 0.075), lobes=0)


def mass(chest: Chest, rng: np.random.Generator) -> None:
    """Draws a large lobulated sphere."""
    ball(chest, rng, rng.uniform(0.13, 0.22), lobes=0.12)


def atelectasis(chest: Chest, rng: np.random.Generator) -> None:
    """Draws plate-like bands above the diaphragm, which `pose` has raised."""
    for _ in range(int(rng.integers(1, 4))):
        x, _ = spot(chest, rng)
        y = chest.body.domes[x > 0] - rng.uniform(0.05, 0.3)
        along = chest.x - x
        band = bell((chest.y - y + rng.uniform(-0.4, 0.4) * along) / 0.022)
        chest.flood(rng.uniform(0.5, 0.8) * band * ramp(2 - np.abs(along) / 0.12))


def emphysema(chest: Chest, rng: np.random.Generator) -> None:
    """Draws thin-walled bullae in the lungs, which `pose` has hyperinflated."""
    chest.air *= 1.12
    for _ in range(int(rng.integers(2, 5))):
        x, y = rng.uniform(0.25, 0.5) * float(rng.choice([-1, 1])), rng.uniform(-0.5, 0)
        away = chest.distance(x, y) / rng.uniform(0.08, 0.16)
        chest.vessels *= 1 - ramp((1 - away) / 0.1)
        chest.dense += 0.05 * bell((away - 1) / 0.1) * chest.lung


def fibrosis(chest: Chest, rng: np.random.Generator) -> None:
    """Draws a reticular pattern, densest at the bases and the periphery."""
    weight = chest.air * (0.7 * bell(chest.wall / 0.25) + 0.6 * ramp((chest.y + 0.2) / 0.6))
    chest.dense += rng.uniform(0.1, 0.18) * weight * chest.net(rng, 52, 0.4)


def pleural_thickening(chest: Chest, rng: np.random.Generator) -> None:
    """Draws an irregular dense rind along the chest wall and an apical cap."""
    thickness = rng.uniform(0.04, 0.08) * (1 + 0.3 * chest.cloud(rng, 7))
    rind = ramp((thickness - chest.wall) / 0.03 + 0.5) * ramp((chest.y - rng.uniform(-0.6, 0)) / 0.1)
    cap = bell((chest.y - chest.body.apex) / 0.1)
    chest.flood(0.85 * np.maximum(rind, cap) * chest.affected_side())


def hernia(chest: Chest, rng: np.random.Generator) -> None:
    """Draws the stomach behind the heart: a thin-walled gas bubble over a fluid level."""
    x, y = rng.uniform(0, 0.12), min(chest.body.domes) - rng.uniform(0.05, 0.15)
    away = chest.distance(x, y) / rng.uniform(0.14, 0.2)
    gas = ramp((0.95 - away) / 0.3) * ramp((y + 0.05 - chest.y) / 0.025)
    chest.dense += 0.08 * bell((away - 1) / 0.12) + 0.05 * ramp((1 - away) / 0.1) - 0.25 * gas


DRAW: dict[str, Callable[[Chest, np.random.Generator], None]] = {
    "Atelectasis": atelectasis,
    "Consolidation": consolidation,
    "Edema": edema,
    "Effusion": effusion,
    "Emphysema": emphysema,
    "Fibrosis": fibrosis,
    "Hernia": hernia,
    "Infiltration": infiltration,
    "Mass": mass,
    "Nodule": nodule,
    "Pleural_Thickening": pleural_thickening,
    "Pneumonia": pneumonia,
    "Pneumothorax": pneumothorax,
}
