"""One group of parsers in a process of its own, which may die: `python -m tests.fuzz.fuzz GROUP [PARSER ...]`.

Prints a line of JSON a parser: inputs tried, accepted and refused, and how the law was broken, if it was. An input that
broke it is left in the folder.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import NoReturn

import click
import hypothesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.fuzz.contract import CANARY, LONGEST, BrokenError, Parser, Watch
from tests.fuzz.mutations import mutated

AT_ONCE = 200  # inputs of one seed
LAST = "last-input"  # what a process that died was at


class Trial:
    """A parser under watch, and what became of its inputs so far."""

    def __init__(self, name: str, parser: Parser, watch: Watch, folder: Path, seconds: float) -> None:
        self.name, self.parser, self.watch, self.folder = name, parser, watch, folder
        self.counts, self.broken, self.end = {True: 0, False: 0}, "", time.monotonic() + seconds

    def look(self, content: bytes) -> None:
        """Has the parser read one file, unless it has broken the law already."""
        if self.broken:
            return
        empty(self.watch.folder)
        (self.folder / LAST).write_bytes(content)
        try:
            self.counts[self.watch.examine(self.parser, content)] += 1
        except BrokenError as error:
            self.broken = str(error)
            shutil.copy(self.folder / LAST, self.folder / f"{self.name}.broken")

    def over(self) -> bool:
        """Whether the time is up, or the law was broken."""
        return bool(self.broken) or time.monotonic() > self.end

    def tell(self) -> None:
        """Prints what became of the inputs."""
        accepted, refused = self.counts[True], self.counts[False]
        told = {"parser": self.name, "tried": accepted + refused + bool(self.broken), "accepted": accepted}
        click.echo(json.dumps(told | {"refused": refused, "broken": self.broken}))


def blind(trial: Trial, seed: int) -> None:
    """Tries what hypothesis draws, AT_ONCE of each seed, until the trial is over, but of one seed at least."""
    for each in itertools.count(seed):
        run = given(mutated(trial.parser.seeds))(trial.look)
        hypothesis.seed(each)(settings(**PROFILE)(run))()
        if trial.over():
            break
    trial.tell()


def guided(trial: Trial, seed: int) -> NoReturn:
    """Tries what libFuzzer makes of valid files and of those that led to lines not reached before; ends the process.

    The first byte of what it makes says of which kind the others are.
    """
    import atheris

    kinds, corpus = trial.parser.seeds, empty(trial.folder / "corpus")
    for kind, place in enumerate(kinds):
        for number, content in enumerate(place.files):
            (corpus / f"{kind}-{number}").write_bytes(bytes([kind]) + content)

    def once(made: bytes) -> None:
        trial.look(kinds[made[0] % len(kinds)].wrap(made[1:]) if made else b"")
        if trial.over():
            trial.tell()
            os._exit(0)

    # Of seed 0 libFuzzer would draw one by chance.
    own = (f"-seed={seed + 1}", f"-artifact_prefix={trial.folder}/", str(corpus))
    atheris.Setup([sys.argv[0], *LIBFUZZER, *own], once)
    atheris.Fuzz()
    raise AssertionError("libFuzzer does not return")


def empty(folder: Path) -> Path:
    """The folder, with nothing in it."""
    if not folder.is_dir() or any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return folder


PROFILE = {
    "max_examples": AT_ONCE,
    "database": None,
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
# The law bounds memory and time: no limits of libFuzzer's own (a time of 0 is a second).
LIBFUZZER = ("-rss_limit_mb=0", "-timeout=86400", "-handle_segv=0")
INSTRUMENTED = ["radiograft", "radiograft_pipelines", "pydicom", "tests.fuzz.broken"]  # whose lines count as reached


@click.command()
@click.argument("group")
@click.argument("only", nargs=-1)
@click.option("--seed", default=0, show_default=True)
@click.option("--longest", default=float(LONGEST), show_default=True, help="Seconds for one input.")
@click.option("--seconds", default=0.0, help="For each parser; without --by-coverage 200 inputs at least.")
@click.option("--by-coverage", is_flag=True, help="Has libFuzzer make the inputs, for one parser.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=None, help="Where inputs are kept that break the law."
)
def main(
    group: str,
    only: tuple[str, ...],
    seed: int,
    seconds: float,
    longest: float,
    by_coverage: bool,
    folder: Path | None,
) -> None:
    """Tries the parsers of tests/fuzz/GROUP.py."""
    warnings.simplefilter("ignore")
    logging.disable()
    place = (folder or Path(tempfile.mkdtemp(prefix="hostile-"))).absolute()
    place.mkdir(parents=True, exist_ok=True)
    (place / CANARY).write_text("nobody reads this")
    parsers = load(group, by_coverage)
    for parser in parsers.values():  # what is imported and cached at first is not counted
        parser.read(parser.seeds[0].wrap(parser.seeds[0].files[0]), empty(place / "in"))
    watch = Watch(place / "in", longest)
    attempt = guided if by_coverage else blind
    for name in only or parsers:
        attempt(Trial(name, parsers[name], watch, place, seconds), seed)


def load(group: str, by_coverage: bool) -> dict[str, Parser]:
    """A group's parsers; libFuzzer is told which lines they reach, if that is asked for."""
    with contextlib.ExitStack() as stack:
        if by_coverage:
            import atheris

            stack.enter_context(atheris.instrument_imports(include=INSTRUMENTED))
        parsers: dict[str, Parser] = importlib.import_module(f"tests.fuzz.{group}").PARSERS
    return parsers


if __name__ == "__main__":
    main()
