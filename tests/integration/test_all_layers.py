"""A classifier on the joined features of all layers, with reductions of them, through training and evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.registry.results import read_results
from radiograft.stages.evaluate import task as evaluate
from tests.helpers.report_page import Page
from tests.helpers.stages import EVALUATE, EXTRACT_FEATURES, FINE_TUNE, Evaluated, run_extract_features, run_fine_tune

REDUCTIONS = ["pca", "pls", "lda"]


@pytest.fixture(scope="module")
def all_layers(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("all_layers")
    changes = {"model_feature_layer": "all", "model_feature_reduction": ",".join(REDUCTIONS)}
    settings = dataclasses.replace(EXTRACT_FEATURES, model_random_baseline=False, **changes)
    start = run_extract_features(settings, shards_folder, folder / "start")
    tuned = run_fine_tune(FINE_TUNE, shards_folder, start.model, folder / "tuned")
    inputs = evaluate.EvaluateInputs(shards_folder, start.features, start.model, tuned.model)
    report = folder / "report.html"
    outcome = evaluate.run(EVALUATE, inputs, "a-run", folder / "evaluation", report, folder / "logs")
    return Evaluated(inputs, folder / "evaluation", report, outcome, folder / "logs")


def test_evaluation_has_reduced_curve_of_every_layer_and_method(all_layers: Evaluated) -> None:
    results = read_results(all_layers.folder)
    layers = [point["layer"] for point in results["cut_off_curve"]]
    reduced = results["reduced_curve"]
    names = [(point["layer"], point["method"]) for point in reduced]
    assert names == [(layer, method) for layer in layers for method in REDUCTIONS]
    assert all(point["auroc"]["low"] is not None for point in reduced)
    assert "Reduced features of 17 layers" in Page(all_layers.report.read_text()).text


def test_evaluation_has_standardized_features_of_all_layers_for_projector(all_layers: Evaluated) -> None:
    (table, *_) = sorted(all_layers.logs.rglob("features.tsv"))
    features = np.loadtxt(table, delimiter="\t")
    assert features.shape[1] == 3088
    assert np.abs(features).mean() < 5


def test_published_saved_model_equals_network(all_layers: Evaluated, shards_folder: Path) -> None:
    images = next(iter(Shards.read(shards_folder).images("test", 8))).numpy()
    served = tf.saved_model.load(str(all_layers.inputs.model / "saved_model")).signatures["pictures"]
    probabilities = served(pictures=tf.constant(images, "float32"))["probabilities"]
    network = artifact.load_model(all_layers.inputs.model)
    np.testing.assert_allclose(probabilities, network(images, training=False), atol=1e-5)
