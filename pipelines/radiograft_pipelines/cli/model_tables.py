"""Terminal tables of model versions: the list, one version in full, two compared, and predictions."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import RenderableType
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from radiograft.registry.external import ExternalRecord
from radiograft.registry.model_registry import Registration
from radiograft.registry.production import Production
from radiograft.registry.result_types import Estimate, SplitMetrics
from radiograft.registry.results import EvaluationResults
from radiograft_pipelines.cli.console import SafeConsole, format_interval

FINGERPRINT_DIGITS = 12  # of 64, enough to distinguish datasets
FILE_WIDTH = 160  # columns, if the output is not a terminal
METRICS = {
    "auroc": "AUROC",
    "average_precision": "AP",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "f1": "F1",
    "brier": "Brier score",
}


TARGET_METRICS = {
    "mae": "MAE",
    "baseline_mae": "MAE of always predicting the median of training",
    "rmse": "RMSE",
    "r2": "R²",
    "mean_error": "mean error",
}


class VersionRecord(NamedTuple):
    """The metadata of a version, and whether it is registered in a Kubeflow Model Registry."""

    manifest: Mapping[str, Any]
    results: EvaluationResults
    lineage: Mapping[str, Any]
    registered: bool

    @property
    def number(self) -> int:
        return int(self.manifest["version"])

    def split_metrics(self, split: str) -> SplitMetrics:
        """Returns the metrics of the published strategy on a split."""
        return self.results["metrics"][self.results["published"]][split]

    def formatted_metrics(self) -> dict[str, str]:
        """Returns all metrics with their confidence intervals by name: the means, then each label's."""
        formatted = {}
        for split in ("validation", "test"):
            metrics = self.split_metrics(split)
            formatted[f"{split}: images (patients)"] = f"{metrics['n_images']} ({metrics['n_patients']})"
            formatted |= {f"{split}: {name}": value for name, value in _format_classes(metrics).items()}
            if "regression" in metrics:
                formatted |= {f"{split}: {name}": value for name, value in _format_targets(metrics).items()}
                continue
            groups: dict[str, Mapping[str, Any]] = {"mean": metrics["mean"], **metrics["labels"]}
            for group, values in groups.items():
                formatted |= {
                    f"{split}: {group} {name}": _interval(values[key])
                    for key, name in METRICS.items()
                    if not ("classes" in metrics and (group, key) == ("mean", "accuracy"))  # not that of the classes
                }
        return formatted


class GeneratorRecord(NamedTuple):
    """The metadata of a generator of super-resolution: manifest, metrics, lineage and specification."""

    manifest: Mapping[str, Any]
    results: Mapping[str, Any]
    lineage: Mapping[str, Any]
    spec: Mapping[str, Any]


def print_generators(versions: Iterable[GeneratorRecord]) -> None:
    """Prints one line per generator of super-resolution, the newest last."""
    table = _table("version", "kind", "created (UTC)", "pixels", "test PSNR (95%)", "over bicubic", "patients", "data")
    for manifest, results, lineage, spec in versions:
        with _metadata_errors(int(manifest["version"])):
            psnr = results["metrics"]["psnr"]
            _add_row(
                table,
                manifest["version"],
                "super-resolution",
                manifest["created"][:16].replace("T", " "),
                f"{spec['image_size'] // spec['scale']} to {spec['image_size']}",
                _interval(psnr["ours"]["mean"]),
                _interval(psnr["bicubic"]["difference"]),
                results["n_patients"],
                lineage["fingerprint"][:FINGERPRINT_DIGITS],
            )
    _print(table)


def print_versions(versions: Iterable[VersionRecord], current: Production | None) -> None:
    """Prints one line per version, the newest last."""
    versions = list(versions)
    numeric = [_is_numeric(version) for version in versions]
    metric = "R²" if all(numeric) and numeric else "AUROC or R²" if any(numeric) else "AUROC"
    table = _table("version", "", "created (UTC)", f"test {metric} (95%)", "patients", "gate", "data", "registered")
    for version in versions:
        with _metadata_errors(version.number):
            _add_row(table, *_version_row(version, current))
    _print(table)


