"""The long form: `python -m tests.fuzz --minutes N` shares the time among all parsers, half of it with inputs that
hypothesis draws and half with what libFuzzer makes of those that reach new lines, and keeps the counts."""

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


def tally(engine: str, group: str, parser: str, seed: int, seconds: float) -> dict[str, Any]:
    """A parser's counts, from a process of its own."""
    folder = LATEST.parent / "inputs" / engine / parser
    command = [sys.executable, "-m", "tests.fuzz.fuzz", group, parser, "--folder", str(folder)]
    command += ["--seed", str(seed), "--seconds", str(seconds), *ENGINES[engine]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"engine": engine, "parser": parser, "broken": f"died ({done.returncode}): {done.stderr[-2000:]}"}
    return {"engine": engine, **json.loads(done.stdout)}


@click.command()
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True)
@click.option("--seed", type=int, default=None, help="By chance unless given.")
def main(minutes: float, seed: int | None) -> None:
    """Tries hostile files on every parser; exit code 1 if one broke the law."""
    seed = random.randrange(2**31) if seed is None else seed
    pairs = [(group, parser) for group, parsers in PARSERS.items() for parser in parsers]
    seconds = 60 * minutes / len(pairs) / len(ENGINES)
    found = []
    for (group, parser), engine in itertools.product(pairs, ENGINES):
        found.append(tally(engine, group, parser, seed, seconds))
        click.echo(json.dumps(found[-1]))
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"seed": seed, "minutes": minutes, "parsers": found}, indent=2))
    broken = [each["parser"] for each in found if each["broken"]]
    for engine in ENGINES:
        inputs = sum(each.get("tried", 0) for each in found if each["engine"] == engine)
        click.echo(f"{inputs:,} inputs of {engine} tried with seed {seed}")
    click.echo(f"broke the law: {', '.join(broken) or 'none'}")
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
