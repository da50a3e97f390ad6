"""Draws the diagrams of the documentation as SVG: `make diagrams`.

The files are committed, because the README shows them.
"""

from __future__ import annotations

from pathlib import Path

IMAGES = Path(__file__).parents[1] / "images"
# The layers of the package `radiograft` from top to bottom: each imports only from those below it.
LAYERS = (
    ("external", "search"),
    ("stages", "serving"),
    ("evaluation", "explain", "drift"),
    ("reporting",),
    ("training",),
    ("metrics",),
    ("data", "models"),
    ("imaging",),
    ("config", "registry"),
    ("backbones",),
    ("storage",),
    ("utils",),
)
STAGES = ("ingest", "preprocess", "extract features", "fine-tune", "evaluate", "publish")
PASSED_ON = ("catalog", "shards", "model", "model", "decision")  # from each stage to the next
STYLE = (
    "<style>text{font:14px system-ui,sans-serif;fill:#1b2733;text-anchor:middle}.note{font-size:12px;fill:#5b6875}"
    ".box{fill:#e6f2f1;stroke:#00796b}.store{fill:#fff4e0;stroke:#b26a00}.line{stroke:#5b6875;fill:none}"
    "</style><rect width='100%' height='100%' fill='#fff'/>"
    "<defs><marker id='end' viewBox='0 0 8 8' refX='8' refY='4' markerWidth='8' markerHeight='8' orient='auto'>"
    "<path d='M0 0L8 4L0 8z' fill='#5b6875'/></marker></defs>"
)


def _svg(width: int, height: int, title: str, parts: list[str]) -> str:
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' role='img'>"
    return "\n".join([head, f"<title>{title}</title>", STYLE, *parts, "</svg>\n"])


def _box(x: float, y: float, width: float, height: float, text: str, style: str = "box") -> str:
    rectangle = f"<rect class='{style}' x='{x:g}' y='{y:g}' width='{width:g}' height='{height:g}' rx='6'/>"
    return f"{rectangle}<text x='{x + width / 2:g}' y='{y + height / 2 + 5:g}'>{text}</text>"


def _arrow(path: str, note: str = "", x: float = 0, y: float = 0, dash: str = "") -> str:
    label = f"<text class='note' x='{x:g}' y='{y:g}'>{note}</text>" if note else ""
    return f"<path class='line' d='{path}' marker-end='url(#end)'{dash}/>{label}"


def layers() -> str:
    """A bar for each layer, divided among its packages."""
    width, height, gap = 720, 40, 8
    parts = []
    for row, packages in enumerate(LAYERS):
        each = (width - gap * (len(packages) - 1)) / len(packages)
        y = gap + row * (height + gap)
        parts += [_box(10 + n * (each + gap), y, each, height, name) for n, name in enumerate(packages)]
    total = gap + len(LAYERS) * (height + gap)
    return _svg(width + 20, total, "Layers of radiograft: each imports only from those below it", parts)


def pipeline() -> str:
    """The stages in a row, with what they pass on, the source before them and the registry below."""
    width, height, gap, top = 126, 48, 62, 40
    xs = [10 + n * (width + gap) for n in range(len(STAGES) + 1)]
    middle, below = top + height / 2, top + 110
    parts = [_box(xs[0], top, width, height, "radiographs", "store")]
    parts += [_box(x, top, width, height, name) for x, name in zip(xs[1:], STAGES, strict=True)]
    for x, note in zip(xs, ("", *PASSED_ON), strict=False):
        parts.append(_arrow(f"M{x + width} {middle:g}H{x + width + gap}", note, x + width + gap / 2, middle - 8))
    features, evaluate, publish = xs[3] + width / 2, xs[5] + width / 2, xs[6] + width / 2
    parts.append(_arrow(f"M{features} {top}V16H{evaluate}V{top}", "baseline model", (features + evaluate) / 2, 12))
    parts.append(_box(xs[6], below, width, height, "model registry", "store"))
    parts.append(_arrow(f"M{publish} {top + height}V{below}", "version", publish + 30, top + height + 34))
    dash = " stroke-dasharray='5 4'"
    back = f"M{xs[6]} {below + height / 2:g}H{evaluate}V{top + height}"
    parts.append(_arrow(back, "production model", (xs[5] + xs[6]) / 2 + 10, below + height, dash))
    return _svg(xs[-1] + width + 10, below + height + 10, "The pipeline: from radiographs to the model registry", parts)


DIAGRAMS = {"layers.svg": layers, "pipeline.svg": pipeline}

if __name__ == "__main__":
    for name, draw in DIAGRAMS.items():
        (IMAGES / name).write_text(draw(), encoding="utf-8")
