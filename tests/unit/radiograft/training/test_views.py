"""Networks that read a frontal and a lateral image: data, cache, resume, devices, SavedModel and control."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from radiograft.config import Evaluate, FineTune, Preprocess, validate_settings
from radiograft.config.training import Recipe
from radiograft.data.catalog import LATERAL, Catalog
from radiograft.data.shards.dataset import Shards
from radiograft.data.studies import check_laterals
from radiograft.evaluation.view_comparison import compare_views, exchange_patients
from radiograft.explain.class_activation import HeatMaps
from radiograft.models import artifact
from radiograft.models.cut_offs import last_convolution, unfreeze_from
from radiograft.models.graph_split import split_model
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.activation_cache import cache_activations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import fit_covariates, with_patient_data, with_views
from radiograft.training.search.cut_off import SearchContext, fine_tune_each
from radiograft.training.train_config import TrainConfig
from tests.helpers.images import encode
from tests.helpers.registry_folder import RegistryFolder
from tests.helpers.studies import STUDIES, dual_network, study_catalog, write_shards
from tests.unit.radiograft.training.test_two_devices import run_works

BATCH = 8
ONE_DEVICE = tf.distribute.get_strategy()


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return study_catalog(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def folder(catalog: Catalog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(catalog, tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def data(folder: Path) -> Shards:
    return with_views(Shards.read(folder), lateral=True)


def laterals(data: Shards, split: str) -> np.ndarray:
    return np.concatenate([lateral for _, lateral in data.images(split, BATCH).as_numpy_iterator()])


def expected_laterals(rows: pd.DataFrame) -> np.ndarray:
    files = [None if pd.isna(uri) else np.asarray(Image.open(uri)) for uri in rows["lateral"]]
    return np.stack([np.zeros((32, 32), "uint8") if pixels is None else pixels for pixels in files])[..., None]


def test_images_deliver_both_images_of_each_study_and_zeros_for_missing_ones(data: Shards, folder: Path) -> None:
    np.testing.assert_array_equal(laterals(data, "test"), expected_laterals(data.split("test")))
    frontal = Shards.read(folder)
    for (both, _), alone in zip(data.images("test", BATCH), frontal.images("test", BATCH), strict=True):
        np.testing.assert_array_equal(both, alone)
    assert frontal.identity() != data.identity()


def test_training_augments_both_images_and_keeps_missing_ones_zero(folder: Path) -> None:
    rotated = Preprocess(image_augmentation="rotation_range=30,width_shift_range=0.2").augmentation()
    data = dataclasses.replace(with_views(Shards.read(folder), lateral=True), augmentation=rotated)
    rows = data.split("train").set_index("image_id")
    stored = dict(zip(rows.index, laterals(data, "train"), strict=True))
    for step, ((_, lateral), _) in enumerate(data.training(BATCH, range(1, 2), seed=4).as_numpy_iterator()):
        for image_id, image in zip(data.training_ids(BATCH, 1, step, seed=4), lateral, strict=True):
            assert image.any() == (not pd.isna(rows["lateral"][image_id]))
            assert not image.any() or not np.array_equal(image, stored[image_id])


def test_preprocess_defective_lateral_leaves_the_study(catalog: Catalog, tmp_path: Path) -> None:
    """A blank one, one that changed since ingest, one that is missing, and one that nearly equals a test image."""
    rows = study_catalog(tmp_path / "images").rows
    for number, content in ((1, encode(np.full((32, 32), 9, "uint8"))), (2, b"no image")):
        Path(rows.loc[number, "lateral"]).write_bytes(content)
    rows.loc[1, "lateral_md5"] = hashlib.md5(encode(np.full((32, 32), 9, "uint8"))).hexdigest()
    Path(rows.loc[3, "lateral"]).unlink()
    copied = np.asarray(Image.open(rows.loc[73, "uri"])) // 2 + 60
    Path(rows.loc[5, "lateral"]).write_bytes(encode(copied))
    rows.loc[5, "lateral_md5"] = hashlib.md5(encode(copied)).hexdigest()
    shards = write_shards(dataclasses.replace(catalog, rows=rows), tmp_path, data_policy="near_duplicate=drop")
    kept = with_views(Shards.read(shards), lateral=True)
    assert len(kept.rows) == len(rows)
    assert dict(pd.DataFrame(kept.summary["excluded"])[["reason", "count"]].to_numpy().tolist()) == {
        "blank image: a single gray level": 1,
        "changed since ingest": 1,
        "deleted since ingest": 1,
        "near duplicate of an image in a held-out split": 1,
    }
    np.testing.assert_array_equal(laterals(kept, "train").any(axis=(1, 2, 3))[[1, 2, 3, 5, 6]], [0, 0, 0, 0, 1])


@pytest.mark.parametrize("workers", [1, 3])
def test_preprocess_studies_are_identical_for_any_number_of_workers(
    catalog: Catalog, tmp_path: Path, workers: int
) -> None:
    whole = write_shards(catalog, tmp_path / "whole")
    parts = [tmp_path / f"part-{worker}" for worker in range(workers)]
    settings = Preprocess(image_size=32, image_augmentation="none", preprocess_workers=workers)
    for worker, part in enumerate(parts):
        preprocess.preprocess_share(settings, tmp_path / "whole" / "catalog", part, Checkpoints(""), worker)
    preprocess.merge.run(settings, tmp_path / "whole" / "catalog", parts, tmp_path / "merged")
    for name in [*(path.name for path in whole.glob("*.tfrecord")), "rows.parquet"]:
        assert (tmp_path / "merged" / name).read_bytes() == (whole / name).read_bytes()


def test_check_laterals_without_any_raises(data: Shards) -> None:
    check_laterals(data.rows)
    for rows in (data.rows.assign(lateral=None), data.rows.drop(columns="lateral")):
        with pytest.raises(ValueError, match="must have training studies with a lateral image, got none"):
            check_laterals(rows)
    with pytest.raises(ValueError, match=r"model_views=frontal_lateral must have studies .*, got data_unit=image"):
        validate_settings(
            {"data_source": "x", "publish_registry": "r", "model_cut_off": "c", "model_views": "frontal_lateral"}
        )


def test_dual_network_missing_lateral_gives_the_learned_vector(data: Shards) -> None:
    network = dual_network(data)
    vector = np.arange(5, dtype="float32")
    network.get_layer("lateral_missing").set_weights([vector[None]])
    filled = Predictor(keras.Model(network.inputs, network.get_layer("lateral_filled").output), ONE_DEVICE)
    pooled = Predictor(keras.Model(network.inputs, network.get_layer("lateral_pooled").output), ONE_DEVICE)
    values, own = (each.predict(data.images("test", BATCH)) for each in (filled, pooled))
    missing = data.split("test")["lateral"].isna().to_numpy()
    np.testing.assert_array_equal(values[missing], np.repeat(vector[None], missing.sum(), axis=0))
    np.testing.assert_allclose(values[~missing], own[~missing], rtol=1e-6)


@pytest.mark.parametrize(("cut_off", "frontal"), [("conv", {"conv", "deeper"}), ("deeper", {"deeper"})])
def test_split_model_both_branches_equal_the_network(data: Shards, cut_off: str, frontal: set[str]) -> None:
    network = dual_network(data)
    unfreeze_from(network, cut_off)
    trained = {layer.name for layer in network.layers if layer.trainable and layer.weights}
    branches = frontal | {f"lateral_{name}" for name in frontal}
    assert trained == branches | {"lateral_missing", "classifier_dense", "probabilities"}
    split = split_model(network, cut_off)
    assert [tensor.shape[1:] for tensor in split.prefix.outputs].count((1,)) == 1  # whether there is a lateral image
    whole = Predictor(network, ONE_DEVICE).predict(data.images("test", BATCH))
    frontier = Predictor(split.prefix, ONE_DEVICE).iter_batches(data.images("test", BATCH))
    joined = np.concatenate([split.suffix(parts).numpy() for parts in frontier])
    np.testing.assert_allclose(joined, whole, atol=1e-6)
    assert last_convolution(network) == "deeper"


def tuned(data: Shards, folder: Path, augmentation: str, checkpoints: str = "") -> keras.Model:
    settings = FineTune(train_augmentation=augmentation, train_cached_augmentations=1, train_batch_size=BATCH)
    network = dual_network(data)
    unfreeze_from(network, "conv")
    config = TrainConfig("test", "sgd", 0.1, Recipe(), epochs=2, patience=9, logs=folder)
    context = SearchContext(settings, data, config, ONE_DEVICE, Checkpoints(checkpoints))
    fine_tune_each(network, ["conv", "deeper"], context)
    return network


def test_cache_holds_a_file_for_each_image(data: Shards, tmp_path: Path) -> None:
    network = dual_network(data)
    unfreeze_from(network, "conv")
    split = split_model(network, "conv")
    cached = cache_activations(
        Predictor(split.prefix, ONE_DEVICE), data, "train", copies=0, batch_size=BATCH, seed=0, folder=tmp_path
    )
    shapes = sorted(part.shape for part in cached.parts)
    assert shapes == [(1, STUDIES["train"], 1), *[(1, STUDIES["train"], 8, 8, 4)] * 2]
    present = next(part for part in cached.parts if part.ndim == 3)
    assert present[0, :, 0].tolist() == data.split("train")["lateral"].notna().astype(float).tolist()


def test_fine_tune_each_interrupted_gives_the_same_weights(data: Shards, tmp_path: Path) -> None:
    whole = tuned(data, tmp_path / "a", "cached").get_weights()
    uri = str(tmp_path / "checkpoints")
    tuned(data, tmp_path / "b", "cached", uri)
    resumed = tuned(data, tmp_path / "c", "cached", uri).get_weights()
    for one, two in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, two)


def test_fine_tune_each_cached_and_online_train_the_same_layers(data: Shards, tmp_path: Path) -> None:
    """Both see the images as they are, in another order: the same layers change."""
    before = dual_network(data)
    for augmentation in ("cached", "online"):
        after = tuned(data, tmp_path / augmentation, augmentation)
        changed = {
            layer.name
            for layer in before.layers
            for one, two in zip(layer.get_weights(), after.get_layer(layer.name).get_weights(), strict=True)
            if np.abs(one - two).max() > 1e-6
        }
        assert {"lateral_conv", "lateral_deeper", "lateral_missing", "classifier_dense"} <= changed
        assert not {"frozen", "lateral_frozen"} & changed


def test_two_devices_train_the_same_dual_network_as_one(folder: Path, tmp_path: Path) -> None:
    results = run_works(folder, tmp_path / "results.json", "dual_view")["dual_view"]
    one, two = results["one"], results["two"]
    for row, other in zip([one["initial"], *one["epochs"]], [two["initial"], *two["epochs"]], strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    for weight, other in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_export_saved_model_samples_take_an_optional_lateral(data: Shards, tmp_path: Path) -> None:
    network = dual_network(data)
    spec = ModelSpec(32, data.labels, "efficientnet_lite0", "none", "", "feature_extraction", lateral=True)
    artifact.export_saved_model(network, spec, tmp_path / "saved")
    spec.write(tmp_path)
    assert ModelSpec.read(tmp_path) == spec
    rows = data.split("test")
    served = tf.saved_model.load(str(tmp_path / "saved")).signatures
    frontal = tf.constant([Path(uri).read_bytes() for uri in rows["uri"]])
    lateral = tf.constant([b"" if pd.isna(uri) else Path(uri).read_bytes() for uri in rows["lateral"]])
    expected = Predictor(network, ONE_DEVICE).predict(data.images("test", BATCH))
    samples = served["samples"](image_bytes=frontal, lateral_bytes=lateral)["probabilities"]
    np.testing.assert_allclose(samples, expected, atol=1e-5)
    alone = served["serving_default"](image_bytes=frontal)["probabilities"].numpy()
    missing = rows["lateral"].isna().to_numpy()
    np.testing.assert_allclose(alone[missing], expected[missing], atol=1e-5)
    assert np.abs(alone[~missing] - expected[~missing]).max() > 1e-3


def test_load_champion_other_image_size_reads_both_original_images(
    catalog: Catalog, data: Shards, tmp_path: Path
) -> None:
    network = dual_network(data)
    spec = ModelSpec(32, data.labels, "efficientnet_lite0", "none", "", "fine_tuning", thresholds={}, lateral=True)
    spec.write(tmp_path)
    (tmp_path / "registry").mkdir()
    registry, contract = RegistryFolder(tmp_path / "registry"), (tmp_path / "contract.json").read_bytes()
    registry.add_version(data, network, data.labels, odd={"contract.json": contract})
    expected = Predictor(network, ONE_DEVICE).predict(data.images("test", BATCH))
    for run_data in (data, Shards.read(write_shards(catalog, tmp_path / "at_64", image_size=64))):
        champion = registry.load_champion(run_data)
        assert champion is not None
        assert champion.predictions is not None, champion.rejection_reason
        np.testing.assert_allclose(champion.predictions["score:Mass"], expected[:, 0], atol=1e-5)


def test_load_champion_with_patient_data_predicts_single_images_at_both_sizes(catalog: Catalog, tmp_path: Path) -> None:
    """Fails if patient data take the place of the missing lateral image, or are left out at another image size."""
    rows = catalog.rows.drop(columns=list(LATERAL)).assign(age=np.arange(float(len(catalog.rows))))
    single = dataclasses.replace(catalog, rows=rows)
    at_32 = Shards.read(write_shards(single, tmp_path / "at_32"))
    covariates = fit_covariates(at_32, ["age"])
    data = with_patient_data(at_32, covariates)
    network, images = dual_network(data), np.concatenate(list(data.images("test", BATCH).as_numpy_iterator()))
    spec = ModelSpec(32, data.labels, "efficientnet_lite0", "none", "", "fine_tuning", thresholds={}, lateral=True)
    dataclasses.replace(spec, covariates=covariates).write(tmp_path)
    (tmp_path / "registry").mkdir()
    registry, contract = RegistryFolder(tmp_path / "registry"), (tmp_path / "contract.json").read_bytes()
    registry.add_version(data, network, data.labels, odd={"contract.json": contract})
    expected = network([images, np.zeros_like(images), *data.further_of("test")], training=False)[:, 0].numpy()
    assert len(np.unique(expected)) == len(expected)
    for run_data in (at_32, Shards.read(write_shards(single, tmp_path / "at_64", image_size=64))):
        champion = registry.load_champion(run_data)
        assert champion is not None
        assert champion.predictions is not None, champion.rejection_reason
        np.testing.assert_allclose(champion.predictions["score:Mass"], expected, atol=1e-5)


def test_dual_network_with_patient_data_reads_image_lateral_and_patient_in_this_order(data: Shards) -> None:
    """Shards, prefix and suffix agree about the order of the inputs."""
    rows = data.rows.assign(age=np.arange(float(len(data.rows))))
    data = dataclasses.replace(data, rows=rows)
    data = with_patient_data(data, fit_covariates(data, ["age"]))
    network = dual_network(data)
    assert [tensor.name for tensor in network.inputs] == ["picture", "lateral", "patient"]
    expected = Predictor(network, ONE_DEVICE).predict(data.inputs("test", BATCH))
    unfreeze_from(network, "conv")
    split = split_model(network, "conv")
    frontier = Predictor(split.prefix, ONE_DEVICE).iter_batches(data.images("test", BATCH))
    parts = [np.concatenate(outputs) for outputs in zip(*frontier, strict=True)]
    joined = split.suffix([*parts, *data.further_of("test")]).numpy()
    np.testing.assert_allclose(joined, expected, atol=1e-6)
    assert len(np.unique(expected)) == len(expected)


def test_heat_maps_of_a_dual_network_show_the_frontal_branch_and_leave_it_intact(data: Shards, tmp_path: Path) -> None:
    network = dual_network(data)
    images = np.concatenate([frontal for frontal, _ in data.images("test", BATCH).as_numpy_iterator()])
    maps = HeatMaps(network, ONE_DEVICE, blocks=("frozen", "conv", "deeper")).grad_cam(images, 0)
    assert maps.shape == (STUDIES["test"], 32, 32)
    network.save(tmp_path / "network.keras")


def test_exchange_patients_gives_each_row_another_patient() -> None:
    patients = pd.Series(["a", "b", "a", "c", "d", "c", "c", "e"])
    order = exchange_patients(patients, seed=3)
    assert sorted(order) == list(range(8))
    assert (patients.to_numpy()[order] != patients.to_numpy()).all()


def test_compare_views_control_falls_to_chance_if_the_finding_is_in_the_lateral(data: Shards) -> None:
    """The classifier reads how bright the lateral image is, which the square decides."""
    network = dual_network(data)
    kernel = np.zeros((10, 6), "float32")
    for name in ("lateral_frozen", "lateral_conv", "lateral_deeper"):
        layer = network.get_layer(name)
        layer.set_weights([np.full(layer.kernel.shape, 0.1), np.zeros(layer.bias.shape)])
    kernel[5:] = 1.0
    network.get_layer("classifier_dense").set_weights([kernel, np.zeros(6)])
    network.get_layer("probabilities").set_weights([np.ones((6, 1)), np.zeros(1)])
    settings = Evaluate(publish_registry="r", evaluate_bootstrap_samples=200, evaluate_min_patients=1)
    found = compare_views(network, ONE_DEVICE, data, settings)
    assert found is not None
    assert (found["n_images"], found["n_patients"], found["labels"]) == (18, 12, ["Mass"])
    assert found["both"]["value"] == 1.0
    assert found["minus_shuffled"]["low"] > 0.1
    assert found["frontal"]["value"] == 0.5
    assert (
        compare_views(network, ONE_DEVICE, dataclasses.replace(data, rows=data.rows.drop(columns="lateral")), settings)
        is None
    )
