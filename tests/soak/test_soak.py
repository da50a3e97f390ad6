"""The soak's short form: a few schedules that train, skip and refuse, and leave nothing but versions behind."""

from __future__ import annotations

from pathlib import Path

from tests.soak import schedules


def test_each_schedule_is_decided_rightly_and_leaves_the_registry_consistent(tmp_path: Path) -> None:
    """Fails where ingest tells to train on what did not change, where it lets a broken source pass, and where a stage
    leaves checkpoints, drafts or temporary files; for what the seed draws, see `python -m tests.soak`."""
    row = schedules.measure(tmp_path, 6, seed=0, tell=print)
    assert row.wrong == []
    assert {name: row.details[name] for name in ("train", "skip", "refuse")} == {"train": 2, "skip": 2, "refuse": 2}
    assert row.details["shrinks"] == 1
