"""How the versions of a registry are shown in a terminal: a list, one in full, two side by side, and answers."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from radiograft.registry.production import Production
from radiograft_pipelines.cli.console import SafeConsole, format_interval

FINGERPRINT_LETTERS = 12  # of 64 tell data sets apart at a glance
FILE_WIDTH = 160  # columns where there is no terminal to ask
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


class VersionRecord(NamedTuple):
    """What a version says about itself."""

    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]

    @property
    def number(self) -> int:
        return int(self.manifest["version"])

    def measured(self, split: str) -> Mapping[str, Any]:
        """The published strategy's figures."""
        found: Mapping[str, Any] = self.metrics["metrics"][self.metrics["published"]][split]
        return found

    def figures(self) -> dict[str, str]:
        """Every figure with its interval, mean and label by label."""
        found = {}
        for split in ("validation", "test"):
            measured = self.measured(split)
            found[f"{split}: images (patients)"] = f"{measured['n_images']} ({measured['n_patients']})"
            for group, figures in [("mean", measured["mean"]), *measured["labels"].items()]:
                found |= {f"{split}: {group} {name}": _interval(figures[key]) for key, name in METRICS.items()}
        return found


def print_versions(versions: Iterable[VersionRecord], current: Production | None) -> None:
    """One line a version, the newest last."""
    table = _table("version", "", "created (UTC)", "test AUROC (95 %)", "patients", "gate", "data")
    for version in versions:
        with _as_published(version.number):
            _add(table, *_line(version, current))
    _print(table)


def _line(version: VersionRecord, current: Production | None) -> list[object]:
    test = version.measured("test")
    return [
        version.number,
        "production" if current and version.number == current.version else "",
        version.manifest["created"][:16].replace("T", " "),
        _interval(test["mean"]["auroc"]),
        test["n_patients"],
        _gate(version),
        version.lineage["fingerprint"][:FINGERPRINT_LETTERS],
    ]


@contextlib.contextmanager
def _as_published(*numbers: int) -> Iterator[None]:
    """Tells which versions say of themselves something else than publish writes, where that shows."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"version {' or '.join(map(str, numbers))} must tell of itself in manifest.json, metrics.json and "
            f"lineage.json what publish writes there, got something else: {error!r}"
        ) from error


def print_version(manifest: Mapping[str, Any], card: str, current: Production | None) -> None:
    """The model card, when the version came into production, and its files."""
    _print(Markdown(card))
    number = manifest["version"]
    moves = [change for change in current.history if change.version == number] if current else []
    standing = "in production" if current and current.version == number else "not in production"
    _print(Text(f"\nversion {number}, {standing}", style="bold"))
    for change in moves:
        by = f" by run {change.run_id}" if change.run_id else ""
        _print(Text(f"{change.time} {'rolled back to' if change.rollback else 'promoted'}{by}: {change.reason}"))
    table = _table("file", "bytes", "SHA-256")
    with _as_published(number):
        for name, check in manifest["files"].items():
            _add(table, name, f"{check['bytes']:,}", check["sha256"])
    _print(table)


def print_difference(one: VersionRecord, other: VersionRecord) -> None:
    """Settings, data and code where they differ, then every figure of both."""
    table = _table("", f"version {one.number}", f"version {other.number}")
    with _as_published(one.number, other.number):
        for name, before, after in _pairs(_origin(one), _origin(other)):
            if before != after:
                _add(table, name, before, after)
        if not table.row_count:
            _add(table, "settings, data and code", "equal", "equal")
        for name, before, after in _pairs(one.figures(), other.figures()):
            _add(table, name, before, after)
    _print(table)


def print_predictions(path: Path, answers: Sequence[Any], maps: Mapping[str, Path]) -> None:
    """One image's probabilities (radiograft.serving.loaded_version.Prediction), calls and heat maps by label."""
    _print(Text(str(path), style="bold"))
    table = _table("label", "probability", "threshold", "call", "heat map")
    for answer in answers:
        call = {None: "no threshold", True: "present", False: "absent"}[answer.called]
        threshold = "-" if answer.threshold is None else f"{answer.threshold:.4f}"
        _add(table, answer.label, f"{answer.probability:.4f}", threshold, call, maps.get(answer.label, ""))
    _print(table)


def _origin(version: VersionRecord) -> dict[str, Any]:
    """Whatever may explain that two versions differ, by name."""
    lineage = version.lineage
    splits = version.metrics["data"]["splits"]
    return {
        **{f"setting {name}": value for name, value in lineage["settings"].items()},
        "data source": lineage["source"],
        "data fingerprint": lineage["fingerprint"],
        **{f"{name}: images": split["pictures"] for name, split in splits.items()},
        **{f"code {name}": value for name, value in lineage["code"].items()},
        **{f"package {name}": value for name, value in lineage["packages"].items()},
        "image": lineage["image"],
        "parent": lineage["parent"],
        "gate": f"{_gate(version)}: {'; '.join(version.metrics['gate']['reasons'])}",
    }


def _gate(version: VersionRecord) -> str:
    return "passed" if version.metrics["gate"]["promote"] else "refused"


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    names = dict.fromkeys(itertools.chain(one, other))
    return ((name, one.get(name), other.get(name)) for name in names)


def _interval(found: Mapping[str, Any]) -> str:
    return format_interval(found["value"], found["low"], found["high"])


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")  # a checksum that is cut off checks nothing
    return table


def _add(table: Table, *cells: object) -> None:
    table.add_row(*(Text("-" if cell is None else str(cell)) for cell in cells))  # Text: no markup in foreign names


def _print(what: Any) -> None:
    SafeConsole(width=None if sys.stdout.isatty() else FILE_WIDTH).print(what)
