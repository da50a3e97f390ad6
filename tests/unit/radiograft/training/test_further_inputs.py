"""Networks with patient data: shards deliver it, cached activations carry it, and training reads it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.config import FineTune
from radiograft.config.training import Recipe
from radiograft.data.shards.dataset import Shards
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import split_model
from radiograft.models.predictor import Predictor
from radiograft.training.activation_cache import cache_activations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import data_from_activations, fit_covariates, with_patient_data
from radiograft.training.search.cut_off import SearchContext, fine_tune_each
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train
from tests.helpers.fused import network_for

BATCH = 8


@pytest.fixture(scope="module")
def data(shards_folder: Path) -> Shards:
    data = Shards.read(shards_folder)
    return with_patient_data(data, fit_covariates(data, ["age", "sex"]))


def test_fit_covariates_uses_training_images_alone(shards_folder: Path) -> None:
    data = Shards.read(shards_folder)
    age, sex = fit_covariates(data, ["age", "sex"])
    ages = data.split("train")["age"]
    assert (age.mean, age.deviation) == pytest.approx((ages.mean(), ages.std(ddof=0)))
    assert sex.categories == ("f", "m")


def test_fit_covariates_unknown_column_raises(shards_folder: Path) -> None:
    with pytest.raises(ValueError, match="model_patient_data must name columns of the catalog, got height"):
        fit_covariates(Shards.read(shards_folder), ["age", "height"])


def test_with_patient_data_without_covariates_is_unchanged(shards_folder: Path) -> None:
    data = Shards.read(shards_folder)
    assert with_patient_data(data, ()) is data
    assert data.inputs("test", 4).element_spec == data.images("test", 4).element_spec
    assert list(data.identity()) == ["fingerprint", "task", "image_input", "augmentation", "pictures"]


def test_inputs_deliver_patient_data_of_each_image(data: Shards) -> None:
    patient = np.concatenate([values for _, values in data.inputs("validation", 7).as_numpy_iterator()])
    np.testing.assert_array_equal(patient, data.further_of("validation")[0])
    assert len(np.unique(patient[:, 1, 0])) > 5


def test_training_batches_carry_patient_data_of_their_images(data: Shards) -> None:
    positions = {image_id: position for position, image_id in enumerate(data.split("train")["image_id"])}
    (of_split,) = data.further_of("train")
    for step, ((_, patient), _) in enumerate(data.training(BATCH, range(2, 3), seed=4).as_numpy_iterator()):
        ids = data.training_ids(BATCH, 2, step, seed=4)
        np.testing.assert_array_equal(patient, of_split[[positions[image_id] for image_id in ids]])


def test_missing_patient_data_change_identity(data: Shards) -> None:
    other = dataclasses.replace(data, further={"patient": 0 * data.further["patient"]})
    assert other.identity() != data.identity()


def tuned(data: Shards, folder: Path, augmentation: str, checkpoints: str = "") -> keras.Model:
    """Fine-tunes from two cut-offs; both kinds of augmentation show the images as they are."""
    settings = FineTune(train_augmentation=augmentation, train_cached_augmentations=1, train_batch_size=BATCH)
    network = network_for(data)
    unfreeze_from(network, "conv")
    config = TrainConfig("test", "sgd", 0.1, Recipe(), epochs=2, patience=9, logs=folder)
    context = SearchContext(settings, data, config, tf.distribute.get_strategy(), Checkpoints(checkpoints))
    fine_tune_each(network, ["conv", "deeper"], context)
    return network


def test_fine_tune_each_cached_trains_with_patient_data(data: Shards, tmp_path: Path) -> None:
    """The second cut-off reads activations that the bridge computed, without patient data."""
    before, network = network_for(data).get_layer("classifier_dense"), tuned(data, tmp_path, "cached")
    after = network.get_layer("classifier_dense")
    patient_rows = slice(5, None)
    assert np.abs(after.get_weights()[0][patient_rows] - before.get_weights()[0][patient_rows]).max() > 1e-4


def test_fine_tune_each_interrupted_gives_the_same_weights(data: Shards, tmp_path: Path) -> None:
    """The state of the input dropout is part of a checkpoint."""
    whole = tuned(data, tmp_path / "a", "cached").get_weights()
    uri = str(tmp_path / "checkpoints")
    tuned(data, tmp_path / "b", "cached", uri)
    resumed = tuned(data, tmp_path / "c", "cached", uri).get_weights()
    for one, two in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, two)


def test_training_on_cached_activations_matches_training_on_images(data: Shards, tmp_path: Path) -> None:
    """The same images and patient data in the same order; the input dropout draws the same values."""
    suffix_of, whole = network_for(data), network_for(data)
    for model in (suffix_of, whole):
        unfreeze_from(model, "conv")
    cut = split_model(suffix_of, "conv")
    prefix = Predictor(cut.prefix, tf.distribute.get_strategy())
    options = {"copies": 0, "batch_size": 7, "seed": 0}
    cached, held_out = (
        cache_activations(prefix, data, split, folder=tmp_path / split, **options) for split in ("train", "validation")
    )
    on_activations = data_from_activations(cached, held_out, BATCH, seed=0, replicas=1)
    config = TrainConfig("test", "sgd", 0.1, Recipe(), epochs=2, patience=9, logs=tmp_path)
    strategy, none = tf.distribute.get_strategy(), Checkpoints("")
    train(cut.suffix, on_activations, config, strategy, none)

    images = np.concatenate(list(data.images("train", 7).as_numpy_iterator()))
    (patient,), size = data.further_of("train"), len(images) // BATCH * BATCH
    orders = [np.random.default_rng([0, epoch]).permutation(len(images))[:size] for epoch in range(2)]
    stream = tf.data.Dataset.from_tensor_slices(
        tuple(np.concatenate([part[order] for order in orders]) for part in (images, patient, cached.truth))
    ).batch(BATCH)
    as_images = on_activations._replace(
        batches=lambda _: stream.map(lambda image, values, truth: ((image, values), truth)),
        validation=data.inputs("validation", BATCH),
    )
    train(whole, as_images, config, strategy, none)
    for one, two in zip(suffix_of.trainable_weights, whole.trainable_weights, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-3)  # activations have half precision
    trained, initial = (model.get_layer("conv").get_weights()[0] for model in (whole, network_for(data)))
    assert np.abs(trained - initial).max() > 1e-3
