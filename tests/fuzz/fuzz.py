"""Fuzzes a group of parsers in this process, which may die: `python -m tests.fuzz.fuzz GROUP [PARSER ...]`.

Prints a line of JSON per parser: the number of inputs tried, accepted and refused, and the contract violation, if any.
The input that violated the contract is kept in the folder.
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

from tests.fuzz.contract import CANARY, MAX_SECONDS, ContractMonitor, ContractViolationError, Parser
from tests.fuzz.mutations import mutated

EXAMPLES_PER_SEED = 200
LAST_INPUT = "last-input"  # file with the current input, for processes that die


class FuzzRun:
    """The inputs tried on one parser so far, and their outcomes."""

    def __init__(self, name: str, parser: Parser, monitor: ContractMonitor, folder: Path, seconds: float) -> None:
        self.name, self.parser, self.monitor, self.folder = name, parser, monitor, folder
        self.counts, self.violation, self.end = {True: 0, False: 0}, "", time.monotonic() + seconds

    def try_input(self, content: bytes) -> None:
        """Parses one input, unless the contract has already been violated."""
        if self.violation:
            return
        empty_folder(self.monitor.folder)
        (self.folder / LAST_INPUT).write_bytes(content)
        try:
            self.counts[self.monitor.check(self.parser, content)] += 1
        except ContractViolationError as error:
            self.violation = str(error)
            shutil.copy(self.folder / LAST_INPUT, self.folder / f"{self.name}.broken")

    def is_over(self) -> bool:
        """Returns whether the time is up or the contract was violated."""
        return bool(self.violation) or time.monotonic() > self.end

    def print_tally(self) -> None:
        """Prints the counts as a line of JSON."""
        accepted, refused = self.counts[True], self.counts[False]
        tried = accepted + refused + bool(self.violation)
        tally = {"parser": self.name, "tried": tried, "accepted": accepted, "refused": refused}
        click.echo(json.dumps(tally | {"broken": self.violation}))


def fuzz_with_hypothesis(run: FuzzRun, seed: int) -> None:
    """Tries EXAMPLES_PER_SEED inputs drawn by hypothesis for one seed after the other, until the run is over."""
    for current_seed in itertools.count(seed):
        test = given(mutated(run.parser.seeds))(run.try_input)
        hypothesis.seed(current_seed)(settings(**PROFILE)(test))()
        if run.is_over():
            break
    run.print_tally()


def fuzz_with_libfuzzer(run: FuzzRun, seed: int) -> NoReturn:
    """Tries inputs that libFuzzer mutates to reach new lines, then ends the process.

    The first byte of each input selects the kind of seeds that wraps the other bytes.
    """
    import atheris

    kinds, corpus = run.parser.seeds, empty_folder(run.folder / "corpus")
    for kind, seeds in enumerate(kinds):
        for number, content in enumerate(seeds.files):
            (corpus / f"{kind}-{number}").write_bytes(bytes([kind]) + content)

    def try_once(data: bytes) -> None:
        run.try_input(kinds[data[0] % len(kinds)].wrap(data[1:]) if data else b"")
        if run.is_over():
            run.print_tally()
            os._exit(0)

    # libFuzzer replaces seed 0 by a random one.
    options = (f"-seed={seed + 1}", f"-artifact_prefix={run.folder}/", str(corpus))
    atheris.Setup([sys.argv[0], *LIBFUZZER, *options], try_once)
    atheris.Fuzz()
    raise AssertionError("libFuzzer does not return")


def empty_folder(folder: Path) -> Path:
    """Empties or creates the folder and returns it."""
    if not folder.is_dir() or any(folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
    return folder


PROFILE = {
    "max_examples": EXAMPLES_PER_SEED,
    "database": None,
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
# The contract bounds memory and time, so libFuzzer's own limits are disabled (a timeout of 0 means one second).
LIBFUZZER = ("-rss_limit_mb=0", "-timeout=86400", "-handle_segv=0")
INSTRUMENTED = [
    "radiograft",
    "radiograft_pipelines",
    "pydicom",
    "tests.fuzz.broken",
]  # modules whose coverage guides libFuzzer


@click.command()
@click.argument("group")
@click.argument("only", nargs=-1)
@click.option("--seed", default=0, show_default=True)
@click.option("--max-seconds", default=float(MAX_SECONDS), show_default=True, help="Time limit for one input.")
@click.option(
    "--seconds", default=0.0, help="Duration for each parser; without --by-coverage at least 200 inputs are tried."
)
@click.option("--by-coverage", is_flag=True, help="Generate inputs with libFuzzer; for one parser only.")
@click.option(
    "--folder", type=click.Path(path_type=Path), default=None, help="Folder for inputs that violate the contract."
)
def main(
    group: str,
    only: tuple[str, ...],
    seed: int,
    seconds: float,
    max_seconds: float,
    by_coverage: bool,
    folder: Path | None,
) -> None:
    """Fuzzes the parsers of tests/fuzz/GROUP.py."""
    warnings.simplefilter("ignore")
    logging.disable()
    folder = (folder or Path(tempfile.mkdtemp(prefix="fuzz-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CANARY).write_text("nobody reads this")
    parsers = load_parsers(group, by_coverage)
    for parser in parsers.values():  # memory of first imports and caches does not count
        parser.read(parser.seeds[0].wrap(parser.seeds[0].files[0]), empty_folder(folder / "in"))
    monitor = ContractMonitor(folder / "in", max_seconds)
    fuzz = fuzz_with_libfuzzer if by_coverage else fuzz_with_hypothesis
    for name in only or parsers:
        fuzz(FuzzRun(name, parsers[name], monitor, folder, seconds), seed)


def load_parsers(group: str, by_coverage: bool) -> dict[str, Parser]:
    """Imports a group of parsers, instrumented for libFuzzer if `by_coverage` is set."""
    with contextlib.ExitStack() as stack:
        if by_coverage:
            import atheris

            stack.enter_context(atheris.instrument_imports(include=INSTRUMENTED))
        parsers: dict[str, Parser] = importlib.import_module(f"tests.fuzz.{group}").PARSERS
    return parsers


if __name__ == "__main__":
    main()
