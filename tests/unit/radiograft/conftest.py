"""Fixtures that build complete evaluation reports from synthetic predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.config import FINDINGS
from radiograft.metrics.label_metrics import choose_thresholds
from radiograft.metrics.multilabel import evaluate_predictions, roc_curve
from radiograft.registry.result_types import SplitMetrics
from radiograft.registry.training_types import CurvePoint, RandomBaseline, Trial
from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount
from radiograft.reporting.plots import Curve

Metrics = dict[str, dict[str, SplitMetrics]]
Curves = dict[str, dict[str, Curve]]


def _predictions(labels: Sequence[str], images: int, gain: float, seed: int) -> pd.DataFrame:
    """Seeded predictions: three images per patient, prevalence falling from 30% to 0, scores shifted by gain."""
    generator = np.random.default_rng(seed)
    columns: dict[str, object] = {
        "image_id": [f"{i:08d}_000.png" for i in range(images)],
        "patient_id": [f"{i // 3:08d}" for i in range(images)],
    }
    for position, name in enumerate(labels):
        truth = (generator.random(images) < 0.3 * (1 - position / max(1, len(labels) - 1))).astype(float)
        columns[f"label:{name}"] = truth
        columns[f"score:{name}"] = 1 / (1 + np.exp(1.0 - generator.normal(gain * truth)))
    return pd.DataFrame(columns)


def _history(epochs: int) -> list[dict[str, float]]:
    """Smooth training curves."""
    rows = []
    for epoch in range(1, epochs + 1):
        loss = 0.2 + 0.5 / epoch
        rows.append(
            {
                "epoch": epoch,
                "loss": loss,
                "accuracy": 1 - loss / 2,
                "val_loss": loss + 0.08,
                "val_accuracy": 0.95 - loss / 2,
            }
        )
    return rows


def _contact_sheet() -> bytes:
    """A grayscale PNG of noise, about as hard to compress as radiographs."""
    pixels = np.random.default_rng(0).integers(0, 256, (320, 640), dtype=np.uint8)
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG")
    return encoded.getvalue()


def _metrics_and_curves(labels: Sequence[str], images: int) -> tuple[Metrics, Curves]:
    gains = {"feature_extraction": 1.0, "fine_tuning": 1.5}
    metrics: Metrics = {}
    roc: Curves = {}
    for strategy, gain in gains.items():
        frames = {split: _predictions(labels, images, gain, seed) for seed, split in enumerate(("validation", "test"))}
        thresholds = choose_thresholds(frames["validation"], labels)
        metrics[strategy] = {
            split: evaluate_predictions(frame, labels, thresholds, 100, 0) for split, frame in frames.items()
        }
        roc[strategy] = {
            name: roc_curve(frames["test"][f"label:{name}"], frames["test"][f"score:{name}"])[:2]
            for name in metrics[strategy]["test"]["mean"]["labels"]
        }
    return metrics, roc


def _report(labels: Sequence[str], images: int = 600) -> Report:
    metrics, roc = _metrics_and_curves(labels, images)
    test = metrics["fine_tuning"]["test"]["labels"]
    counts = {
        name: {
            "positives": label["positives"],
            "negatives": label["n_images"] - label["positives"],
            "unknown": 0,
            "positive_patients": label["positive_patients"],
        }
        for name, label in test.items()
    }
    pixels = {"min": 65_536, "median": 1_048_576, "max": 4_194_304}
    return Report(
        title="Chest radiographs, DenseNet-121",
        run_id="20261123-021841-7f3a",
        created="2026-11-23T02:18:41Z",
        published="fine_tuning",
        metrics=metrics,
        roc=roc,
        histories={strategy: _history(8) for strategy in metrics},
        kept_epochs={"feature_extraction": 4, "fine_tuning": 8},
        cut_off_curve=[
            CurvePoint(layer=layer, channels=channels, penalty=0.1, auroc={"value": value, "low": 0.6, "high": 0.9})
            for layer, channels, value in (
                ("pool4_pool", 512, 0.7),
                ("conv5_block2_concat", 576, 0.8),
                ("relu", 9, 0.75),
            )
        ],
        cut_off_search=[
            Trial(
                overrides={"model_cut_off": cut_off},
                trainable_weights=weights,
                epochs=8,
                best_epoch=5,
                metrics={"val_auroc": val_auroc, "val_loss": 0.25},
            )
            for cut_off, weights, val_auroc in (
                ("conv5_block14_1_conv", 700_000, 0.881),
                ("conv5_block15_1_conv", 540_000, 0.893),
                ("conv5_block16_2_conv", 299_393, 0.872),
            )
        ],
        random_baseline=RandomBaseline(
            pretrained={"value": 0.871, "low": 0.832, "high": 0.904},
            random={"value": 0.742, "low": 0.69, "high": 0.79},
            n_images=600,
            n_patients=200,
            split="validation",
        ),
        decision="Approved for promotion: no version is in production yet.",
        sections=[],
        data_counts=[
            SplitCount("train", 2400, 800, counts, pixels),
            SplitCount("validation", images, images // 3, counts, pixels),
            SplitCount("test", images, images // 3, counts, pixels),
        ],
        exclusions=[
            Exclusion(
                "image listed in the table is missing",
                111_390,
                ["00000003_000.png", "00000003_001.png"],
            ),
            Exclusion("truncated file", 1, ["00000017_002.png"]),
        ],
        settings={
            "backbone": "densenet121",
            "cut_off": "conv5_block16_2_conv",
            "learning_rate": 0.0001,
            "seed": 7,
        },
        lineage={
            "data_fingerprint": "sha256:" + "4f" * 32,
            "registry": "gs://radiograft/registry",
            "parent": None,
        },
        contact_sheet_png=_contact_sheet(),
        notes=["11 images occur twice in the table; the first row was used."],
    )


@pytest.fixture(scope="session")
def build_report() -> Callable[[Sequence[str]], Report]:
    """Builds a complete report for the given labels."""
    return _report


@pytest.fixture(scope="session")
def full_report() -> Report:
    """Report on 14 findings; the last one, Hernia, has no positive image."""
    return _report(FINDINGS)
