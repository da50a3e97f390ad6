"""A short soak test: a few scheduled runs that train, skip and refuse, and leave only versions behind."""

from __future__ import annotations

from pathlib import Path

from tests.soak import schedules


def test_schedules_decide_as_expected_and_keep_registry_consistent(tmp_path: Path) -> None:
    """Fails if ingest trains on unchanged data or accepts a corrupt source, or if a stage leaves checkpoints, drafts or
    temporary files. `python -m tests.soak` prints the events of a seed."""
    row = schedules.measure(tmp_path, 6, seed=0, print_progress=print)
    assert row.errors == []
    assert {name: row.details[name] for name in ("train", "skip", "refuse")} == {"train": 2, "skip": 2, "refuse": 2}
    assert row.details["shrinks"] == 1
