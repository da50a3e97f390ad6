"""The long form: `python -m tests.hostile --minutes N` shares the time among all parsers and keeps the counts."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from tests.hostile.law import ROOT
from tests.hostile.test_parsers import PARSERS

LATEST = ROOT / "runs" / "fuzz" / "latest.json"


def tally(group: str, parser: str, seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """A parser's counts, from a process of its own."""
    command = [sys.executable, "-m", "tests.hostile.fuzz", group, parser, "--folder", str(folder / parser)]
    command += ["--seed", str(seed), "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"parser": parser, "broken": f"died ({done.returncode}): {done.stderr[-2000:]}"}
    return dict(json.loads(done.stdout))


@click.command()
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--seed", type=int, default=None, help="By chance unless given.")
def main(minutes: float, seed: int | None) -> None:
    """Tries hostile files on every parser; exit code 1 if one broke the law."""
    seed = random.randrange(2**31) if seed is None else seed
    seconds = 60 * minutes / sum(map(len, PARSERS.values()))
    found = []
    for group, parsers in PARSERS.items():
        for parser in parsers:
            found.append(tally(group, parser, seed, seconds, LATEST.parent / "inputs"))
            click.echo(json.dumps(found[-1]))
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    LATEST.write_text(json.dumps({"seed": seed, "minutes": minutes, "parsers": found}, indent=2))
    broken = [each["parser"] for each in found if each["broken"]]
    inputs = sum(each.get("tried", 0) for each in found)
    click.echo(f"{inputs:,} inputs tried with seed {seed}; broke the law: {', '.join(broken) or 'none'}")
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
