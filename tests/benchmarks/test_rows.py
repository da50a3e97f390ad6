"""The arithmetic of benchmark rows, and the file they are written to. No benchmark runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.__main__ import write
from tests.benchmarks.row import Row


def test_row_constructors_compute_ratio() -> None:
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
def test_holds_ratio_at_and_beyond_floor_depends_on_direction(row: Row, holds: bool | None) -> None:
    assert row.holds() is holds


@pytest.mark.parametrize(("ours", "theirs"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_speedup_value_not_positive_raises(ours: float, theirs: float) -> None:
    with pytest.raises(ValueError, match=rf"^epoch: both values must be above 0, got {theirs} and {ours}$"):
        Row.speedup("epoch", ours, theirs, floor=30, how="")


def test_write_rows_stores_machine_and_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "latest.json"
    rows = [
        Row.cost("memory evaluate", 300.0, 200.0, floor=1.25, unit="MB", how="in a separate process"),
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
                "how": "in a separate process",
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
