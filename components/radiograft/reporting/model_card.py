"""Renders the model card of a version from the metadata of its run.

Headings follow Mitchell et al., Model Cards for Model Reporting (2019). Numbers in brackets are items of the Checklist
for AI in Medical Imaging (CLAIM, Mongan et al. 2020). Empty sections are omitted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from radiograft.config.network import AVERAGE
from radiograft.config.training import AUTO_MONITOR, LOSS_MONITOR
from radiograft.imaging.geometry import RGB
from radiograft.models.spec import PURPOSE, ModelSpec, TensorInfo
from radiograft.registry.result_types import Estimate, GateDecision, SplitMetrics
from radiograft.registry.results import DataSummary, EvaluationResults
from radiograft.reporting.classes import class_rows
from radiograft.reporting.html import BRANCHES
from radiograft.reporting.targets import TABLE_HEADER, target_table, with_interval

Facts = Mapping[str, Any]
MEASURES: dict[Literal["auroc", "average_precision", "sensitivity", "specificity"], str] = {
    "auroc": "AUROC",
    "average_precision": "average precision",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


EPOCH_SELECTION = {AUTO_MONITOR: "highest mean AUROC on validation", LOSS_MONITOR: "lowest loss on validation"}


def render_model_card(model: str, results: EvaluationResults, spec: ModelSpec, lineage: Facts) -> str:
    """Renders the model card as Markdown.

    Args:
        model: name of the model.
        results: content of metrics.json.
        spec: specification of the model.
        lineage: content of lineage.json.
    """
    published = results["published"]
    sections = {
        "Model details": _details(spec, lineage),
        "Intended use": [f"- {plain_text(PURPOSE)}"],
        "Data": _data(results["data"], lineage),
        "Training": _training(spec, lineage["settings"], _kept_epochs(results, published)),
        "Results on test, with 95% confidence intervals [29, 35, 36]": _results(results["metrics"][published]["test"]),
        "Out-of-distribution flag": _flag(results),
        "Branches": _branches(results),
        "Factors [30, 34]": _subgroups(results),
        "Promotion decision": _decision(results["gate"]),
        "Caveats [38]": _caveats(results),
    }
    parts = [f"## {heading}\n\n" + "\n".join(lines) for heading, lines in sections.items() if lines]
    return "\n\n".join([f"# {plain_text(model)}", *parts]) + "\n"


def plain_text(text: object) -> str:
    """Returns untrusted text on one line, with all Markdown and HTML syntax escaped."""
    one_line = " ".join(str(text).split())
    escaped = one_line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#!])", r"\\\1", escaped)


def _details(spec: ModelSpec, lineage: Facts) -> list[str]:
    code = lineage["code"]
    software = {"radiograft": f"{code['version']} (commit {code['commit']})" if code["commit"] else code["version"]}
    versions = ", ".join(f"{name} {version}" for name, version in {**software, **lineage["packages"]}.items())
    return _items(
        {
            "Network [22]": f"{spec.backbone}, one {'number' if spec.is_numeric else 'probability'} for each of "
            + ", ".join(spec.labels),
            "Pooling [22]": "" if spec.pooling == AVERAGE else f"class map, pooled by {spec.pooling}",
            "Task": spec.task,
            "Input": _tensors(spec.inputs),
            "Served inputs": "; ".join(f"{name}: {_tensors(inputs)}" for name, inputs in spec.signatures.items()),
            "Output": _tensors(spec.outputs),
            "Initial weights [24]": spec.weights,
            "Normalization in the network": spec.normalization and spec.normalization.describe(),
            "Software [23]": versions,
            "Container image": lineage["image"],
            "Pipeline run": lineage["run_id"],
            "Created": lineage["created"],
            "Production version at the time": lineage["parent"] and f"version {lineage['parent']}",
        }
    )


def _tensors(tensors: Mapping[str, TensorInfo]) -> str:
    return ", ".join(
        f"{name}: {info.dtype} [{', '.join('n' if side is None else str(side) for side in info.shape)}], {info.meaning}"
        for name, info in tensors.items()
    )


def _data(data: DataSummary, lineage: Facts) -> list[str]:
    excluded = [f"{group['count']:,} {group['reason']}" for group in data.get("excluded", [])]
    kind = "RGB" if data.get("image_channels") == RGB else "grayscale"
    converted = [f"{count:,} {mode} to {kind}" for mode, count in data.get("converted", {}).items()]
    items = {
        "Source [7]": lineage["source"],
        "Fingerprint": lineage["fingerprint"],
        "Reference standard [14]": "the labels of the data source, not verified",
        "Splits [20, 21]": "patient-disjoint",
        "Excluded [8, 33]": "; ".join(excluded),
        "Converted [9]": "; ".join(converted),
        "Enlarged [9]": _enlarged(data),
    }
    splits = data.get("splits", {})
    labels = list(next(iter(splits.values()))["positives"]) if splits else []
    rows = [
        [
            name,
            f"{split['pictures']:,}",
            f"{split['patients']:,}",
            *(f"{split['positives'][label]:,}" for label in labels),
        ]
        for name, split in splits.items()
    ]
    table = _table(["split", "images", "patients", *(f"with {label}" for label in labels)], rows) if rows else []
    return [*_items(items), *table]


def _enlarged(data: DataSummary) -> str:
    enlarged_by = data.get("image_enlarged_by")
    if not enlarged_by:
        return ""
    scale, uri, sha256 = (enlarged_by[name] for name in ("scale", "uri", "sha256"))
    return f"images were enlarged by a network, {scale} times: their detail is an estimate; {uri}, manifest {sha256}"


def _kept_epochs(results: EvaluationResults, published: str) -> str:
    if averaged := results.get("averaged_epochs", {}).get(published, []):
        return f"mean weights of the epochs {', '.join(map(str, averaged))}"
    if distilled := results.get("distilled_epochs", {}).get(published, []):
        return f"distilled from the mean predictions of the epochs {', '.join(map(str, distilled))}"
    return str(results["kept_epochs"][published] or "0 (the weights before fine-tuning)")


def _training(spec: ModelSpec, settings: Facts, kept: str) -> list[str]:
    """Lists the strategy, how the epoch was selected, and every training setting."""
    names = sorted(name for name in settings if name.startswith(("train_", "image_", "model_")))
    items = {
        "Strategy [25]": f"{spec.strategy}, from layer {spec.cut_off} on",
        "Epoch selection [26]": _epoch_selection(settings, spec),
        "Selected epoch [26]": kept,
        "Settings [25]": ", ".join(f"{name}={settings[name]}" for name in names),
    }
    return _items(items)


def _results(test: SplitMetrics) -> list[str]:
    if "regression" in test:
        sizes = f"{test['n_images']:,} images from {test['n_patients']:,} patients. Errors are in the unit of the data."
        return [sizes, *_table(TABLE_HEADER, target_table(test))]
    rows = [
        [
            label,
            f"{metrics['positives']:,} of {metrics['n_images']:,}",
            *(_format_estimate(metrics[measure]) for measure in MEASURES),
            "-" if metrics["threshold"] is None else f"{metrics['threshold']:.4f}",
        ]
        for label, metrics in test["labels"].items()
    ]
    decision = (
        "The class with the highest score is predicted; the metrics of a class compare it with the rest [28]."
        if "classes" in test
        else "Thresholds were chosen on validation [28]."
    )
    sizes = f"{test['n_images']:,} images from {test['n_patients']:,} patients. {decision}"
    return [sizes, *_classes(test), *_table(["label", "positives", *MEASURES.values(), "threshold"], rows)]


def _classes(test: SplitMetrics) -> list[str]:
    """Compares the metrics of exclusive classes with their baselines, and shows the confusion matrix."""
    if "classes" not in test:
        return []
    classes = test["classes"]
    rows = [
        [row.name, _format_estimate(row.estimate), f"{_format_estimate(row.baseline)}: {row.baseline_name}"]
        for row in class_rows(test)
    ]
    counts = [
        [name, *(f"{count:,}" for count in row)]
        for name, row in zip(classes["names"], classes["confusion"], strict=True)
    ]
    heading = ["true class", *(f"predicted {name}" for name in classes["names"])]
    return [*_table(["metric of all classes", "this model", "baseline"], rows), *_table(heading, counts)]


def _branches(results: EvaluationResults) -> list[str]:
    """Compares the branches of an attention-guided network with each other and with random crops."""
    comparison = results.get("branches")
    if not comparison:
        return []
    rows = [
        [
            BRANCHES[branch["branch"]],
            _format_estimate(branch["auroc"]),
            _format_estimate(branch["difference"]) if branch["difference"] else "-",
        ]
        for branch in comparison["branches"]
    ]
    sentence = (
        f"The fusion is published. Mean AUROC on {comparison['split']}; the crops show "
        f"{comparison['crop_share']:.0%} of the image on average."
    )
    return [sentence, *_table(["branch", "mean AUROC", "fusion minus this"], rows)]


def _subgroups(results: EvaluationResults) -> list[str]:
    """Compares each subgroup with all other images."""
    if "regression" in results["metrics"][results["published"]]["test"]:
        return _numeric_subgroups(results)
    rows = [
        [
            f"{group['variable']}: {group['group']}",
            f"{group['n_images']:,} ({group['n_patients']:,})",
            *(_format_estimate(group["mean"]["auroc"][part]) for part in ("group", "difference")),
        ]
        for group in results.get("subgroups", [])
        if group["mean"]
    ]
    if not rows:
        return []
    sentence = f"Measured on {results['judged_on']}."
    if results["judged_on"] == "validation":
        sentence += " Epoch and thresholds were selected on these images, so these results are optimistic."
    return [sentence, *_table(["group", "images (patients)", "mean AUROC", "difference from the rest"], rows)]


def _epoch_selection(settings: Facts, spec: ModelSpec) -> str:
    monitor = settings.get("train_monitor", AUTO_MONITOR)
    if monitor == AUTO_MONITOR and spec.is_numeric:
        return "highest mean R² on validation"
    return EPOCH_SELECTION[monitor]


def _flag(results: EvaluationResults) -> list[str]:
    """Describes the out-of-distribution flag and its false alarms; empty if the version has none."""
    flag = results.get("out_of_distribution")
    if not flag:
        return []
    test = flag["splits"]["test"]
    sentence = (
        f"Flagged are images whose features are farther from those of training than the {flag['percentile']:g}th "
        f"percentile of the validation images (distance {flag['threshold']:.4g}). False alarms on test: "
        f"{test['flagged']:,} of {test['n_images']:,} images from {test['n_patients']:,} patients, "
        f"{_format_estimate(test['rate'])}."
    )
    return [sentence]


def _numeric_subgroups(results: EvaluationResults) -> list[str]:
    rows = [
        [
            f"{group['variable']}: {group['group']}",
            f"{group['n_images']:,} ({group['n_patients']:,})",
            target,
            *(with_interval(contrasts["mae"][part]) for part in ("group", "difference")),
        ]
        for group in results["subgroups"]
        for target, contrasts in group.get("targets", {}).items()
    ]
    header = ["group", "images (patients)", "target", "mean absolute error", "difference from the rest"]
    return [f"Measured on {results['judged_on']}.", *_table(header, rows)] if rows else []


def _caveats(results: EvaluationResults) -> list[str]:
    """Lists the limitations of the data and the warnings of the report: shortcuts and drift."""
    return [f"- {plain_text(note)}" for note in [*results.get("data", {}).get("notes", []), *results["warnings"]]]


def _decision(gate: GateDecision) -> list[str]:
    outcome = "Approved for promotion" if gate["promote"] else "Not promoted"
    return [f"{outcome}:", "", *(f"- {plain_text(reason)}" for reason in gate["reasons"])]


def _format_estimate(estimate: Estimate) -> str:
    if estimate["value"] is None:
        return "not estimable"
    method = f", {estimate['method']}" if "method" in estimate else ""
    interval = "" if estimate["low"] is None else f" ({estimate['low']:.3f} to {estimate['high']:.3f}{method})"
    return f"{estimate['value']:.3f}{interval}"


def _items(facts: Mapping[str, object]) -> list[str]:
    return [f"- {name}: {plain_text(value)}" for name, value in facts.items() if value]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    header_line, *row_lines = (f"| {' | '.join(map(plain_text, row))} |" for row in (header, *rows))
    return ["", header_line, f"|{'---|' * len(header)}", *row_lines]
