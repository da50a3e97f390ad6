"""Computes activations at a cut-off from images or from a shallower cut-off, and keeps them for later trials."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from radiograft.config.training import TENSORFLOW
from radiograft.data.shards.dataset import Shards
from radiograft.models.graph import upstream_layers
from radiograft.models.graph_split import SplitModel, bridge_model
from radiograft.models.keras_internals import producing_layer
from radiograft.models.predictor import Predictor
from radiograft.training.activation_cache import (
    CachedActivations,
    bytes_needed,
    cache_activations,
    extend_activations,
)
from radiograft.training.checkpoints import checkpoint_key, weights_digest
from radiograft.training.frozen_engines import build_predictor

log = logging.getLogger(__name__)

Activations = dict[str, CachedActivations]  # by split


class ActivationJob(NamedTuple):
    """What activations are computed of.

    Attributes:
        data: training and validation images.
        copies: number of augmented copies by split; 0 stands for the images without augmentation.
        batch_size: images in a batch.
        seed: of the augmentation.
        strategy: distributes the network over the devices.
        engine: runs the frozen layers, see `train_frozen_engine`; not `auto`.
    """

    data: Shards
    copies: dict[str, int]
    batch_size: int
    seed: int
    strategy: tf.distribute.Strategy
    engine: str = TENSORFLOW

    def compute(self, split: SplitModel, folder: Path) -> Activations:
        """Computes the activations of all splits from the images, with files in `folder`."""
        prefix = build_predictor(split.prefix, self.strategy, self.engine)
        return {
            name: cache_activations(
                prefix, self.data, name, copies=copies, batch_size=self.batch_size, seed=self.seed, folder=folder
            )
            for name, copies in self.copies.items()
        }

    def extend(self, cached: Activations, shallower: SplitModel, deeper: SplitModel, folder: Path) -> Activations:
        """Computes the activations at the deeper cut-off from those at the shallower one."""
        bridge = Predictor(bridge_model(shallower, deeper), self.strategy)
        return {
            name: extend_activations(activations, bridge, name, batch_size=self.batch_size, folder=folder)
            for name, activations in cached.items()
        }

    def key(self, split: SplitModel) -> str:
        """Returns 32 hexadecimal digits that identify the activations at a cut-off."""
        frontier = [producing_layer(tensor).name for tensor in split.prefix.outputs]
        network = weights_digest(split.prefix), frontier, self.engine
        return checkpoint_key(*network, self.data.identity(), self.copies, self.seed)

    def bytes(self, split: SplitModel) -> int:
        """Returns the size of the activations at a cut-off."""
        return bytes_needed(split.bytes_per_copy(), self.data, self.copies["train"])


class ActivationStore:
    """Keeps activations of several trials on the scratch disk; deletes the oldest if they need more than half of it.

    Attributes:
        folder: folder of the files.
        cut_offs: layers from which the trials are fine-tuned.
    """

    def __init__(self, folder: Path, cut_offs: Sequence[str] = ()) -> None:
        self.folder, self.cut_offs = folder, cut_offs
        self._kept: dict[str, tuple[Activations, Path, int]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def first_cut_off(self, network: keras.Model, cut_off: str) -> str:
        """Returns the shallowest searched cut-off from which the activations at this one can be computed."""
        upstream = upstream_layers(network, cut_off)
        return next(
            (layer.name for layer in network.layers if layer.name in upstream.intersection(self.cut_offs)), cut_off
        )

    def get(self, key: str, size: int, compute: Callable[[Path], Activations]) -> Activations:
        """Returns activations that an earlier trial computed, or computes them.

        Args:
            key: identifies the activations.
            size: their size in bytes.
            compute: writes them to a folder.
        """
        if key not in self._kept:
            self._make_room(size)
            self._kept[key] = compute(self.folder / key), self.folder / key, size
        self._kept[key] = self._kept.pop(key)  # the most recent is last
        return self._kept[key][0]

    def _make_room(self, size: int) -> None:
        """Deletes the oldest activations except the most recent ones, from which others may be computed."""
        used = sum(kept for _, _, kept in self._kept.values())
        limit = (shutil.disk_usage(self.folder).free + used) / 2
        for key in list(self._kept)[:-1]:
            if used + size <= limit:
                return
            activations, folder, kept = self._kept.pop(key)
            log.info("deleting activations of an earlier trial, %.1f MB", kept / 1e6)
            for part in activations.values():
                part.discard()
            shutil.rmtree(folder, ignore_errors=True)
            used -= kept
