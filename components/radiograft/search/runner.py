"""Trains the network of one trial after the other; trials share shards, features and cached activations."""

from __future__ import annotations

import collections
import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import keras
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.config import ExtractFeatures, FineTune, Preprocess
from radiograft.config.base import Scalar
from radiograft.config.network import AUTO_LAYER, FRONTAL_LATERAL
from radiograft.config.search import FEATURE_EXTRACTION, IMAGE_SETTINGS
from radiograft.config.training import Training
from radiograft.data.shards.dataset import Shards
from radiograft.data.studies import check_laterals
from radiograft.models import variables
from radiograft.models.cut_offs import parse_cut_offs
from radiograft.models.feature_layers import named_layers
from radiograft.registry.training_types import Trial
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints, checkpoint_key
from radiograft.training.cut_off_curve import choose_feature_layers, compute_curve
from radiograft.training.datasets import fit_batch_size, fit_covariates, with_patient_data, with_views
from radiograft.training.feature_classifier import extract_all_features, fit_classifier, is_fine_tunable, target_scales
from radiograft.training.feature_extraction import FITTED_SPLITS, FeatureSet
from radiograft.training.history import History
from radiograft.training.search.activation_store import ActivationStore
from radiograft.training.search.cut_off import SearchContext, fine_tune_each
from radiograft.training.search.results import make_trial
from radiograft.training.tasks.base import TrainingTask
from radiograft.training.tasks.registry import get_task
from radiograft.training.train_config import TrainObserver, train_config

BACKBONE_SETTINGS = ("model_backbone", "model_weights", "model_weights_md5", "model_normalization")
CACHE_SETTINGS = (*IMAGE_SETTINGS, *BACKBONE_SETTINGS, "model_cut_off")  # they change what trials can share
MAX_BACKBONES = 2  # in memory; features of others are read from checkpoints
MAX_CLASSIFIERS = 64
# With these settings differing, the same classifier is the start of fine-tuning.
NOT_OF_CLASSIFIER = ("compare_backbones", "model_cut_off")

Settings = Mapping[str, Scalar]
TrainingT = TypeVar("TrainingT", bound=Training)
UseNetwork = Callable[[keras.Model, Shards], None]


class Classifier(NamedTuple):
    """A network with a trained classifier, the names of the layers of its head, and the history of the training."""

    network: keras.Model
    head: tuple[str, ...]
    history: History


class TrialInputs(NamedTuple):
    """What a worker reads and writes.

    Attributes:
        catalog: folder of the catalog, from which shards of other image sizes are made.
        shards: folder of the shards with the settings of the search.
        scratch: folder for features, shards and activations.
        logs: folder for TensorBoard.
        checkpoints: checkpoints of the search, which all workers share.
    """

    catalog: Path
    shards: Path
    scratch: Path
    logs: Path
    checkpoints: Checkpoints


