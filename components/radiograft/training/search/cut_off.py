"""Fine-tunes a network from several cut-offs and keeps the best result.

Frozen layers run once: their activations are cached at the first cut-off, and each further cache is computed from the
one before.
"""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from radiograft.config import FineTune
from radiograft.data.shards.dataset import Shards
from radiograft.models import variables
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import SplitModel, pool_before_concat, split_model
from radiograft.registry.training_types import Trial
from radiograft.training.activation_cache import CachedActivations, bytes_needed, peak_bytes, should_cache
from radiograft.training.checkpoints import Checkpoints, weights_digest
from radiograft.training.datasets import TrainingData, data_from_activations, data_from_images
from radiograft.training.history import History
from radiograft.training.search.activation_store import ActivationJob, Activations, ActivationStore
from radiograft.training.search.results import best_trial, make_trial
from radiograft.training.tasks.base import TrainingTask
from radiograft.training.tasks.registry import get_monitor
from radiograft.training.trainer import TrainConfig, TrainObserver, train

log = logging.getLogger(__name__)


class SearchContext(NamedTuple):
    """What all trials of a search share.

    Attributes:
        settings: settings of the fine-tune stage.
        data: training and validation images.
        config: how to train; if there are several cut-offs, each logs to a subfolder of `config.logs`.
        strategy: distributes the network over the devices.
        checkpoints: checkpoints of this task.
        store: keeps activations for later searches on the same data; without it they are deleted.
    """

    settings: FineTune
    data: Shards
    config: TrainConfig
    strategy: tf.distribute.Strategy
    checkpoints: Checkpoints
    store: ActivationStore | None = None

    @property
    def job(self) -> ActivationJob:
        """What activations are computed of."""
        settings = self.settings
        return ActivationJob(self.data, self.views, settings.train_batch_size, settings.train_seed, self.strategy)

    @property
    def views(self) -> dict[str, int]:
        """Number of cached augmented views by split; 0 stands for the images without augmentation."""
        return {"train": self.settings.train_cached_augmentations, "validation": 0}

    def unfreeze_from(self, network: keras.Model, cut_off: str) -> int:
        """Makes the layers from the cut-off on trainable; returns the number of trainable weights."""
        return unfreeze_from(network, cut_off, self.config.head, batch_norm=self.settings.train_batch_norm)

    def training_data(self, cached: dict[str, CachedActivations] | None) -> TrainingData:
        """Returns batches of cached activations by split, or without a cache batches of images augmented online."""
        options = self.settings.train_batch_size, self.settings.train_seed, self.strategy.num_replicas_in_sync
        if cached is None:
            return data_from_images(self.data, *options)
        return data_from_activations(cached["train"], cached["validation"], *options)


def fine_tune_each(network: keras.Model, cut_offs: list[str], context: SearchContext) -> tuple[History, list[Trial]]:
    """Fine-tunes the network from each cut-off and leaves it with the weights of the best trial.

    Every trial starts from the weights that the network has when this function is called.

    Args:
        network: a network from images to predictions, built in the scope of `context.strategy`.
        cut_offs: layer names from the input to the output; each layer depends on the one before.
        context: what the trials share.

    Returns:
        The history of the best trial, and all trials in the order of `cut_offs`.

    Raises:
        FloatingPointError: training diverged, or an activation is too large for the cache.
        OSError: `train_augmentation=cached` does not fit on the scratch disk.
    """
    initial = variables.read_variables(network.variables)  # weights and the random states of dropout layers
    best, trials, histories = initial, list[Trial](), dict[str, History]()
    first = context.store.first_cut_off(network, cut_offs[0]) if context.store else cut_offs[0]
    context.unfreeze_from(network, first)  # where to split depends on which layers are frozen
    with tempfile.TemporaryDirectory(prefix="radiograft-activations-") as scratch:
        splits = _split_at(network, list(dict.fromkeys([first, *cut_offs])))
        folder = Path(scratch) if _decide_caching(splits, context, Path(scratch)) else None
        key = _checkpoint_key(network, context, cached=folder is not None)
        for cut_off, model, data in _iter_models(network, splits, context, folder):
            if cut_off not in cut_offs:
                continue  # its activations lead to those at the others
            weights = context.unfreeze_from(network, cut_off)
            log.info("fine tuning from %s: %d of %d weights", cut_off, weights, network.count_params())
            logs = context.config.logs / cut_off if len(cut_offs) > 1 else context.config.logs
            config = dataclasses.replace(context.config, logs=logs)
            history = train(model, data, config, context.strategy, context.checkpoints.of(cut_off, *key))
            histories[cut_off] = history
            trials.append(make_trial({"model_cut_off": cut_off}, weights, history))
            if best_trial(trials, context.config.task.monitor) is trials[-1]:
                best = variables.read_variables(network.variables)
            variables.write_variables(network.variables, initial)
    variables.write_variables(network.variables, best)
    best_cut_off = str(best_trial(trials, context.config.task.monitor)["overrides"]["model_cut_off"])
    context.unfreeze_from(network, best_cut_off)
    return histories[best_cut_off], trials


