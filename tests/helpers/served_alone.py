"""Predicts the recorded samples of a published version in a fresh process by TensorFlow alone."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

SERVE = """
import json, pathlib, re, sys
import tensorflow as tf

version = pathlib.Path(sys.argv[1])
folder = version / "assets.extra" / "sample"
recorded = json.loads((folder / "probabilities.json").read_text())
signatures = tf.saved_model.load(str(version)).signatures

def difference(signature, expected, **given):
    answer = signatures[signature](**given)["probabilities"].numpy()[0]
    return max(abs(float(one) - other) for one, other in zip(answer, expected, strict=True))

def read(name):
    return tf.constant([(folder / name).read_bytes()])

alone = [difference("serving_default", p, image_bytes=read(name)) for name, p in recorded["probabilities"].items()]
whole = []
for name, sample in recorded.get("samples", {}).items():
    inputs = signatures["samples"].structured_input_signature[1]
    given = {key: tf.constant([""] if each.dtype == tf.string else [float("nan")]) for key, each in inputs.items()}
    given["image_bytes"] = read(name)
    if "lateral" in sample:
        given["lateral_bytes"] = read(sample["lateral"])
    for column, value in sample["patient_data"].items():
        key = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
        given[key] = tf.constant([value if inputs[key].dtype == tf.string else float(value)])
    whole.append(difference("samples", sample["probabilities"], **given))
assert "radiograft" not in sys.modules
print(json.dumps([alone, whole]))
"""


def serve_recorded_samples(version: Path) -> tuple[list[float], list[float]]:
    """Returns how far the answers are from the recorded ones: for images alone, and with all further inputs."""
    with tempfile.TemporaryDirectory() as elsewhere:
        command = [sys.executable, "-c", SERVE, str(version.resolve())]
        environment = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": elsewhere}
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=elsewhere, env=environment)
    alone, whole = json.loads(done.stdout)
    return alone, whole
