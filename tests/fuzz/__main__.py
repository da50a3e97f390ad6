"""Fuzzes all parsers for a given time: `python -m tests.fuzz --minutes N`.

Half of the time goes to inputs drawn by hypothesis, half to libFuzzer, which mutates inputs that reach new lines. The
counts are written to runs/fuzz/latest.json.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from typing import Any

import click

from tests.fuzz.test_parsers import PARSERS
from tests.repository import ROOT

LATEST = ROOT / "runs" / "fuzz" / "latest.json"
ENGINES = {"hypothesis": [], "libFuzzer": ["--by-coverage"]}


def fuzz_parser(engine: str, group: str, parser: str, seed: int, seconds: float) -> dict[str, Any]:
    """Fuzzes a parser in a separate process and returns its counts."""
    folder = LATEST.parent / "inputs" / engine / parser
    command = [sys.executable, "-m", "tests.fuzz.fuzz", group, parser, "--folder", str(folder)]
    command += ["--seed", str(seed), "--seconds", str(seconds), *ENGINES[engine]]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        return {"engine": engine, "parser": parser, "broken": f"died ({result.returncode}): {result.stderr[-2000:]}"}
    return {"engine": engine, **json.loads(result.stdout)}


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True)
@click.option("--seed", type=int, default=None, help="Random unless given.")
def main(minutes: float, seed: int | None) -> None:
    """Fuzzes every parser; exits with code 1 if one violated the contract."""
    seed = random.randrange(2**31) if seed is None else seed
    pairs = [(group, parser) for group, parsers in PARSERS.items() for parser in parsers]
    seconds = 60 * minutes / len(pairs) / len(ENGINES)
    tallies = []
    for (group, parser), engine in itertools.product(pairs, ENGINES):
        tallies.append(fuzz_parser(engine, group, parser, seed, seconds))
        click.echo(json.dumps(tallies[-1]))
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"seed": seed, "minutes": minutes, "parsers": tallies}, indent=2))
    violating = [tally["parser"] for tally in tallies if tally["broken"]]
    for engine in ENGINES:
        inputs = sum(tally.get("tried", 0) for tally in tallies if tally["engine"] == engine)
        click.echo(f"{inputs:,} inputs from {engine} with seed {seed}")
    click.echo(f"contract violations: {', '.join(violating) or 'none'}")
    raise SystemExit(bool(violating))


if __name__ == "__main__":
    main()
