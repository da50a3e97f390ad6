"""Enlarges images by a published generator of super-resolution, in the graph that decodes them."""

from __future__ import annotations

import functools
import tempfile
import threading
from pathlib import Path
from typing import Any

import tensorflow as tf

from radiograft.imaging.geometry import Enlargement
from radiograft.registry import generators, versions

ENLARGED = "enlarged"  # output of a generator's SavedModel
SMALL = "small"  # its input
_loading = threading.Lock()  # images are decoded in several threads


def enlarge(image: tf.Tensor, enlargement: Enlargement) -> tf.Tensor:
    """Enlarges uint8 [size, size, channels] to uint8 [size x scale, size x scale, channels].

    Raises:
        FileNotFoundError, ValueError: as `load_enlarger`.
    """
    serve = load_enlarger(enlargement).signatures["serving_default"]
    return serve(**{SMALL: image[tf.newaxis]})[ENLARGED][0]


def load_enlarger(enlargement: Enlargement) -> Any:
    """Returns the SavedModel of a published generator, whose files are verified. It is loaded once.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: it is not the version that is recorded, or corrupt.
    """
    with _loading, tf.init_scope():
        return _load(enlargement)


@functools.cache
def _load(enlargement: Enlargement) -> Any:
    registry, model, number = generators.parse_version_uri("the generator", enlargement.uri)
    manifest = versions.read_manifest(registry, model, number)
    if manifest["sha256"] != enlargement.sha256:
        raise ValueError(
            f"{enlargement.uri} must be the generator with the manifest {enlargement.sha256}, got "
            f"{manifest['sha256']}: images would be enlarged in another way than those of the training"
        )
    with tempfile.TemporaryDirectory(prefix="radiograft-generator-") as folder:
        versions.fetch_version(registry, model, number, manifest["files"], Path(folder))
        return tf.saved_model.load(folder)
