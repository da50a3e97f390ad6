"""The arithmetic of a benchmark's row and the file that holds the rows. Nothing is measured here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import write
from tests.benchmarks.row import Row


def test_a_speedup_is_theirs_over_ours_and_a_cost_and_a_share_are_ours_over_theirs() -> None:
    assert Row.speedup("recipe", 2.0, 30.0, floor=10, how="").ratio == 15.0
    assert Row.cost("curve", 30.0, 24.0, floor=1.25, unit="s", how="").ratio == 1.25
    assert Row.share("flops", 50.0, 200.0, unit="GFLOP/s", how="").ratio == 0.25


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (Row.speedup("a", 3.0, 30.0, floor=10, how=""), True),
        (Row.speedup("a", 4.0, 30.0, floor=10, how=""), False),
        (Row.cost("a", 5.0, 4.0, floor=1.25, unit="s", how=""), True),
        (Row.cost("a", 6.0, 4.0, floor=1.25, unit="s", how=""), False),
        (Row.share("a", 6.0, 4.0, unit="s", how=""), None),
        (Row.rate("a", 20.0, 2.0, floor=10, how=""), True),
        (Row.rate("a", 19.0, 2.0, floor=10, how=""), False),
    ],
)
def test_a_speedup_holds_from_its_floor_up_and_a_cost_from_it_down(row: Row, holds: bool | None) -> None:
    assert row.holds() is holds


@pytest.mark.parametrize(("ours", "theirs"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_figure_that_was_not_measured_is_refused(ours: float, theirs: float) -> None:
    with pytest.raises(ValueError, match="epoch: both figures must be above 0"):
        Row.speedup("epoch", ours, theirs, floor=30, how="")


def test_the_file_holds_the_machine_and_every_column_of_every_row(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "latest.json"
    rows = [
        Row.cost("memory evaluate", 300.0, 200.0, floor=1.25, unit="MB", how="in a process of its own"),
        Row.share("flops", 50.0, 200.0, unit="GFLOP/s", how="forward"),
    ]
    write(rows, {"cores": 2}, path)
    assert json.loads(path.read_text()) == {
        "machine": {"cores": 2},
        "rows": [
            {
                "name": "memory evaluate",
                "ours": 300.0,
                "theirs": 200.0,
                "ratio": 1.5,
                "floor": 1.25,
                "higher_is_better": False,
                "unit": "MB",
                "how": "in a process of its own",
            },
            {
                "name": "flops",
                "ours": 50.0,
                "theirs": 200.0,
                "ratio": 0.25,
                "floor": None,
                "higher_is_better": True,
                "unit": "GFLOP/s",
                "how": "forward",
            },
        ],
    }
