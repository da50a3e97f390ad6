"""Fine-tunes from each cut-off that is asked for, on frozen activations that all share, and keeps the best."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import keras
import tensorflow as tf

from radiograft.config import FineTune
from radiograft.data.shards.dataset import Shards
from radiograft.models import variables
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.early_pooling import pool_before_concat
from radiograft.models.graph_split import SplitModel, bridge_model, split_model
from radiograft.models.predictor import Predictor
from radiograft.registry.result_types import Trial
from radiograft.training.activation_cache import (
    CachedActivations,
    bytes_needed,
    cache_activations,
    extend_activations,
    peak_bytes,
    should_cache,
)
from radiograft.training.checkpoints import Checkpoints, weights_digest
from radiograft.training.datasets import TrainingData, data_from_activations, data_from_images
from radiograft.training.history import History
from radiograft.training.search.results import best_trial, make_trial
from radiograft.training.trainer import TrainConfig, train

log = logging.getLogger(__name__)


class SearchContext(NamedTuple):
    """What all candidates have in common."""

    settings: FineTune
    data: Shards
    plan: TrainConfig
    strategy: tf.distribute.Strategy
    checkpoints: Checkpoints

    @property
    def views(self) -> dict[str, int]:
        """Augmented views of each split; 0 is the images as they are."""
        return {"train": self.settings.train_cached_augmentations, "validation": 0}

    def material(self, stored: dict[str, CachedActivations] | None) -> TrainingData:
        """Batches of the stored activations, or of images augmented anew in each epoch."""
        batch = self.settings.train_batch_size, self.settings.train_seed, self.strategy.num_replicas_in_sync
        if stored is None:
            return data_from_images(self.data, *batch)
        return data_from_activations(stored["train"], stored["validation"], *batch)


def fine_tune_each(network: keras.Model, cut_offs: list[str], job: SearchContext) -> tuple[History, list[Trial]]:
    """Fine-tunes from each cut-off, always from the network as it came, and leaves it as the best candidate made it.

    Args:
        cut_offs: from the input towards the output, each computed from the one before.

    Returns:
        The best candidate's history, and what became of each.

    Raises:
        FloatingPointError: a loss diverged, or an activation is too large to be cached.
        OSError: `train_augmentation=cached` does not fit on the scratch disk.
    """
    start = variables.read_variables(network.variables)  # weights and the random states of dropout layers
    candidates, histories, kept = list[Trial](), dict[str, History](), start
    unfreeze_from(network, cut_offs[0], job.plan.head)
    with tempfile.TemporaryDirectory(prefix="radiograft-activations-") as scratch:
        cuts = _cuts(network, cut_offs)
        cached = _decide_caching(cuts, job, Path(scratch))
        replicas = job.strategy.num_replicas_in_sync
        facts = (dataclasses.asdict(job.settings), job.data.identity(), weights_digest(network), replicas, cached)
        for cut_off, model, material in _trainings(network, cuts, job, Path(scratch) if cached else None):
            weights = unfreeze_from(network, cut_off, job.plan.head)
            log.info("fine tuning from %s: %d of %d weights", cut_off, weights, network.count_params())
            logs = job.plan.logs / cut_off if len(cut_offs) > 1 else job.plan.logs
            plan, checkpoints = dataclasses.replace(job.plan, logs=logs), job.checkpoints.of(cut_off, *facts)
            history = train(model, material, plan, job.strategy, checkpoints)
            histories[cut_off] = history
            candidates.append(make_trial({"model_cut_off": cut_off}, weights, history))
            if best_trial(candidates) is candidates[-1]:
                kept = variables.read_variables(network.variables)
            variables.write_variables(network.variables, start)
    variables.write_variables(network.variables, kept)
    chosen = str(best_trial(candidates)["overrides"]["model_cut_off"])
    unfreeze_from(network, chosen, job.plan.head)
    return histories[chosen], candidates


def _cuts(network: keras.Model, cut_offs: list[str]) -> dict[str, SplitModel]:
    """The network, its end pooled early, split at each cut-off."""
    pooled = pool_before_concat(network)
    return {cut_off: split_model(pooled, cut_off) for cut_off in cut_offs}


def _decide_caching(cuts: dict[str, SplitModel], job: SearchContext, scratch: Path) -> bool:
    """Whether the activations are cached, said with the reason."""
    a_view = peak_bytes([cut.bytes_a_view() for cut in cuts.values()])
    needed = bytes_needed(a_view, job.data, job.settings.train_cached_augmentations)
    cached, reason = should_cache(job.settings.train_augmentation, needed, scratch)
    log.info("augmentation %s: %s", "cached" if cached else "online", reason)
    return cached


def _trainings(
    network: keras.Model, cuts: dict[str, SplitModel], job: SearchContext, scratch: Path | None
) -> Iterator[tuple[str, keras.Model, TrainingData]]:
    """Each cut-off with the model to fit and what to fit it on: activations cached in `scratch`, or images without.

    The network must be as it came whenever the next one is asked for.
    """
    stored, shallower = dict[str, CachedActivations](), None
    for number, (cut_off, cut) in enumerate(cuts.items()):
        if scratch is None:
            # A model of its own, so that the one that is saved stays without an optimizer.
            yield cut_off, keras.Model(network.input, network.output), job.material(None)
            continue
        folder = scratch / str(number)
        stored = _extended(stored, shallower, cut, job, folder) if shallower else _cached(cut, job, folder)
        shallower = cut
        yield cut_off, cut.suffix, job.material(stored)


def _cached(cut: SplitModel, job: SearchContext, folder: Path) -> dict[str, CachedActivations]:
    """The activations at the first cut, from the images."""
    prefix, settings = Predictor(cut.prefix, job.strategy), job.settings
    return {
        part: cache_activations(
            prefix,
            job.data,
            part,
            views=views,
            batch_size=settings.train_batch_size,
            seed=settings.train_seed,
            folder=folder,
        )
        for part, views in job.views.items()
    }


def _extended(
    stored: dict[str, CachedActivations], shallower: SplitModel, deeper: SplitModel, job: SearchContext, folder: Path
) -> dict[str, CachedActivations]:
    """The activations at the next cut, from those at the one before, which are removed."""
    network = Predictor(bridge_model(shallower, deeper), job.strategy)
    extended = dict[str, CachedActivations]()
    for part, shallow in stored.items():
        extended[part] = extend_activations(
            shallow, network, part, batch_size=job.settings.train_batch_size, folder=folder
        )
        shallow.discard()
    return extended
