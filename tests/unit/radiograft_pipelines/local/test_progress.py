"""Progress display of a local run: one line per task, its messages, and the error of the failed task."""

import contextlib
import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kfp import dsl, local
from rich.console import Console

from radiograft.stages.container_image import TRAINER_IMAGE
from radiograft_pipelines.local.progress import Progress, show_progress

# As kfp.local 2.17 prints it, with the colors of a terminal.
LOG = """\
02:58:20.480 - INFO - Executing task \x1b[96m'ingest'\x1b[0m
02:58:20.481 - INFO - Streamed logs:

    [KFP Executor 2026-11-23 02:58:20,540 INFO]: Got executor_input:
    {
        "inputs": {}
    }
    radiograft INFO | 128 images of 60 patients
    radiograft WARNING |   warning: [3 images] are [bold]odd[/bold]

02:58:21.100 - INFO - Task \x1b[96m'ingest'\x1b[0m finished with status \x1b[92mSUCCESS\x1b[0m
02:58:21.101 - INFO - Task \x1b[96m'ingest'\x1b[0m outputs:
    catalog: Dataset( name='catalog' )
--------------------------------------------------------------------------------
02:58:21.103 - INFO - Executing task \x1b[96m'extract-features'\x1b[0m
02:58:21.104 - INFO - Streamed logs:

    radiograft DEBUG | 1 of 30 epochs
    Traceback (most recent call last):
      File "files.py", line 1, in read
    KeyError: 'weights'

    The above exception was the direct cause of the following exception:

    Traceback (most recent call last):
      File "task.py", line 26, in run
        raise ValueError(
    ValueError: train_batch_size must be at most 58, got 64

02:58:25.000 - ERROR - Task \x1b[96m'extract-features'\x1b[0m finished with status \x1b[91mFAILURE\x1b[0m
--------------------------------------------------------------------------------
"""
SHOWN = """\
  128 images of 60 patients
    warning: [3 images] are [bold]odd[/bold]
✓ ingest  0.0 s
✗ extract-features  0.0 s
"""
ERROR = "ValueError: train_batch_size must be at most 58, got 64"


class Display:
    """A progress display that writes to memory."""

    def __init__(self) -> None:
        self.screen, self.log = io.StringIO(), io.StringIO()
        self.progress = Progress(Console(file=self.screen, width=100), self.log)

    def shown(self) -> str:
        return re.sub(r"\d+\.\d s", "0.0 s", self.screen.getvalue())


def test_progress_failed_run_shows_tasks_and_error() -> None:
    display = Display()
    display.progress.write(LOG)
    assert display.shown() == SHOWN
    assert display.progress.failure() == ERROR
    assert display.progress.failed == "extract-features"
    assert list(display.progress.seconds) == ["ingest", "extract_features"]
    assert display.log.getvalue() == LOG


@given(cuts=st.lists(st.integers(0, len(LOG)), max_size=20))
def test_progress_output_in_pieces_is_parsed(cuts: list[int]) -> None:
    display = Display()
    positions = [0, *sorted(cuts), len(LOG)]
    for start, end in itertools.pairwise(positions):
        assert display.progress.write(LOG[start:end]) == end - start
    assert display.shown() == SHOWN
    assert display.progress.failure() == ERROR


def test_failure_of_several_lines_is_complete() -> None:
    """Fails if only the first or last line of the message is returned, or also the frames."""
    display = Display()
    error = "ValueError: data_source must hold, one of\n  train_val_list.txt\ntest_list.txt"
    frames = 'Traceback (most recent call last):\n  File "task.py", line 1, in run\n    raise ValueError(\n'
    output = "".join(f"    {line}\n" for line in (frames + error).splitlines())
    display.progress.write(
        f"INFO - Executing task 'ingest'\n{output}INFO - Task 'ingest' finished with status FAILURE\n"
    )
    assert display.progress.failure() == error


def test_failure_of_killed_task_is_end_of_output() -> None:
    display = Display()
    display.progress.write("INFO - Executing task 'fine-tune'\n" + "    step\n" * 1000 + "    Killed\n")
    failure = display.progress.failure()
    assert failure.endswith("step\nKilled")
    assert len(failure) <= 2000


def test_failure_ignores_traceback_of_earlier_task() -> None:
    display = Display()
    display.progress.write(LOG.replace("FAILURE", "SUCCESS") + "INFO - Executing task 'evaluate'\n    Killed\n")
    assert display.progress.failure() == "Killed"


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def report() -> None:
    """Prints a progress message and a result."""
    print("radiograft DEBUG | 1 of 2 images", flush=True)
    print("radiograft INFO | 2 images", flush=True)


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def fail() -> None:
    """Fails."""
    raise ValueError("image_size must be a multiple of 32, got 250")


@dsl.pipeline
def report_and_fail() -> None:
    fail().after(report())


@pytest.fixture
def local_run(tmp_path: Path) -> Display:
    """Runs the pipeline above, as `radiograft run` does."""
    display = Display()
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    with show_progress(display.progress), pytest.raises(RuntimeError):
        report_and_fail()
    return display


@pytest.mark.filterwarnings("ignore")
def test_progress_real_run_is_parsed(local_run: Display) -> None:
    assert local_run.shown() == "  2 images\n✓ report  0.0 s\n✗ fail  0.0 s\n"
    assert local_run.progress.failure() == "ValueError: image_size must be a multiple of 32, got 250"
    assert local_run.log.getvalue().count("Traceback (most recent call last):") == 1
    assert set(local_run.progress.seconds) == {"report", "fail"}
    assert "1 of 2 images" in local_run.log.getvalue()


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def try_one(name: str) -> None:
    """Prints several lines; fails for `bad`."""
    import time

    for number in range(5):
        print(f"radiograft INFO | {name} {number}", flush=True)
        time.sleep(0.1)
    if name == "bad":
        raise ValueError("the bad one")


@dsl.pipeline
def try_some(names: list[str]) -> None:
    with dsl.ParallelFor(names, parallelism=2) as name:  # type: ignore[arg-type]
        try_one(name=name)


@pytest.fixture
def loop(tmp_path: Path) -> Callable[[list[str]], Display]:
    """Runs the loop above. Only the display shows a failure."""

    def run(names: list[str]) -> Display:
        display = Display()
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
        with show_progress(display.progress), contextlib.suppress(RuntimeError):
            try_some(names=names)
        return display

    return run


@pytest.mark.filterwarnings("ignore")
def test_progress_parallel_tasks_are_separated(loop: Callable[[list[str]], Display]) -> None:
    display = loop(["one", "two", "three"])
    lines = display.shown().splitlines()
    assert sorted(lines) == sorted(
        [f"  {name} {number}" for name in ("one", "two", "three") for number in range(5)] + ["✓ try-one  0.0 s"] * 3
    )
    assert list(display.progress.seconds) == ["try_one"]
    assert display.progress.seconds["try_one"] >= 1.5  # three tasks with five pauses each, although two ran in parallel


@pytest.mark.filterwarnings("ignore")
def test_progress_parallel_failure_names_failed_task(loop: Callable[[list[str]], Display]) -> None:
    display = loop(["bad", "one", "two"])
    assert display.progress.failure() == "ValueError: the bad one"
    assert display.progress.failed == "try-one"
    assert sorted(line[0] for line in display.shown().splitlines() if "try-one" in line) == ["✓", "✓", "✗"]
