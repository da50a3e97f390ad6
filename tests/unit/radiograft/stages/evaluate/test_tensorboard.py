"""What a real TensorBoard serves of an evaluation's logs: figures, runs side by side, images, the projector."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.data.shards.dataset import Shards
from radiograft.reporting import contact_sheet
from radiograft.stages.evaluate import tensorboard
from tests.helpers.stages import SEED, Evaluated

START_SECONDS = 60
LABELS = ("Pneumonia", "Effusion", "Emphysema")
STRATEGIES = ("feature_extraction", "fine_tuning")
RUNS = ("a-run", "another-run")


@pytest.fixture(scope="module")
def facts(evaluation: Evaluated) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((evaluation.folder / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def logs(evaluation: Evaluated, facts: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of two runs, each in its own folder; the second had another setting."""
    folder = tmp_path_factory.mktemp("tensorboard")
    shutil.copytree(evaluation.logs, folder / "a-run")
    lineage = {**facts["lineage"], "settings": {**facts["lineage"]["settings"], "train_batch_size": 64}}
    tensorboard.write_figures(folder / "another-run", "another-run", {**facts, "lineage": lineage}, [])
    return folder


@pytest.fixture(scope="module")
def board(logs: Path) -> Iterator[str]:
    """The address of a TensorBoard that has read the logs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", str(port)]
    server = subprocess.Popen([*command, "--load_fast=false"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}/data"
    try:
        _wait_until_read(address)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=START_SECONDS)


def _wait_until_read(address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if len(get(address, "runs")) == 4:
                return
        except urllib.error.URLError:
            pass  # not up yet
        time.sleep(0.2)
    raise AssertionError(f"TensorBoard had not read four runs after {START_SECONDS} s")


def fetch(address: str, path: str, **query: str | int) -> bytes:
    with urllib.request.urlopen(f"{address}/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        content: bytes = answer.read()
        return content


def get(address: str, path: str, **query: str | int) -> Any:
    return json.loads(fetch(address, path, **query))


def ask_hparams(address: str, path: str, **question: Any) -> Any:
    body = json.dumps({"experimentName": "", **question}).encode()
    request = urllib.request.Request(f"{address}/plugin/hparams/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def test_both_strategies_figures_are_scalars(board: str, facts: dict[str, Any]) -> None:
    tags = get(board, "plugin/scalars/tags")
    for strategy in STRATEGIES:
        run = f"a-run/evaluation/{strategy}"
        assert {"test/auroc", "test/accuracy", "validation/average_precision", "test_auroc/Pneumonia"} <= set(tags[run])
        assert "test_auroc/Emphysema" not in tags[run]  # not estimable
        ((_, step, value),) = get(board, "plugin/scalars/scalars", run=run, tag="test/auroc")
        expected = facts["metrics"][strategy]["test"]["mean"]["auroc"]["value"]
        assert (step, value) == (0, pytest.approx(expected, abs=1e-6))


def test_every_run_is_a_session_with_all_settings(board: str, facts: dict[str, Any]) -> None:
    settings = facts["lineage"]["settings"]
    experiment = ask_hparams(board, "experiment")
    named = {info["name"] for info in experiment["hparamInfos"]}
    assert named == set(settings)
    groups = ask_hparams(
        *(board, "session_groups"),
        startIndex=0,
        sliceSize=10,
        allowedStatuses=["STATUS_UNKNOWN"],
        colParams=[],
    )["sessionGroups"]
    found = {group["name"]: group for group in groups}
    assert sorted(found) == sorted(RUNS)
    assert [found[run]["hparams"]["train_batch_size"] for run in RUNS] == [8, 64]
    assert found["a-run"]["hparams"]["model_backbone"] == "efficientnet_lite0"
    values = {metric["name"]["tag"]: metric["value"] for metric in found["a-run"]["metricValues"]}
    expected = facts["metrics"]["fine_tuning"]["test"]["mean"]["auroc"]["value"]
    assert values["test/auroc"] == pytest.approx(expected, abs=1e-6)


def test_the_images_of_the_report_are_there(board: str) -> None:
    """Fails where a tag holds more than the group of its images, such as an id."""
    tags = get(board, "plugin/images/tags")
    assert list(tags) == ["a-run/evaluation/fine_tuning"]
    names = tags["a-run/evaluation/fine_tuning"]
    outcomes = ("false positives", "false negatives", "true positives", "true negatives")
    kinds = ("heat maps", "worst calls")
    groups = {f"{kind}/{label}/{each}" for kind in kinds for label in LABELS for each in outcomes}
    assert set(names) <= {"augmentation", *groups}
    assert any(name.startswith("heat maps/Pneumonia/") for name in names)
    assert any(name.startswith("worst calls/Pneumonia/") for name in names)
    name = next(name for name in names if name.startswith("heat maps/"))
    assert shown(board, name).mode == "RGB"


def test_the_sheet_of_augmented_views_is_there(board: str, evaluation: Evaluated) -> None:
    png = contact_sheet.training_contact_sheet(Shards.read(evaluation.inputs.shards), SEED)
    with Image.open(BytesIO(png)) as sheet:
        np.testing.assert_array_equal(np.asarray(shown(board, "augmentation").convert("L")), np.asarray(sheet))


def shown(address: str, tag: str) -> Image.Image:
    """The first image of a tag of the published strategy."""
    image = get(address, "plugin/images/images", run="a-run/evaluation/fine_tuning", tag=tag, sample=0)[0]
    content = fetch(address, "plugin/images/individualImage", **dict(urllib.parse.parse_qsl(image["query"])))
    return Image.open(BytesIO(content))


def test_the_projector_has_features_labels_scores_and_thumbnails(board: str, evaluation: Evaluated) -> None:
    assert get(board, "plugin/projector/runs") == ["a-run/evaluation/fine_tuning"]
    which = {"run": "a-run/evaluation/fine_tuning", "name": "features"}
    (embedding,) = get(board, "plugin/projector/info", run=which["run"])["embeddings"]
    assert embedding["tensorShape"] == [39 + 31, 1280]
    features = np.frombuffer(fetch(board, "plugin/projector/tensor", **which), np.float32).reshape(70, 1280)
    assert np.isfinite(features).all()
    table = pd.read_csv(BytesIO(fetch(board, "plugin/projector/metadata", **which)), sep="\t")
    assert table["picture"].tolist() == [
        *(f"validation {place}" for place in range(39)),
        *(f"test {place}" for place in range(31)),
    ]
    predictions = pd.read_parquet(evaluation.folder / "predictions.parquet").query("strategy == 'fine_tuning'")
    for label in LABELS:
        truth = predictions[f"label:{label}"].map({0.0: "absent", 1.0: "present"})
        assert table[label].tolist() == truth.tolist()
        np.testing.assert_allclose(table[f"score of {label}"], predictions[f"score:{label}"], atol=1e-4)
    sprite = Image.open(BytesIO(fetch(board, "plugin/projector/sprite_image", **which)))
    assert sprite.size == (9 * 64, 9 * 64)
    last = np.asarray(sprite)[7 * 64 : 8 * 64, 6 * 64 : 7 * 64]  # the 70th of nine a row
    image = list(Shards.read(evaluation.inputs.shards).examples("test"))[-1][0].numpy()[..., 0]
    assert last.mean() == pytest.approx(image.mean(), abs=2)


def test_a_sprite_is_small_enough_for_the_projector() -> None:
    side = int(np.ceil(np.sqrt(2 * tensorboard.MAX_EMBEDDED))) * tensorboard.THUMBNAIL
    assert side <= 8192


def test_no_patient_can_be_found_in_the_logs(logs: Path, evaluation: Evaluated) -> None:
    ids = Shards.read(evaluation.inputs.shards).rows["image_id"]
    assert ids.str.fullmatch(r"\d{8}_\d{3}\.png").all()
    for path in (path for path in logs.rglob("*") if path.is_file() and path.suffix != ".png"):
        assert not re.search(rb"\d{8}_\d{3}", path.read_bytes()), path
