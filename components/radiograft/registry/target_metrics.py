"""The metrics that decide about a version that predicts numbers."""

from __future__ import annotations

from radiograft.registry.result_types import RegressionMetrics


def deciding_target_metrics(test: RegressionMetrics, *, promoted: bool) -> dict[str, float]:
    """Returns the metrics that decide about a version that predicts numbers, see `results.deciding_metrics`."""
    metrics = {
        "r2_test": test["r2"]["value"],
        "r2_test_low": test["r2"]["low"],
        "r2_test_high": test["r2"]["high"],
        "gate_promoted": float(promoted),
    }
    if len(test["targets"]) == 1:
        (target,) = test["targets"].values()
        metrics |= {"mae_test": target["mae"]["value"], "median_test": target["baseline_mae"]["value"]}
    return {name: value for name, value in metrics.items() if value is not None}