def _is_numeric(version: VersionRecord) -> bool:
    with _metadata_errors(version.number):
        return "regression" in version.split_metrics("test")


def _version_row(version: VersionRecord, current: Production | None) -> list[object]:
    test = version.split_metrics("test")
    return [
        version.number,
        "production" if current and version.number == current.version else "",
        version.manifest["created"][:16].replace("T", " "),
        _interval(test["regression"]["r2"] if "regression" in test else test["mean"]["auroc"]),
        test["n_patients"],
        _gate(version),
        version.lineage["fingerprint"][:FINGERPRINT_DIGITS],
        "yes" if version.registered else "",
    ]


@contextlib.contextmanager
def _metadata_errors(*numbers: int) -> Iterator[None]:
    """Reports missing or mistyped metadata as a `ValueError` that names the versions."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"metadata of version {' or '.join(map(str, numbers))} is malformed (manifest.json, metrics.json or "
            f"lineage.json): {error!r}"
        ) from error


def print_version(
    manifest: Mapping[str, Any],
    card: str,
    current: Production | None,
    registration: Registration | None,
    records: Sequence[ExternalRecord] = (),
) -> None:
    """Prints the model card, promotion history, link in the Model Registry, files and external evaluations."""
    _print(Markdown(card))
    number = manifest["version"]
    changes = [change for change in current.history if change.version == number] if current else []
    status = "in production" if current and current.version == number else "not in production"
    _print(Text(f"\nversion {number}, {status}", style="bold"))
    for change in changes:
        by = f" by run {change.run_id}" if change.run_id else ""
        _print(Text(f"{change.time} {'rolled back to' if change.rollback else 'promoted'}{by}: {change.reason}"))
    if registration:
        _print(Text(f"registered: {registration.link}"))
    table = _table("file", "bytes", "SHA-256")
    with _metadata_errors(number):
        for name, check in manifest["files"].items():
            _add_row(table, name, f"{check['bytes']:,}", check["sha256"])
    _print(table)
    if records:
        _print_external(records)


def _print_external(records: Sequence[ExternalRecord]) -> None:
    _print(Text("\nexternal evaluations", style="bold"))
    table = _table("set", "created (UTC)", "AUROC (95%)", "internal test", "loss", "images (patients)", "labels")
    for record in records:
        aurocs = map(_interval, (record.auroc, record.internal, record.loss))
        count = f"{record.n_images} ({record.n_patients})"
        _add_row(table, record.name, record.created[:16].replace("T", " "), *aurocs, count, ", ".join(record.labels))
    _print(table)


def print_difference(one: VersionRecord, other: VersionRecord) -> None:
    """Prints settings, data and code that differ, then all metrics of both versions."""
    table = _table("", f"version {one.number}", f"version {other.number}")
    with _metadata_errors(one.number, other.number):
        for name, before, after in _pairs(_origin(one), _origin(other)):
            if before != after:
                _add_row(table, name, before, after)
        if not table.row_count:
            _add_row(table, "settings, data and code", "equal", "equal")
        for name, before, after in _pairs(one.formatted_metrics(), other.formatted_metrics()):
            _add_row(table, name, before, after)
    _print(table)


def print_predictions(
    path: Path, predictions: Sequence[Any], heat_maps: Mapping[str, Path], predicted_class: str | None = None
) -> None:
    """Prints the predictions for one image.

    Args:
        predictions: One `radiograft.serving.predictions.Prediction` per label.
        heat_maps: Paths of the heat maps by label.
        predicted_class: Of exclusive classes, which are printed in the order of their probabilities.
    """
    if predicted_class is not None:
        _print(Text(f"{path}: {predicted_class}", style="bold"))
        table = _table("class", "probability", "heat map")
        for each in sorted(predictions, key=lambda prediction: -prediction.probability):
            _add_row(table, each.label, f"{each.probability:.4f}", heat_maps.get(each.label, ""))
        _print(table)
        return
    _print(Text(str(path), style="bold"))
    table = _table("label", "probability", "threshold", "call", "heat map")
    for prediction in predictions:
        call = {None: "no threshold", True: "present", False: "absent"}[prediction.positive]
        threshold = "-" if prediction.threshold is None else f"{prediction.threshold:.4f}"
        heat_map = heat_maps.get(prediction.label, "")
        _add_row(table, prediction.label, f"{prediction.probability:.4f}", threshold, call, heat_map)
    _print(table)


def print_screenings(screenings: Sequence[Any], threshold: float) -> None:
    """Prints how many images of each `radiograft.serving.screening.Screening` are flagged."""
    table = _table("path", "images", "flagged", "fraction (95%)", "median distance", "unreadable")
    for each in screenings:
        median = f"{statistics.median(each.distances):.2f}" if each.distances else None
        _add_row(table, each.path, len(each.flags), sum(each.flags), _interval(each.rate), median, each.unreadable)
    _print(table)
    _print(Text(f"flagged above the distance {threshold:.2f}"))


def print_values(path: Path, values: Sequence[Any], heat_maps: Mapping[str, Path]) -> None:
    """Prints the predicted numbers for one image.

    Args:
        values: One `radiograft.serving.predictions.TargetValue` per target.
        heat_maps: Paths of the heat maps by target.
    """
    _print(Text(str(path), style="bold"))
    table = _table("target", "value", "heat map")
    for each in values:
        _add_row(table, each.label, f"{each.value:.6g}", heat_maps[each.label])
    _print(table)


def _format_targets(metrics: SplitMetrics) -> dict[str, str]:
    """Returns the metrics of numbers by name."""
    return {
        f"{target} {name}": _interval(values[key])  # type: ignore[literal-required]
        for target, values in metrics["regression"]["targets"].items()
        for key, name in TARGET_METRICS.items()
    }


def _format_classes(metrics: SplitMetrics) -> dict[str, str]:
    """Returns the metrics of exclusive classes with their baselines by name; empty for independent labels."""
    if "classes" not in metrics:
        return {}
    classes = metrics["classes"]
    baseline = f"accuracy of always predicting {classes['majority_class']}"
    estimates = {
        "accuracy": classes["accuracy"],
        baseline: classes["majority_accuracy"],
        "balanced accuracy": classes["balanced_accuracy"],
        "kappa": classes["kappa"],
        "Brier score": classes["brier"],
        "log loss": classes["log_loss"],
    }
    return {f"classes {name}": _interval(estimate) for name, estimate in estimates.items() if estimate}


def _origin(version: VersionRecord) -> dict[str, Any]:
    """Returns the settings, data, code and packages of a version by name."""
    lineage = version.lineage
    splits = version.results["data"]["splits"]
    return {
        **{f"setting {name}": value for name, value in lineage["settings"].items()},
        "data source": lineage["source"],
        "data fingerprint": lineage["fingerprint"],
        **{f"{name}: images": split["pictures"] for name, split in splits.items()},
        **{f"code {name}": value for name, value in lineage["code"].items()},
        **{f"package {name}": value for name, value in lineage["packages"].items()},
        "image": lineage["image"],
        "parent": lineage["parent"],
        "gate": f"{_gate(version)}: {'; '.join(version.results['gate']['reasons'])}",
    }


def _gate(version: VersionRecord) -> str:
    return "passed" if version.results["gate"]["promote"] else "failed"


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    names = dict.fromkeys(itertools.chain(one, other))
    return ((name, one.get(name), other.get(name)) for name in names)


def _interval(estimate: Estimate) -> str:
    return format_interval(estimate["value"], estimate["low"], estimate["high"])


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")  # never truncated: checksums must be complete
    return table


def _add_row(table: Table, *cells: object) -> None:
    # `Text` does not interpret markup in names from outside.
    table.add_row(*(Text("-" if cell is None else str(cell)) for cell in cells))


def _print(renderable: RenderableType) -> None:
    SafeConsole(width=None if sys.stdout.isatty() else FILE_WIDTH).print(renderable)
