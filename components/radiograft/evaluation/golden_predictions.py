"""A few synthetic images with their probabilities, by which any copy of a published version can be tested anywhere.

They are phantoms, so that no patient's pixels lie in the registry for it.
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
ANSWERS = "probabilities.json"
IMAGES = 6
SIZE = 256  # pixels; the served model resizes them, as it does any image
# Another processor rounds otherwise. EfficientNet-Lite0's probabilities in float16 were within 0.006 of float32's, in
# bfloat16 within 0.073; a GPU's float32 is TF32, which keeps float16's digits in the factors of a product alone.
TOLERANCES = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}


def write_golden_predictions(predictor: Predictor, folder: Path) -> None:
    """Writes PNG files and what the network answers to each, as every later copy must within a tolerance."""
    size = int(predictor.model.input.shape[1])
    files = [content for _, content in itertools.islice(generate_phantom_files(IMAGES, seed=0, size=SIZE), IMAGES)]
    images = np.stack([decode(tf.constant(content), size).numpy() for content in files])
    answers = predictor.predict(tf.data.Dataset.from_tensors(images))
    place = folder / FOLDER
    place.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(files):
        (place / f"{number}.png").write_bytes(content)
    recorded = {
        "probabilities": {f"{number}.png": answer.astype(float).tolist() for number, answer in enumerate(answers)},
        "tolerance": max(TOLERANCES[layer.compute_dtype] for layer in predictor.model.layers),
    }
    (place / ANSWERS).write_text(json.dumps(recorded, indent=2))