def _checkpoint_key(network: keras.Model, context: SearchContext, *, cached: bool) -> tuple[Any, ...]:
    """Returns everything besides the cut-off on which the result of a trial depends."""
    settings, replicas = dataclasses.asdict(context.settings), context.strategy.num_replicas_in_sync
    return settings, context.data.identity(), weights_digest(network), replicas, cached


def _split_at(network: keras.Model, cut_offs: list[str]) -> dict[str, SplitModel]:
    """Splits the network, rewritten for early pooling, at each cut-off."""
    pooled_early = pool_before_concat(network)
    return {cut_off: split_model(pooled_early, cut_off) for cut_off in cut_offs}


def _decide_caching(splits: dict[str, SplitModel], context: SearchContext, scratch: Path) -> bool:
    """Returns whether to cache activations in `scratch`, and logs the reason."""
    per_view = peak_bytes([split.bytes_per_view() for split in splits.values()])
    needed = bytes_needed(per_view, context.data, context.settings.train_cached_augmentations)
    cached, reason = should_cache(context.settings.train_augmentation, needed, scratch)
    log.info("augmentation %s: %s", "cached" if cached else "online", reason)
    return cached


def _iter_models(
    network: keras.Model, splits: dict[str, SplitModel], context: SearchContext, scratch: Path | None
) -> Iterator[tuple[str, keras.Model, TrainingData]]:
    """Yields each cut-off with the model to train and its training data.

    With a scratch folder the model is the suffix and the data are activations cached in that folder. Without one the
    model is the whole network and the data are images.

    The network must have its initial weights again when the next item is requested: the next cache is computed with
    layers that the previous trial trained.
    """
    cached, previous = Activations(), None
    for number, (cut_off, split) in enumerate(splits.items()):
        if scratch is None:
            # A separate model is compiled, so that the network is saved without an optimizer.
            yield cut_off, keras.Model(network.input, network.output), context.training_data(None)
            continue
        compute = _computation(context.job, cached, previous, split)
        if context.store:
            cached = context.store.get(context.job.key(split), context.job.bytes(split), compute)
        else:
            shallower, cached = cached, compute(scratch / str(number))
            for activations in shallower.values():
                activations.discard()
        previous = split
        yield cut_off, split.suffix, context.training_data(cached)


def _computation(
    job: ActivationJob, cached: Activations, previous: SplitModel | None, split: SplitModel
) -> Callable[[Path], Activations]:
    """Returns how to compute activations: from those at the previous cut-off, or else from the images."""
    if previous is None:
        return lambda folder: job.compute(split, folder)
    return lambda folder: job.extend(cached, previous, split, folder)


def fine_tune_config(
    settings: FineTune,
    task: TrainingTask,
    head: tuple[str, ...],
    logs: Path,
    observer: TrainObserver | None = None,
) -> TrainConfig:
    """Returns how to fine-tune; see `TrainConfig`."""
    return TrainConfig(
        name="fine tuning",
        optimizer=settings.train_optimizer,
        learning_rate=settings.train_fine_tune_learning_rate,
        recipe=settings.recipe(),
        epochs=settings.train_fine_tune_epochs,
        patience=settings.train_patience,
        logs=logs,
        head=head,
        task=task,
        monitor=get_monitor(settings.train_monitor),
        observer=observer,
        members=settings.train_members,
        distillation_epochs=settings.train_distillation_epochs,
    )
