"""The TensorBoard logs of an evaluation as a TensorBoard server shows them: scalars, HParams, images, projector."""

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
def results(evaluation: Evaluated) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((evaluation.folder / "metrics.json").read_text())
    return content


@pytest.fixture(scope="module")
def logs(evaluation: Evaluated, results: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of two runs, each in its own folder, with different settings."""
    folder = tmp_path_factory.mktemp("tensorboard")
    shutil.copytree(evaluation.logs, folder / "a-run")
    lineage = {**results["lineage"], "settings": {**results["lineage"]["settings"], "train_batch_size": 64}}
    tensorboard.write_figures(folder / "another-run", "another-run", {**results, "lineage": lineage}, [])
    return folder


@pytest.fixture(scope="module")
def board(logs: Path) -> Iterator[str]:
    """The address of a TensorBoard server that has read the logs."""
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
    raise AssertionError(f"TensorBoard did not read four runs within {START_SECONDS} s")


def fetch(address: str, path: str, **query: str | int) -> bytes:
    with urllib.request.urlopen(f"{address}/{path}?{urllib.parse.urlencode(query)}", timeout=30) as response:
        content: bytes = response.read()
        return content


def get(address: str, path: str, **query: str | int) -> Any:
    return json.loads(fetch(address, path, **query))


def post_hparams(address: str, path: str, **query: Any) -> Any:
    body = json.dumps({"experimentName": "", **query}).encode()
    request = urllib.request.Request(f"{address}/plugin/hparams/{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def test_tensorboard_scalars_hold_metrics_of_both_strategies(board: str, results: dict[str, Any]) -> None:
    tags = get(board, "plugin/scalars/tags")
    for strategy in STRATEGIES:
        run = f"a-run/evaluation/{strategy}"
        assert {"test/auroc", "test/accuracy", "validation/average_precision", "test_auroc/Pneumonia"} <= set(tags[run])
        assert "test_auroc/Emphysema" not in tags[run]  # not estimable
        ((_, step, value),) = get(board, "plugin/scalars/scalars", run=run, tag="test/auroc")
        expected = results["metrics"][strategy]["test"]["mean"]["auroc"]["value"]
        assert (step, value) == (0, pytest.approx(expected, abs=1e-6))


def test_tensorboard_hparams_holds_a_session_per_run(board: str, results: dict[str, Any]) -> None:
    settings = results["lineage"]["settings"]
    experiment = post_hparams(board, "experiment")
    named = {info["name"] for info in experiment["hparamInfos"]}
    assert named == set(settings)
    groups = post_hparams(
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
    expected = results["metrics"]["fine_tuning"]["test"]["mean"]["auroc"]["value"]
    assert values["test/auroc"] == pytest.approx(expected, abs=1e-6)


def test_tensorboard_images_hold_report_figures(board: str) -> None:
    """Fails if a tag contains more than the group of its images, such as an image id."""
    tags = get(board, "plugin/images/tags")
    assert list(tags) == ["a-run/evaluation/fine_tuning"]
    names = tags["a-run/evaluation/fine_tuning"]
    outcomes = ("false positives", "false negatives", "true positives", "true negatives")
    kinds = ("heat maps", "worst calls")
    groups = {f"{kind}/{label}/{outcome}" for kind in kinds for label in LABELS for outcome in outcomes}
    assert set(names) <= {"augmentation", *groups}
    assert any(name.startswith("heat maps/Pneumonia/") for name in names)
    assert any(name.startswith("worst calls/Pneumonia/") for name in names)
    name = next(name for name in names if name.startswith("heat maps/"))
    assert fetch_image(board, name).mode == "RGB"


def test_tensorboard_images_hold_augmentation_sheet(board: str, evaluation: Evaluated) -> None:
    png = contact_sheet.training_contact_sheet(Shards.read(evaluation.inputs.shards), SEED)
    with Image.open(BytesIO(png)) as sheet:
        np.testing.assert_array_equal(np.asarray(fetch_image(board, "augmentation").convert("L")), np.asarray(sheet))


def fetch_image(address: str, tag: str) -> Image.Image:
    """Returns the first image of a tag of the published strategy."""
    image = get(address, "plugin/images/images", run="a-run/evaluation/fine_tuning", tag=tag, sample=0)[0]
    content = fetch(address, "plugin/images/individualImage", **dict(urllib.parse.parse_qsl(image["query"])))
    return Image.open(BytesIO(content))


def test_tensorboard_projector_holds_features_labels_scores_and_thumbnails(board: str, evaluation: Evaluated) -> None:
    assert get(board, "plugin/projector/runs") == ["a-run/evaluation/fine_tuning"]
    which = {"run": "a-run/evaluation/fine_tuning", "name": "features"}
    (embedding,) = get(board, "plugin/projector/info", run=which["run"])["embeddings"]
    assert embedding["tensorShape"] == [39 + 31, 1280]
    features = np.frombuffer(fetch(board, "plugin/projector/tensor", **which), np.float32).reshape(70, 1280)
    assert np.isfinite(features).all()
    table = pd.read_csv(BytesIO(fetch(board, "plugin/projector/metadata", **which)), sep="\t")
    assert table["picture"].tolist() == [
        *(f"validation {position}" for position in range(39)),
        *(f"test {position}" for position in range(31)),
    ]
    predictions = pd.read_parquet(evaluation.folder / "predictions.parquet").query("strategy == 'fine_tuning'")
    for label in LABELS:
        truth = predictions[f"label:{label}"].map({0.0: "absent", 1.0: "present"})
        assert table[label].tolist() == truth.tolist()
        np.testing.assert_allclose(table[f"score of {label}"], predictions[f"score:{label}"], atol=1e-4)
    sprite = Image.open(BytesIO(fetch(board, "plugin/projector/sprite_image", **which)))
    assert sprite.size == (9 * 64, 9 * 64)
    last = np.asarray(sprite)[7 * 64 : 8 * 64, 6 * 64 : 7 * 64]  # the 70th of nine per row
    image = list(Shards.read(evaluation.inputs.shards).examples("test"))[-1][0].numpy()[..., 0]
    assert last.mean() == pytest.approx(image.mean(), abs=2)


def test_tensorboard_sprite_fits_projector_limit() -> None:
    side = int(np.ceil(np.sqrt(2 * tensorboard.MAX_EMBEDDED))) * tensorboard.THUMBNAIL
    assert side <= 8192


def test_tensorboard_logs_contain_no_patient_ids(logs: Path, evaluation: Evaluated) -> None:
    ids = Shards.read(evaluation.inputs.shards).rows["image_id"]
    assert ids.str.fullmatch(r"\d{8}_\d{3}\.png").all()
    for path in (path for path in logs.rglob("*") if path.is_file() and path.suffix != ".png"):
        assert not re.search(rb"\d{8}_\d{3}", path.read_bytes()), path
