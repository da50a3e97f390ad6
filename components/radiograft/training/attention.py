"""Trains an attention-guided network in stages: each starts when the branches before it are final.

The crops of the images, and of their augmented copies, no longer change once the global branch is final. The frozen
layers of the local branch therefore run once, and only their outputs are stored.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.imaging.augment import DRAWS, draw_parameters
from radiograft.models import branches
from radiograft.models.attention import copy_network, insert
from radiograft.models.branches import CONTROL, LOCAL, CropTensors
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import SplitModel, pool_before_concat, split_model
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry.training_types import BranchStage
from radiograft.training.activation_cache import (
    CachedActivations,
    bytes_needed,
    cache_activations,
    check_space,
    extend_activations,
)
from radiograft.training.checkpoints import weights_digest
from radiograft.training.history import History
from radiograft.training.search.cut_off import SearchContext
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train

log = logging.getLogger(__name__)

PLACE_DRAWS = range(DRAWS, DRAWS + 2)  # the random numbers of an image that follow those of its augmentation


class TrainedBranches(NamedTuple):
    """An attention-guided network and its parts.

    Attributes:
        network: from images to the predictions of the fusion classifier.
        comparison: from images, and with a control the places of random crops, to the boxes and then the predictions of
            each branch in `stages` except `fusion`, which `network` predicts.
        stages: the course of each training, by branch: `global`, `local`, `fusion`, `random_local`, `random_fusion`.
    """

    network: keras.Model
    comparison: keras.Model
    stages: list[BranchStage]


class _Crop(NamedTuple):
    """The networks that read one kind of crop: guided, or random. `prefix` is that of the names of their layers."""

    prefix: str
    local: keras.Model
    split: SplitModel

    @property
    def layers(self) -> str:
        """Prefix of the names of the layers of the local branch."""
        return self.prefix + LOCAL

    @property
    def frontier(self) -> int:
        """Number of tensors between the frozen and the trained layers."""
        return len(self.split.prefix.outputs)


def copy_branches(network: keras.Model, control: bool) -> list[keras.Model]:
    """Copies the network from which fine-tuning starts: once for the local branch and, with a control, once for it."""
    return [branches.copy_branch(network, prefix + LOCAL) for prefix in ("", CONTROL)[: 1 + control]]


def train_branches(
    network: keras.Model,
    history: History,
    copies: Sequence[keras.Model],
    spec: ModelSpec,
    context: SearchContext,
    head: TrainConfig,
) -> TrainedBranches:
    """Trains the local branch and the fusion classifier and, with a control, the same with random crops.

    Args:
        network: the trained global branch, which does not change.
        history: the course of its training.
        copies: see `copy_branches`.
        spec: of the global branch; the local branch is trained from the same cut-off.
        context: how the global branch was fine-tuned; the local branch is trained in the same way.
        head: how the fusion classifier is trained.

    Raises:
        FloatingPointError: training diverged, or an activation is too large for the cache.
        OSError: the activations do not fit on the scratch disk.
    """
    tensors = branches.find_crop(network, spec.tensors)
    crops = [
        _split(copy, prefix, spec, context.config.head) for prefix, copy in zip(("", CONTROL), copies, strict=False)
    ]
    stages = [_stage("global", history)]
    with tempfile.TemporaryDirectory(prefix="radiograft-crops-") as scratch:
        cached = _cache(network, tensors, crops, context, Path(scratch))
        fused, start = list[tuple[_Crop, keras.Model]](), 1
        for crop in crops:
            own = _select(cached, range(start, start + crop.frontier))
            start += crop.frontier
            key = _checkpoint_key(network, crop, spec, context)
            local_history = _train_local(crop, own, context, key)
            features = _pool(crop, own, spec, context, Path(scratch))
            joined = {name: _join(cached[name], features[name]) for name in cached}
            fusion = branches.build_fusion(network, spec.head, spec.tensors.pooling, crop.prefix)
            fusion_history = _train_fusion(crop, fusion, joined, context, head, key)
            fused.append((crop, fusion))
            stages += [
                _stage(f"{crop.prefix}local", local_history), _stage(f"{crop.prefix}fusion", fusion_history),
            ]  # fmt: skip
    guided = branches.build_fused(tensors, crops[0].local, fused[0][1], spec.tensors.pooling, network.name)
    return TrainedBranches(guided, _comparison(network, tensors, fused, spec), stages)


def _split(local: keras.Model, prefix: str, spec: ModelSpec, head: Sequence[str]) -> _Crop:
    cut_off = f"{prefix}{LOCAL}{spec.cut_off}"
    unfreeze_from(local, cut_off, [f"{prefix}{LOCAL}{name}" for name in head])
    return _Crop(prefix, local, split_model(pool_before_concat(local), cut_off))


def _cache(
    network: keras.Model, tensors: CropTensors, crops: Sequence[_Crop], context: SearchContext, folder: Path
) -> dict[str, CachedActivations]:
    """Runs the frozen layers on the crops of all copies, by data split: the global features come first."""
    control = crops[1].split if len(crops) > 1 else None
    model = branches.build_prefix(tensors, crops[0].split, control, network)
    per_copy = 2 * sum(int(np.prod(tensor.shape[1:])) for tensor in model.outputs)
    needed = bytes_needed(per_copy, context.data, context.settings.train_cached_augmentations)
    check_space(needed, folder, "model_branches=attention_guided")
    log.info("crops of %d images: %.1f MB of activations", len(context.data.rows), needed / 1e6)
    prefix, settings, cached = Predictor(model, context.strategy), context.settings, dict[str, CachedActivations]()
    for name, count in context.copies.items():
        places = functools.partial(draw_places, context.data, name, settings.train_seed)
        cached[name] = cache_activations(
            prefix,
            context.data,
            name,
            copies=count,
            batch_size=settings.train_batch_size,
            seed=settings.train_seed,
            folder=folder / "frontier",
            companions=places if control else None,
        )
    return cached


def draw_places(data: Shards, split: str, seed: int, copy: int = 0) -> np.ndarray:
    """Returns the place of each image's random crop in one copy, float32 [images, 2] in [0, 1), in stored order."""
    ids = tf.constant(data.split(split)["image_id"].astype(str).tolist(), tf.string)
    places: np.ndarray = draw_parameters(ids, tf.constant(copy, tf.int64), seed, PLACE_DRAWS).numpy()
    return places