class TrialRunner:
    """Trains trials that differ in settings.

    The frozen backbone runs once for each backbone and image size; a trial that changes only the classifier or its
    optimizer trains on the stored features. Fine-tuning starts from a classifier that trials share if its settings are
    equal, on activations that they share if weights, augmentation and seed are equal.
    """

    def __init__(
        self, settings: Settings, cut_offs: tuple[str, ...], inputs: TrialInputs, strategy: tf.distribute.Strategy
    ) -> None:
        self.settings, self.inputs, self.strategy = settings, inputs, strategy
        self._shards = {self._image_key(settings): Shards.read(inputs.shards)}
        self._features: collections.OrderedDict[str, FeatureSet] = collections.OrderedDict()
        self._classifiers: dict[str, Classifier] = {}
        self._store = ActivationStore(inputs.scratch / "activations", cut_offs)

    def data(self, settings: Settings) -> Shards:
        """Returns the shards for the settings of a trial; those of another image size are made when first needed."""
        key = self._image_key(settings)
        if key not in self._shards:
            self._shards[key] = Shards.read(shards_folder(self.settings, settings, self.inputs))
        data = dataclasses.replace(self._shards[key], augmentation=Preprocess.of(settings).augmentation())
        return with_patient_data(data, fit_covariates(data, ExtractFeatures.of(settings).patient_data()))

    def train(
        self,
        strategy: str,
        settings: Settings,
        observer: TrainObserver,
        name: str,
        use: UseNetwork | None = None,
    ) -> Trial:
        """Trains the network of a trial.

        Args:
            strategy: `feature_extraction` or `fine_tuning`.
            settings: settings of all stages.
            observer: follows the training that `strategy` names.
            name: of the folders of logs and checkpoints.
            use: called with the trained network and its images before the weights are restored.

        Returns:
            The result, with no overrides.
        """
        logs, checkpoints = self.inputs.logs / name, self.inputs.checkpoints.of(name, "trial")
        with self.strategy.scope():
            if strategy == FEATURE_EXTRACTION:
                network, head, history = self._train_classifier(settings, logs, checkpoints, observer)
                weights = sum(math.prod(weight.shape) for part in head for weight in network.get_layer(part).weights)
                if use:
                    use(network, _with_views(self.data(settings), settings))
                return make_trial({}, weights, history)
            return self._fine_tune(settings, logs, checkpoints, observer, use)

    def _fine_tune(
        self, values: Settings, logs: Path, checkpoints: Checkpoints, observer: TrainObserver, use: UseNetwork | None
    ) -> Trial:
        network, head, _ = self._start(values, logs, checkpoints)
        data, backbone = _with_views(self.data(values), values), get_backbone(str(values["model_backbone"]))
        settings = self._fit_batch(FineTune.of(values))
        keras.utils.set_random_seed(settings.train_seed)
        config = train_config(settings, task_of(data), head, logs, observer)
        cut_offs = parse_cut_offs(settings.model_cut_off, network, backbone, head)
        context = SearchContext(settings, data, config, self.strategy, checkpoints, self._store)
        initial = variables.read_variables(network.variables)
        try:
            _, (trial,) = fine_tune_each(network, cut_offs, context)
            if use:
                use(network, data)
        finally:
            variables.write_variables(network.variables, initial)
        return trial

    def _start(self, values: Settings, logs: Path, checkpoints: Checkpoints) -> Classifier:
        """Returns the network with a classifier from which fine-tuning starts."""
        own = dataclasses.asdict(ExtractFeatures.of(values))
        own = {name: value for name, value in own.items() if name not in NOT_OF_CLASSIFIER}
        key = json.dumps([self._image_key(values), own])
        if key not in self._classifiers:
            if len(self._classifiers) >= MAX_CLASSIFIERS:
                self._classifiers.clear()
            trained = self._train_classifier(values, logs / "feature_extraction", checkpoints, None)
            _reset_random_states(trained.network, trained.head)
            self._classifiers[key] = trained
        return self._classifiers[key]

    def _train_classifier(
        self, values: Settings, logs: Path, checkpoints: Checkpoints, observer: TrainObserver | None
    ) -> Classifier:
        """Trains a classifier on stored features."""
        settings, data = self._fit_batch(ExtractFeatures.of(values)), self.data(values)
        extraction = self._extract(values)
        layers = self._feature_layers(settings, extraction, data)
        keras.utils.set_random_seed(settings.train_seed)
        return Classifier(
            *fit_classifier(settings, extraction, layers, data, self.strategy, logs, checkpoints, observer)
        )

    def _feature_layers(self, settings: ExtractFeatures, extraction: FeatureSet, data: Shards) -> list[str]:
        backbone = get_backbone(settings.model_backbone)
        if settings.model_feature_layer != AUTO_LAYER:
            return named_layers(settings.model_feature_layer, backbone.taps)
        truth = {split: data.truth(split) for split in FITTED_SPLITS}
        points, _ = compute_curve(extraction, truth, task_of(data))
        return choose_feature_layers(
            AUTO_LAYER,
            points,
            lambda name: is_fine_tunable(extraction.backbone, backbone, name, settings.model_cut_off),
        )

    def _extract(self, values: Settings) -> FeatureSet:
        """Returns the features of all images, from memory, from checkpoints or computed."""
        seed = values["train_seed"] if values["model_weights"] == "none" else None
        key = checkpoint_key(self._image_key(values), [values[name] for name in BACKBONE_SETTINGS], seed)
        if key not in self._features:
            base = {"train_batch_size": self.settings["train_batch_size"]}  # so that all trials share the features
            settings = self._fit_batch(ExtractFeatures.of({**values, **base}))
            keras.utils.set_random_seed(settings.train_seed)
            folder, data = self.inputs.scratch / "features" / key, self._shards[self._image_key(values)]
            if settings.model_views == FRONTAL_LATERAL:
                check_laterals(data.rows)
            checkpoints = self.inputs.checkpoints.of("features")
            self._features[key] = extract_all_features(
                settings, data, self.strategy, folder, self.inputs.scratch / "maps", checkpoints
            )
            if len(self._features) > MAX_BACKBONES:
                self._features.popitem(last=False)
                self._classifiers.clear()  # they share the layers of a backbone
        self._features.move_to_end(key)
        return self._features[key]

    def _fit_batch(self, settings: TrainingT) -> TrainingT:
        images = len(next(iter(self._shards.values())).split("train"))
        return fit_batch_size(settings, images, self.strategy.num_replicas_in_sync)

    @staticmethod
    def _image_key(settings: Settings) -> tuple[Scalar, ...]:
        return tuple(settings[name] for name in IMAGE_SETTINGS)


def task_of(data: Shards) -> TrainingTask:
    """Returns what networks learn from the data."""
    return get_task(data.task, data.labels, target_scales(data))


def _with_views(data: Shards, settings: Settings) -> Shards:
    return with_views(data, settings["model_views"] == FRONTAL_LATERAL)


def shards_folder(settings: Settings, chosen: Settings, inputs: TrialInputs) -> Path:
    """Returns the folder of the shards for the settings of a trial; those of another image size are made if missing.

    Args:
        settings: settings of the search.
        chosen: settings of the trial.
        inputs: folders of the search.
    """
    if all(settings[name] == chosen[name] for name in IMAGE_SETTINGS):
        return inputs.shards
    folder = inputs.scratch / "shards" / "-".join(str(chosen[name]) for name in IMAGE_SETTINGS)
    if not (folder / "shards.json").exists():  # written last
        preprocess.run(Preprocess.of(chosen), inputs.catalog, folder)
    return folder


def _reset_random_states(network: keras.Model, head: Sequence[str]) -> None:
    """Sets the random states of dropout layers to those of a loaded model, since files do not contain them."""
    for layer in map(network.get_layer, head):
        if layer.variables and not layer.weights:
            fresh = type(layer).from_config(layer.get_config())
            variables.write_variables(layer.variables, variables.read_variables(fresh.variables))
