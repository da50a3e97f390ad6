"""Golden predictions: synthetic images with their probabilities, to test any copy of a published version.

The images are phantoms, so that the registry contains no patient data.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.imaging.decode import decode
from radiograft.models.predictor import Predictor

FOLDER = "sample"
PROBABILITIES_FILE = "probabilities.json"
IMAGES = 6
SIZE = 256  # pixels; the served model resizes them, as it does any image
# Maximum absolute difference by compute dtype, since processors round differently. Measured for EfficientNet-Lite0
# against float32: 0.006 in float16 and 0.073 in bfloat16. On GPUs, float32 products use TF32, with a float16 mantissa.
TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}


def write_golden_predictions(predictor: Predictor, folder: Path) -> None:
    """Writes PNG files, the predicted probabilities and the tolerance to the folder `sample`."""
    size = int(predictor.model.input.shape[1])
    files = [content for _, content in itertools.islice(generate_phantom_files(IMAGES, seed=0, size=SIZE), IMAGES)]
    images = np.stack([decode(tf.constant(content), size).numpy() for content in files])
    probabilities = predictor.predict(tf.data.Dataset.from_tensors(images))
    sample = folder / FOLDER
    sample.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(files):
        (sample / f"{number}.png").write_bytes(content)
    expected = {
        "probabilities": {f"{number}.png": row.astype(float).tolist() for number, row in enumerate(probabilities)},
        "tolerance": max(TOLERANCES[layer.compute_dtype] for layer in predictor.model.layers),
    }
    (sample / PROBABILITIES_FILE).write_text(json.dumps(expected, indent=2))