def _train_local(
    crop: _Crop, cached: dict[str, CachedActivations], context: SearchContext, key: tuple[Any, ...]
) -> History:
    name = f"{crop.prefix}local"
    config = dataclasses.replace(
        context.config,
        name=f"{name.replace('_', ' ')} branch",
        logs=context.config.logs.with_name(f"{name}_branch"),
        head=tuple(crop.layers + layer for layer in context.config.head),
    )
    data, kept = context.training_data(cached), context.checkpoints.of(name, *key)
    return train(crop.split.suffix, data, config, context.strategy, kept)


def _train_fusion(
    crop: _Crop,
    fusion: keras.Model,
    cached: dict[str, CachedActivations],
    context: SearchContext,
    head: TrainConfig,
    key: tuple[Any, ...],
) -> History:
    name = f"{crop.prefix}fusion"
    config = dataclasses.replace(
        head,
        name=name.replace("_", " "),
        logs=context.config.logs.with_name(name),
        head=tuple(crop.prefix + layer for layer in context.config.head),
    )
    trained = weights_digest(crop.local), head.learning_rate, head.epochs
    kept = context.checkpoints.of(name, *key, *trained)
    return train(fusion, context.training_data(cached), config, context.strategy, kept)


def _pool(
    crop: _Crop, cached: dict[str, CachedActivations], spec: ModelSpec, context: SearchContext, folder: Path
) -> dict[str, CachedActivations]:
    """Computes the pooled features of the trained local branch from its cached activations."""
    pooling = Predictor(branches.build_pooling(crop.split, crop.layers + spec.tensors.pooling), context.strategy)
    target, batch_size = folder / f"{crop.prefix}pooled", context.settings.train_batch_size
    return {
        name: extend_activations(activations, pooling, name, batch_size=batch_size, folder=target)
        for name, activations in cached.items()
    }


def _select(cached: dict[str, CachedActivations], parts: range) -> dict[str, CachedActivations]:
    return {
        name: dataclasses.replace(activations, parts=activations.parts[parts.start : parts.stop])
        for name, activations in cached.items()
    }


def _join(cached: CachedActivations, features: CachedActivations) -> CachedActivations:
    """Returns the global features and the local ones as the two inputs of the fusion classifier."""
    return dataclasses.replace(cached, parts=[cached.parts[0], *features.parts])


def _checkpoint_key(network: keras.Model, crop: _Crop, spec: ModelSpec, context: SearchContext) -> tuple[Any, ...]:
    """Returns everything on which the local branch depends."""
    weights, replicas = (weights_digest(network), weights_digest(crop.local)), context.strategy.num_replicas_in_sync
    return dataclasses.asdict(context.settings), context.data.identity(), *weights, spec.cut_off, replicas


def _stage(branch: str, history: History) -> BranchStage:
    return BranchStage(
        branch=branch, epochs=len(history.epochs), best_epoch=history.best_epoch, metrics=dict(history.best)
    )


def _comparison(
    network: keras.Model, tensors: CropTensors, fused: Sequence[tuple[_Crop, keras.Model]], spec: ModelSpec
) -> keras.Model:
    """Builds the network that predicts with each branch except the guided fusion."""
    inputs, outputs = [tensors.image], [tensors.boxes, network.output]
    for crop, fusion in fused:
        cut = tensors.crop
        if crop.prefix:
            draws, cut = branches.find_random_crop(network, tensors.boxes)
            inputs.append(draws)
        outputs.append(insert(crop.local, cut, f"{crop.prefix}local_network"))
        if crop.prefix:
            pooled = branches.pool_crop(crop.local, cut, crop.layers + spec.tensors.pooling)
            outputs.append(insert(fusion, [tensors.pooled, pooled], f"{crop.prefix}fusion"))
    return copy_network(keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name="branches"))
