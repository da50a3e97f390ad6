"""One group of parsers in a process of its own, which may die: `python -m tests.hostile.fuzz GROUP [PARSER ...]`.

Prints a line of JSON a parser: inputs tried, accepted and refused, and how the law was broken, if it was. An input that
broke it is left in the folder.
"""

from __future__ import annotations

import importlib
import json
import logging
import shutil
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import click
import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.hostile.law import CANARY, LONGEST, BrokenError, Parser, Watch
from tests.hostile.mutations import mutated

AT_ONCE = 200  # inputs of one seed
LAST = "last-input"  # what a process that died was at


class Tally(NamedTuple):
    """What became of a parser's inputs."""

    parser: str
    tried: int
    accepted: int
    refused: int
    broken: str


def try_parser(name: str, parser: Parser, watch: Watch, folder: Path, seeds: range, seconds: float) -> Tally:
    """Tries inputs, AT_ONCE of each seed, until the time is up, but of one seed at least."""
    counts, broken, end = {True: 0, False: 0}, "", time.monotonic() + seconds

    def look(content: bytes) -> None:
        nonlocal broken
        _empty(watch.folder)
        (folder / LAST).write_bytes(content)
        try:
            counts[not broken and watch.examine(parser, content)] += not broken
        except BrokenError as error:
            broken = str(error)
            shutil.copy(folder / LAST, folder / f"{name}.broken")

    for seed in seeds:
        run = given(mutated(parser.seeds))(look)
        hypothesis.seed(seed)(settings(**PROFILE)(run))()
        if broken or time.monotonic() > end:
            break
    return Tally(name, sum(counts.values()) + bool(broken), counts[True], counts[False], broken)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


PROFILE = {
    "max_examples": AT_ONCE,
    "database": None,
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}


@click.command()
@click.argument("group")
@click.argument("only", nargs=-1)
@click.option("--seed", default=0, show_default=True)
@click.option("--longest", default=float(LONGEST), show_default=True, help="Seconds for one input.")
@click.option("--seconds", default=0.0, help="For each parser; 200 inputs at least.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=None, help="Where inputs are kept that break the law."
)
def main(group: str, only: tuple[str, ...], seed: int, seconds: float, longest: float, folder: Path | None) -> None:
    """Tries the parsers of tests/hostile/GROUP.py."""
    warnings.simplefilter("ignore")
    logging.disable()
    place = (folder or Path(tempfile.mkdtemp(prefix="hostile-"))).absolute()
    place.mkdir(parents=True, exist_ok=True)
    (place / CANARY).write_text("nobody reads this")
    parsers: dict[str, Parser] = importlib.import_module(f"tests.hostile.{group}").PARSERS
    for parser in parsers.values():  # what is imported and cached at first is not counted
        _empty(place / "in")
        parser.read(parser.seeds[0].wrap(parser.seeds[0].files[0]), place / "in")
    watch = Watch(place / "in", longest)
    for name in only or parsers:
        tally = try_parser(name, parsers[name], watch, place, range(seed, seed + 10**6), seconds)
        click.echo(json.dumps(tally._asdict()))


if __name__ == "__main__":
    main()
