"""What a user sees of a local run: a line a stage, its messages, the error of the one that failed."""

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


class Watched:
    """A display that writes to memory."""

    def __init__(self) -> None:
        self.screen, self.log = io.StringIO(), io.StringIO()
        self.progress = Progress(Console(file=self.screen, width=100), self.log)

    def shown(self) -> str:
        return re.sub(r"\d+\.\d s", "0.0 s", self.screen.getvalue())


def test_a_run_that_fails() -> None:
    watched = Watched()
    watched.progress.write(LOG)
    assert watched.shown() == SHOWN
    assert watched.progress.failure() == ERROR
    assert watched.progress.failed == "extract-features"
    assert list(watched.progress.seconds) == ["ingest", "extract_features"]
    assert watched.log.getvalue() == LOG


@given(cuts=st.lists(st.integers(0, len(LOG)), max_size=20))
def test_text_may_come_in_any_pieces(cuts: list[int]) -> None:
    watched = Watched()
    places = [0, *sorted(cuts), len(LOG)]
    for start, end in itertools.pairwise(places):
        assert watched.progress.write(LOG[start:end]) == end - start
    assert watched.shown() == SHOWN
    assert watched.progress.failure() == ERROR


def test_an_error_of_several_lines_is_told_in_full() -> None:
    """Fails where only the first or the last line below the frames is taken, or with them the frames."""
    watched = Watched()
    error = "ValueError: data_source must hold, one of\n  train_val_list.txt\ntest_list.txt"
    frames = 'Traceback (most recent call last):\n  File "task.py", line 1, in run\n    raise ValueError(\n'
    said = "".join(f"    {line}\n" for line in (frames + error).splitlines())
    watched.progress.write(f"INFO - Executing task 'ingest'\n{said}INFO - Task 'ingest' finished with status FAILURE\n")
    assert watched.progress.failure() == error


def test_a_task_that_was_killed_has_its_last_words_told() -> None:
    watched = Watched()
    watched.progress.write("INFO - Executing task 'fine-tune'\n" + "    step\n" * 1000 + "    Killed\n")
    last_words = watched.progress.failure()
    assert last_words.endswith("step\nKilled")
    assert len(last_words) <= 2000


def test_an_earlier_tasks_traceback_is_not_told() -> None:
    watched = Watched()
    watched.progress.write(LOG.replace("FAILURE", "SUCCESS") + "INFO - Executing task 'evaluate'\n    Killed\n")
    assert watched.progress.failure() == "Killed"


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def look_at() -> None:
    """Says a result and, in passing, how far it is."""
    print("radiograft DEBUG | 1 of 2 images", flush=True)
    print("radiograft INFO | 2 images", flush=True)


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def fall_over() -> None:
    """Fails."""
    raise ValueError("image_size must be a multiple of 32, got 250")


@dsl.pipeline
def look_and_fall() -> None:
    fall_over().after(look_at())


@pytest.fixture
def local_run(tmp_path: Path) -> Watched:
    """Really runs the pipeline above, as `radiograft run` does."""
    watched = Watched()
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    with show_progress(watched.progress), pytest.raises(RuntimeError):
        look_and_fall()
    return watched


@pytest.mark.filterwarnings("ignore")
def test_what_kfp_prints_is_understood(local_run: Watched) -> None:
    assert local_run.shown() == "  2 images\n✓ look-at  0.0 s\n✗ fall-over  0.0 s\n"
    assert local_run.progress.failure() == "ValueError: image_size must be a multiple of 32, got 250"
    assert local_run.log.getvalue().count("Traceback (most recent call last):") == 1
    assert set(local_run.progress.seconds) == {"look_at", "fall_over"}
    assert "1 of 2 images" in local_run.log.getvalue()


@dsl.component(base_image=TRAINER_IMAGE, install_kfp_package=False)
def try_one(name: str) -> None:
    """Talks for a while; fails for `bad`."""
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
def loop(tmp_path: Path) -> Callable[[list[str]], Watched]:
    """Really runs the loop above; a failure shows in the display alone."""

    def run(names: list[str]) -> Watched:
        watched = Watched()
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
        with show_progress(watched.progress), contextlib.suppress(RuntimeError):
            try_some(names=names)
        return watched

    return run


@pytest.mark.filterwarnings("ignore")
def test_a_loops_tasks_are_told_apart(loop: Callable[[list[str]], Watched]) -> None:
    watched = loop(["one", "two", "three"])
    lines = watched.shown().splitlines()
    assert sorted(lines) == sorted(
        [f"  {name} {number}" for name in ("one", "two", "three") for number in range(5)] + ["✓ try-one  0.0 s"] * 3
    )
    assert list(watched.progress.seconds) == ["try_one"]
    assert watched.progress.seconds["try_one"] >= 1.5  # three times five breaks, though two ran side by side


@pytest.mark.filterwarnings("ignore")
def test_of_a_loops_tasks_the_one_that_failed_is_told(loop: Callable[[list[str]], Watched]) -> None:
    watched = loop(["bad", "one", "two"])
    assert watched.progress.failure() == "ValueError: the bad one"
    assert watched.progress.failed == "try-one"
    assert sorted(line[0] for line in watched.shown().splitlines() if "try-one" in line) == ["✓", "✓", "✗"]
