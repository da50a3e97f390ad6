"""The published SavedModel gives the recorded predictions in a process without Radiograft."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft import storage
from radiograft_pipelines.local.object_store import embedded_store
from tests.e2e.runs import BUCKET, MODEL, REGISTRY, TwoRuns

SERVE = """
import sys
from pathlib import Path
import numpy as np
import tensorflow as tf
version, images, output = map(Path, sys.argv[1:])
serve = tf.saved_model.load(str(version)).signatures["serving_default"]
files = sorted(images.iterdir())
answer = serve(image_bytes=tf.constant([file.read_bytes() for file in files]))["probabilities"]
np.save(output, answer.numpy())
assert "radiograft" not in sys.modules
"""


def _fetch(uri: str, folder: Path) -> Path:
    for entry in storage.list_files(uri):
        storage.write_bytes(str(folder / entry.name), storage.read_bytes(entry.uri))
    return folder


def _serve(version: Path, images: Path, output: Path) -> np.ndarray:
    """Returns predictions of the SavedModel, in the order of file names, from a process without Radiograft."""
    command = [sys.executable, "-c", SERVE, str(version), str(images), str(output)]
    subprocess.run(command, check=True, cwd=output.parent, capture_output=True)
    predictions: np.ndarray = np.load(output)
    return predictions


def test_saved_model_predictions_equal_recorded(two_runs: TwoRuns, tmp_path: Path) -> None:
    with embedded_store(two_runs.store):
        version = _fetch(f"{REGISTRY}/{MODEL}/1", tmp_path / "version")
        recorded = pd.read_parquet(version / "assets.extra" / "predictions.parquet")
        recorded = recorded[recorded["strategy"] == "fine_tuning"].sort_values("image_id")
        for image_id in recorded["image_id"]:
            source = f"{BUCKET}/phantom/phantom-60-patients-seed-0/images_001/images/{image_id}"
            storage.write_bytes(f"{tmp_path}/images/{image_id}", storage.read_bytes(source))
    predictions = _serve(version, tmp_path / "images", tmp_path / "predictions.npy")
    assert set(recorded["split"]) == {"validation", "test"}
    assert predictions.shape == (len(recorded), 1)
    assert np.ptp(predictions) > 0.01  # not constant
    np.testing.assert_allclose(predictions[:, 0], recorded["score:Pneumonia"], rtol=0, atol=1e-5)
