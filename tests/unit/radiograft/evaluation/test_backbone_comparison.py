"""The comparison of backbones: AUROCs and paired differences on validation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft.evaluation.backbone_comparison import compare_backbones, comparison_section
from radiograft.reporting.html import environment

TRUTH = [0.0, 1.0] * 20
VALIDATION = pd.DataFrame(
    {
        "image_id": [f"{number}.png" for number in range(40)],
        "patient_id": [f"{number // 2}" for number in range(40)],
        "split": "validation",
        "label:Mass": TRUTH,
        "label:Edema": 0.0,  # has one class only
    }
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The best of three backbones: 36 of 40 images are right; the next is its copy, the last guesses."""
    best = np.array(TRUTH)
    best[:4] = 1 - best[:4]
    guess = np.random.default_rng(0).random(40)
    scores = np.stack([best, best, guess])[:, :, None].repeat(2, axis=2)
    np.save(tmp_path / "comparison_scores.npy", scores.astype("float32"))
    rows = [
        {
            "backbone": name,
            "trial": {"overrides": {"model_cut_off": "last"}},
            "parameters": 1_234_567,
            "bytes": 5_000_000,
            "seconds_features": 60.4,
            "seconds_fine_tuning": 1000.0,
            "curve": [["a", 0.5], ["b", 0.75]],
        }
        for name in ("vgg16", "alexnet", "resnet50")
    ]
    (tmp_path / "comparison.json").write_text(json.dumps(rows))
    return tmp_path


def test_compare_backbones_pairs_differences(model: Path) -> None:
    result = compare_backbones(model, VALIDATION, ["Mass", "Edema"], 200, 0)
    assert result is not None
    assert (result["n_images"], result["n_patients"]) == (40, 20)
    best, copy, guess = result["backbones"]
    assert best["auroc"]["value"] == copy["auroc"]["value"] == pytest.approx(0.9)
    assert best["difference"] is None
    assert copy["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "method": "identical"}
    assert guess["difference"] is not None
    assert guess["difference"]["value"] == pytest.approx(0.9 - (guess["auroc"]["value"] or 0))
    assert 0 < (guess["difference"]["low"] or 0) < guess["difference"]["value"]


def test_compare_backbones_other_model_is_none(tmp_path: Path) -> None:
    assert compare_backbones(tmp_path, VALIDATION, ["Mass"], 100, 0) is None


def test_comparison_section_shows_each_backbone(model: Path) -> None:
    result = compare_backbones(model, VALIDATION, ["Mass", "Edema"], 200, 0)
    assert result is not None
    section = comparison_section(result)
    html = environment().get_template(f"sections/{section.template}").render(section=section.content)
    assert "on 40 validation images from 20 patients" in html
    assert html.count("<tr>") == 4
    assert html.count("last, published") == 1
    for text in ("1,234,567", "5.0", "1,060", "60 features, 1,000 fine-tuning", "vgg16: best of 2 layers 0.750"):
        assert text in html


def test_compare_backbones_without_estimable_label_has_no_auroc(model: Path) -> None:
    result = compare_backbones(model, VALIDATION, ["Mass", "Edema"], 200, 0, min_patients=21)
    assert result is not None
    unknown = {"value": None, "low": None, "high": None}
    assert [each["auroc"] for each in result["backbones"]] == [unknown] * 3
    assert [each["difference"] for each in result["backbones"]] == [None, unknown, unknown]
    section = comparison_section(result)
    assert "vgg16" in environment().get_template(f"sections/{section.template}").render(section=section.content)
