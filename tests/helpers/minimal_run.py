"""All stages with minimal settings and a network of three layers, in seconds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import pytest

from radiograft import backbones
from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from tests.helpers.stages import run_extract_features, run_fine_tune

MODEL = "every-source"
EXTRACT_FEATURES = ExtractFeatures(
    model_backbone="efficientnet_lite0",
    model_weights="none",
    model_cut_off="top_conv",
    model_dense_units=0,
    train_batch_size=2,
    train_feature_epochs=1,
)
FINE_TUNE = FineTune(model_cut_off="top_conv", train_batch_size=2, train_fine_tune_epochs=1)


def three_layers(include_top: bool, weights: None, input_tensor: keras.KerasTensor) -> keras.Model:
    """Replaces EfficientNet-Lite0, whose 300 layers would take a minute per source without testing more."""
    assert not include_top
    assert weights is None
    small = keras.layers.Conv2D(4, 3, strides=8, name="stem_conv", activation="relu")(input_tensor)
    top = keras.layers.Conv2D(8, 1, name="top_conv", activation="relu")(small)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), top)


def replace_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replaces EfficientNet-Lite0 by `three_layers` in this test."""
    monkeypatch.setitem(
        backbones._backbones(),
        "efficientnet_lite0",
        dataclasses.replace(
            backbones.get_backbone("efficientnet_lite0"),
            build=three_layers,
            cut_offs=("stem_conv", "top_conv"),
            taps=("top_conv",),
        ),
    )


def run_stages(
    settings: Ingest, folder: Path, features: ExtractFeatures = EXTRACT_FEATURES, tuning: FineTune = FINE_TUNE
) -> publish.PublishResult:
    """Runs all stages in this process, by default with minimal settings, and returns the result of publish."""
    registry_uri = str(folder / "registry")
    ingest.run(settings, folder / "catalog", patient_data=features.patient_data())
    preprocess.run(Preprocess(image_size=32), folder / "catalog", folder / "shards")
    start = run_extract_features(features, folder / "shards", folder / "extract_features")
    tuned = run_fine_tune(tuning, folder / "shards", start.model, folder / "fine_tune")
    inputs = evaluate.EvaluateInputs(folder / "shards", start.features, start.model, tuned.model)
    evaluation = Evaluate(
        publish_registry=registry_uri,
        publish_model_name=MODEL,
        evaluate_bootstrap_samples=100,
        evaluate_min_patients=1,
    )
    evaluate.run(evaluation, inputs, "a-run", folder / "evaluation", folder / "report.html", folder / "logs")
    publish_inputs = publish.PublishInputs(tuned.model, folder / "evaluation", folder / "report.html")
    return publish.run(Publish(registry_uri, MODEL), publish_inputs, "a-run", folder / "version.json")
