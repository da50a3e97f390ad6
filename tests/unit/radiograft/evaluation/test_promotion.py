"""Evaluate and publish with trained networks: a better model is promoted, a worse one is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from radiograft.data.shards.dataset import Shards
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.evaluation.champion import load_champion
from radiograft.evaluation.promotion_gate import GatePolicy, decide_promotion
from radiograft.models import artifact
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft.training import devices
from tests.helpers.registry_folder import MODEL, RegistryFolder
from tests.helpers.stages import run_extract_features, run_fine_tune

PATIENTS = 300
EXTRACT_FEATURES = ExtractFeatures(
    model_backbone="efficientnet_lite0",
    model_cut_off="top_conv",
    model_dense_units=0,
    model_dropout=0.0,
    train_batch_size=16,
    train_feature_epochs=8,
    train_feature_learning_rate=3e-3,
)


class Attempt(NamedTuple):
    """Outputs of evaluate and publish in one run, and the production version after it."""

    inputs: publish.PublishInputs
    gate: dict[str, Any]
    scalars: dict[str, float]
    page: str
    outcome: publish.PublishResult
    production: int | None


class Registered(NamedTuple):
    """Two runs into one registry, whose version 1 in production is the weak network."""

    root: str
    better: Attempt
    worse: Attempt


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms at 64 px without NIH's split lists, so that 40% of the patients can be assigned to test."""
    folder = tmp_path_factory.mktemp("promotion")
    for name, content in generate_phantom_files(PATIENTS, seed=0, size=64):
        if not name.endswith("_list.txt"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    settings = Ingest(data_source=str(folder), data_test_fraction=0.4, data_validation_fraction=0.25)
    ingest.run(settings, folder / "catalog")
    preprocess.run(Preprocess(image_size=64), folder / "catalog", folder / "shards")
    return folder / "shards"


@pytest.fixture(scope="module")
def strong(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> evaluate.EvaluateInputs:
    """Feature extraction with ImageNet weights, then one epoch of fine-tuning."""
    folder = tmp_path_factory.mktemp("strong")
    extracted = run_extract_features(EXTRACT_FEATURES, shards, folder / "extracted")
    settings = FineTune(model_cut_off="top_conv", train_batch_size=16, train_fine_tune_epochs=1)
    tuned = run_fine_tune(settings, shards, extracted.model, folder / "tuned")
    return evaluate.EvaluateInputs(shards, extracted.features, extracted.model, tuned.model)


@pytest.fixture(scope="module")
def weak(strong: evaluate.EvaluateInputs, tmp_path_factory: pytest.TempPathFactory) -> evaluate.EvaluateInputs:
    """The same network with random classifier weights."""
    folder = Path(shutil.copytree(strong.model, tmp_path_factory.mktemp("weak") / "model"))
    model = artifact.load_model(folder)
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([np.random.default_rng(0).normal(0, 0.1, kernel.shape), bias])
    model.save(folder / "model.keras")
    return strong._replace(model=folder)


def _attempt(inputs: evaluate.EvaluateInputs, root: str, folder: Path, floors: str = "0.5") -> Attempt:
    settings = Evaluate(
        publish_registry=root, publish_model_name=MODEL, gate_min_auroc=floors, evaluate_bootstrap_samples=200
    )
    outputs = (folder / name for name in ("evaluation", "report.html", "logs"))
    metrics = evaluate.run(settings, inputs, folder.name, *outputs)
    publish_inputs = publish.PublishInputs(inputs.model, folder / "evaluation", folder / "report.html")
    registered = Publish(publish_registry=root, publish_model_name=MODEL)
    outcome = publish.run(registered, publish_inputs, folder.name, folder / "version")
    current = production.read_production(root, MODEL)
    return Attempt(
        publish_inputs,
        json.loads((folder / "evaluation" / "metrics.json").read_text())["gate"],
        metrics.scalars,
        (folder / "report.html").read_text(encoding="utf-8"),
        outcome,
        current.version if current else None,
    )


@pytest.fixture(scope="module")
def registered(
    shards: Path,
    weak: evaluate.EvaluateInputs,
    strong: evaluate.EvaluateInputs,
    tmp_path_factory: pytest.TempPathFactory,
) -> Registered:
    """The strong network compared with the weak one, then the weak one with the strong one."""
    folder = tmp_path_factory.mktemp("registered")
    registry_folder = RegistryFolder(folder)
    registry_folder.add_version(Shards.read(shards), artifact.load_model(weak.model), ["Pneumonia"], size=64)
    root = registry_folder.settings.publish_registry
    return Registered(
        root,
        _attempt(strong, root, folder / "run-2"),
        _attempt(weak, root, folder / "run-3", floors="0"),
    )


def test_promotion_better_model_becomes_production(registered: Registered) -> None:
    better = registered.better
    difference = better.gate["labels"]["Pneumonia"]["difference"]
    assert difference["value"] > 0.1
    assert difference["low"] > -0.02
    assert (better.gate["champion"], better.gate["margin"], better.gate["floors"]) == (1, 0.02, {"Pneumonia": 0.5})
    assert (better.outcome.version, better.outcome.promoted, better.production) == (2, True, 2)
    assert (better.scalars["gate_promoted"], better.scalars["x_auroc_difference"]) == (1, difference["value"])


def test_promotion_worse_model_stays_candidate(registered: Registered) -> None:
    worse = registered.worse
    assert worse.gate["champion"] == 2
    assert worse.gate["labels"]["Pneumonia"]["difference"]["low"] < -0.02
    (reason,) = worse.gate["reasons"]  # its minimum AUROC is 0
    assert reason.startswith(
        "the 95% interval of the AUROC for Pneumonia minus version 2's must not reach below -0.02, "
    )
    assert worse.outcome.reason == reason
    assert (worse.outcome.version, worse.outcome.promoted, worse.production) == (3, False, 2)
    assert registry.verify_version(registered.root, MODEL, 3)["version"] == 3
    assert worse.scalars["gate_promoted"] == 0
    assert worse.scalars["x_auroc_difference"] < 0


def test_promotion_champion_has_the_metrics_of_its_own_run(registered: Registered) -> None:
    better, worse = (attempt.gate["labels"]["Pneumonia"] for attempt in (registered.better, registered.worse))
    assert worse["champion"] == better["challenger"]
    assert worse["challenger"] == better["champion"]
    assert worse["difference"]["value"] == pytest.approx(-better["difference"]["value"])


def test_promotion_same_model_again_is_not_inferior(registered: Registered, shards: Path) -> None:
    settings = Evaluate(publish_registry=registered.root, publish_model_name=MODEL)
    champion = load_champion(settings, Shards.read(shards), devices.distribution_strategy(), "another run")
    recorded = pd.read_parquet(registered.better.inputs.evaluation / "predictions.parquet")
    recorded = recorded[(recorded["strategy"] == "fine_tuning") & (recorded["split"] == "test")]
    policy = GatePolicy(0.0, settings.floors(["Pneumonia"]), settings.evaluate_min_patients)
    again, alone = (
        decide_promotion(recorded, opponent, ["Pneumonia"], policy, samples=200, seed=0)
        for opponent in (champion, None)
    )
    assert again["champion"] == 2
    assert again["labels"]["Pneumonia"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "method": "identical"}
    assert again["promote"]
    assert alone["promote"]


def test_publish_decision_on_former_champion_is_not_promoted(registered: Registered, tmp_path: Path) -> None:
    """The strong network was compared with version 1, but version 2 is in production when it is published again."""
    settings = Publish(publish_registry=registered.root, publish_model_name=MODEL)
    late = publish.run(settings, registered.better.inputs, "run-4", tmp_path / "version")
    assert registered.better.gate["promote"]
    assert (late.version, late.promoted) == (4, False)
    assert "expected version 1 in production, got version 2" in late.reason
    assert production.read_production(registered.root, MODEL).version == 2  # type: ignore[union-attr]


def test_report_states_decision_and_reason(registered: Registered) -> None:
    better, worse = registered.better.page, registered.worse.page
    assert "Approved for promotion: the 95% interval of the AUROC for Pneumonia must lie" in better
    assert "Not promoted: the 95% interval of the AUROC for Pneumonia minus version 2" in worse
    for number, page in ((1, better), (2, worse)):
        assert page.count(">Comparison with the production model</h2>") == 1
        assert page.index('class="decision"') < page.index(">Comparison of strategies</h2>")
        assert f'<th scope="col">Version {number}</th>' in page
