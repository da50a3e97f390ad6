"""The model card: what a stranger must know before trusting a version, filled from the run's facts alone.

Headings follow Mitchell et al., Model Cards for Model Reporting (2019); the numbers in brackets are items of the
Checklist for AI in Medical Imaging (CLAIM, Mongan et al. 2020). A heading without facts is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from radiograft.models.spec import PURPOSE, ModelSpec, TensorInfo

Facts = Mapping[str, Any]
MEASURES = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def render_model_card(model: str, metrics: Facts, spec: ModelSpec, lineage: Facts) -> str:
    """The card as Markdown.

    Args:
        metrics: the evaluation's metrics.json.
        spec: the model's specification.
        lineage: see `lineage.describe`.
    """
    measured = metrics["metrics"][metrics["published"]]
    sections = {
        "Model details": _details(spec, lineage),
        "Intended use": [f"- {plain_text(PURPOSE)}"],
        "Data": _data(metrics.get("data", {}), lineage),
        "Training": _training(spec, lineage["settings"], metrics["kept_epochs"][metrics["published"]]),
        "Results on test, with 95 % intervals [29, 35, 36]": _results(measured["test"]),
        "Factors [30, 34]": _factors(metrics),
        "Decision of the gate": _decision(metrics["gate"]),
        "Caveats [38]": _caveats(metrics),
    }
    parts = [f"## {heading}\n\n" + "\n".join(lines) for heading, lines in sections.items() if lines]
    return "\n\n".join([f"# {plain_text(model)}", *parts]) + "\n"


def plain_text(text: object) -> str:
    """Foreign text on one line, with every sign that Markdown or HTML would read as its own made literal."""
    one_line = " ".join(str(text).split())
    literal = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", literal)


def _details(spec: ModelSpec, lineage: Facts) -> list[str]:
    code = lineage["code"]
    software = {"radiograft": f"{code['version']} (commit {code['commit']})" if code["commit"] else code["version"]}
    versions = ", ".join(f"{name} {version}" for name, version in {**software, **lineage["packages"]}.items())
    return _items(
        {
            "Network [22]": f"{spec.backbone}, one probability for each of {', '.join(spec.labels)}",
            "Input": _tensors(spec.inputs),
            "Served inputs": "; ".join(f"{name}: {_tensors(inputs)}" for name, inputs in spec.signatures.items()),
            "Output": _tensors(spec.outputs),
            "First weights [24]": spec.weights,
            "Software [23]": versions,
            "Image": lineage["image"],
            "Pipeline run": lineage["run_id"],
            "Created": lineage["created"],
            "In production when it was made": lineage["parent"] and f"version {lineage['parent']}",
        }
    )


def _tensors(tensors: Mapping[str, TensorInfo]) -> str:
    return ", ".join(
        f"{name}: {info.dtype} [{', '.join('n' if side is None else str(side) for side in info.shape)}], {info.meaning}"
        for name, info in tensors.items()
    )


def _data(data: Facts, lineage: Facts) -> list[str]:
    left_out = [f"{group['count']:,} {group['reason']}" for group in data.get("excluded", [])]
    converted = [f"{count:,} {mode} made gray" for mode, count in data.get("converted", {}).items()]
    items = {
        "Source [7]": lineage["source"],
        "Fingerprint": lineage["fingerprint"],
        "Reference standard [14]": "the labels of the source, unchecked",
        "Splits [20, 21]": "disjoint by patient",
        "Left out [8, 33]": "; ".join(left_out),
        "Converted [9]": "; ".join(converted),
    }
    splits = data.get("splits", {})
    labels = list(next(iter(splits.values()))["positives"]) if splits else []
    rows = [
        [
            name,
            f"{split['pictures']:,}",
            f"{split['patients']:,}",
            *(f"{split['positives'][each]:,}" for each in labels),
        ]
        for name, split in splits.items()
    ]
    table = _table(["split", "pictures", "patients", *(f"with {label}" for label in labels)], rows) if rows else []
    return [*_items(items), *table]


def _training(spec: ModelSpec, settings: Facts, kept: int) -> list[str]:
    """Every setting of the training, after what was trained and how the epoch was chosen."""
    names = sorted(name for name in settings if name.startswith(("train_", "image_", "model_")))
    items = {
        "Strategy [25]": f"{spec.strategy}, from layer {spec.cut_off} on",
        "Choice of the epoch [26]": "highest mean AUROC on validation",
        "Epoch kept [26]": str(kept) if kept else "0: not trained further",
        "Settings [25]": ", ".join(f"{name}={settings[name]}" for name in names),
    }
    return _items(items)


def _results(test: Facts) -> list[str]:
    rows = [
        [
            label,
            f"{found['positives']:,} of {found['n_images']:,}",
            *(_estimate(found[measure]) for measure in MEASURES),
            "-" if found["threshold"] is None else f"{found['threshold']:.4f}",
        ]
        for label, found in test["labels"].items()
    ]
    sizes = f"{test['n_images']:,} images of {test['n_patients']:,} patients. Thresholds come from validation [28]."
    return [sizes, *_table(["label", "positive", *MEASURES.values(), "threshold"], rows)]


def _factors(metrics: Facts) -> list[str]:
    """Groups of images beside all the others."""
    rows = [
        [
            f"{group['variable']}: {group['group']}",
            f"{group['n_images']:,} ({group['n_patients']:,})",
            *(_estimate(group["mean"]["auroc"][part]) for part in ("group", "difference")),
        ]
        for group in metrics.get("subgroups", [])
        if group["mean"]
    ]
    head = ["group", "images (patients)", "mean AUROC", "minus that of the others"]
    split = metrics["judged_on"]
    chosen = ", on which epoch and threshold were chosen: these figures are too good" if split == "validation" else ""
    return [f"Measured on {split}{chosen}.", *_table(head, rows)] if rows else []


def _caveats(metrics: Facts) -> list[str]:
    """What limits the data, and what the report warns of: variables that predict without the image, and drift."""
    return [f"- {plain_text(note)}" for note in [*metrics.get("data", {}).get("notes", []), *metrics["warnings"]]]


def _decision(verdict: Facts) -> list[str]:
    outcome = "Fit to become the production version" if verdict["promote"] else "Stays a candidate"
    return [f"{outcome}:", "", *(f"- {plain_text(reason)}" for reason in verdict["reasons"])]


def _estimate(found: Facts) -> str:
    if found["value"] is None:
        return "not estimable"
    interval = "" if found["low"] is None else f" ({found['low']:.3f} to {found['high']:.3f})"
    return f"{found['value']:.3f}{interval}"


def _items(facts: Mapping[str, object]) -> list[str]:
    return [f"- {name}: {plain_text(value)}" for name, value in facts.items() if value]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    first, *others = (f"| {' | '.join(map(plain_text, row))} |" for row in (head, *rows))
    return ["", first, f"|{'---|' * len(head)}", *others]
