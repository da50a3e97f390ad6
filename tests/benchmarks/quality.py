"""`python -m tests.benchmarks.quality --settings NAME --source DATA`: quality of whole runs over several seeds.

Prints a Markdown table with the mean and the standard deviation over the seeds, and the commit, processor and
instruction set, since results differ between processors.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from tests.benchmarks import machine
from tests.repository import ROOT

INSTRUCTION_SETS = ("amx_bf16", "amx_tile", "avx512_bf16", "avx512_vnni", "avx512f", "avx2")  # the best first
LIMIT = "ONEDNN_MAX_CPU_ISA"
COLUMNS = ("seed", "validation AUROC", "test AUROC", "test accuracy", "majority-class baseline")


@click.command()
@click.option("--settings", required=True, help="Settings file or preset.")
@click.option("--source", required=True, help="Data source.")
@click.option("--seeds", default="0,1,2,3,4", show_default=True, help="Seeds, separated by commas.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Overrides a setting; repeatable.")
def main(settings: str, source: str, seeds: str, assignments: tuple[str, ...]) -> None:
    """Runs the settings once for each seed and prints the table. Test is evaluated after all settings are chosen."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="radiograft-quality-") as folder:
        for seed in map(int, seeds.split(",")):
            rows.append({"seed": seed, **_run(settings, source, seed, assignments, Path(folder))})
            click.echo(json.dumps(rows[-1]), err=True)
    click.echo("\n".join(table(rows)))
    click.echo(f"\n{conditions()}")


def _run(settings: str, source: str, seed: int, assignments: Sequence[str], out: Path) -> dict[str, Any]:
    """Returns the fine-tuned model's metrics on validation and test."""
    script = Path(sys.executable).with_name("radiograft")
    overrides = [f"source={source}", f"seed={seed}", *assignments]
    options = [option for override in overrides for option in ("--set", override)]
    command = [script, "run", "--settings", settings, *options, "--out", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return dict(json.loads((out / "latest" / "summary.json").read_text())["metrics"])


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the lines of a Markdown table: a row a seed, and the mean with the standard deviation over the seeds.

    Args:
        rows: `seed`, and the flat metrics of `validation` and `test`, as summary.json has them.
    """
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for row in rows:
        cells = [
            _with_interval(row["validation"], "auroc"),
            _with_interval(row["test"], "auroc"),
            _with_interval(row["test"], "accuracy"),
        ]
        lines.append(f"| {row['seed']} | {' | '.join(cells)} | {row['test']['majority_accuracy']:.3f} |")
    columns = (("validation", "auroc"), ("test", "auroc"), ("test", "accuracy"), ("test", "majority_accuracy"))
    spreads = [_spread([row[split][metric] for row in rows]) for split, metric in columns]
    lines.append(f"| mean ± standard deviation | {' | '.join(spreads)} |")
    sizes = (
        f"{rows[0][split]['n_images']} {split} images of {rows[0][split]['n_patients']} patients"
        for split in ("validation", "test")
    )
    return [*lines, "", f"{', '.join(sizes)} (seed {rows[0]['seed']}); 95% intervals from resampled patients."]


def _with_interval(metrics: Mapping[str, Any], name: str) -> str:
    low, high = metrics[f"{name}_interval"]
    if metrics[name] is None or low is None:
        return "not estimable"
    return f"{metrics[name]:.3f} ({low:.3f} to {high:.3f})"


def _spread(values: Sequence[float | None]) -> str:
    if None in values:
        return "not estimable"
    known = [value for value in values if value is not None]
    deviation = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.mean(known):.3f} ± {deviation:.3f}"


def conditions() -> str:
    """Returns the commit, the processor with its best instruction set, and the versions, as one line."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    about = machine.describe()
    names = ("cpu", "cores", "tensorflow", "keras")
    flags = set(re.findall(r"\w+", Path("/proc/cpuinfo").read_text()))
    best = next((name for name in INSTRUCTION_SETS if name in flags), "none of these: " + ", ".join(INSTRUCTION_SETS))
    limit = f", limited by {LIMIT}={os.environ[LIMIT]}" if LIMIT in os.environ else ""
    facts = ", ".join(f"{name} {about[name]}" for name in names if name in about)
    return f"commit {commit.stdout.strip()}, {facts}, instruction set {best}{limit}"


if __name__ == "__main__":
    main()
