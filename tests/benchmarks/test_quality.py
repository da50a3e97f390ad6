"""The table of whole runs over several seeds. Nothing is trained."""

from __future__ import annotations

from typing import Any

from tests.benchmarks.quality import conditions, table


def row(seed: int, auroc: float, accuracy: float) -> dict[str, Any]:
    def split(value: float, images: int) -> dict[str, Any]:
        return {
            "auroc": value,
            "auroc_interval": [value - 0.01, value + 0.01],
            "accuracy": accuracy,
            "accuracy_interval": [accuracy - 0.02, accuracy + 0.02],
            "majority_accuracy": 0.625,
            "n_images": images,
            "n_patients": images,
        }

    return {"seed": seed, "validation": split(0.99, 524), "test": split(auroc, 624)}


def test_table_shows_each_seed_and_the_spread() -> None:
    *lines, caption = table([row(0, 0.95, 0.9), row(1, 0.97, 0.8)])
    assert caption == (
        "524 validation images of 524 patients, 624 test images of 624 patients (seed 0); 95% intervals from resampled "
        "patients."
    )
    assert lines == [
        "| seed | validation AUROC | test AUROC | test accuracy | majority-class baseline |",
        "|---|---|---|---|---|",
        "| 0 | 0.990 (0.980 to 1.000) | 0.950 (0.940 to 0.960) | 0.900 (0.880 to 0.920) | 0.625 |",
        "| 1 | 0.990 (0.980 to 1.000) | 0.970 (0.960 to 0.980) | 0.800 (0.780 to 0.820) | 0.625 |",
        "| mean ± standard deviation | 0.990 ± 0.000 | 0.960 ± 0.014 | 0.850 ± 0.071 | 0.625 ± 0.000 |",
        "",
    ]


def test_table_metric_not_estimable_is_named() -> None:
    single = row(0, 0.95, 0.9)
    single["test"] |= {"auroc": None, "auroc_interval": [None, None]}
    lines = table([single])
    assert lines[2].split(" | ")[2] == lines[3].split(" | ")[2] == "not estimable"


def test_conditions_name_commit_processor_and_limit(monkeypatch: Any) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    text = conditions()
    assert text.startswith("commit ")
    assert text.endswith(", limited by ONEDNN_MAX_CPU_ISA=AVX2")
    assert "cores " in text
