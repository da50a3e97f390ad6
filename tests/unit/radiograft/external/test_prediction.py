"""Prediction of an archive in batches: order, unusable images, and corrupted copies."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from radiograft.config.data_policy import DataPolicy
from radiograft.external.evaluate import missing_input_warnings
from radiograft.external.prediction import predict_archive
from radiograft.imaging.corruption_sets import CORRUPTIONS
from radiograft.imaging.corruptions import corrupt
from radiograft.models import artifact
from radiograft.models.covariates import Covariate
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from tests.helpers.fused import fused_network
from tests.helpers.images import encode
from tests.helpers.killed_stage import small_network

SIZE, IMAGES = 32, 70  # more than one batch
LABELS = ("Pneumonia", "Mass")


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_network(tmp_path_factory.mktemp("network"), SIZE, LABELS)


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE), np.uint8)


def catalog(folder: Path, contents: dict[str, bytes]) -> pd.DataFrame:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    names = list(contents)
    return pd.DataFrame(
        {
            "image_id": names,
            "uri": [str(folder / name) for name in names],
            "md5": [hashlib.md5(content).hexdigest() for content in contents.values()],
            "patient_id": names,
            "split": "test",
            "label:Mass": np.arange(len(names)) % 2.0,
        }
    )


def load(network: Path) -> tuple[ModelSpec, Predictor]:
    return ModelSpec.read(network), Predictor(artifact.load_model(network), tf.distribute.get_strategy())


def test_predict_archive_several_batches_equal_one_prediction(
    network: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    spec, predictor = load(network)
    rows = catalog(tmp_path, {f"{n:03d}.png": encode(image) for n, image in enumerate(pixels)})
    predicted = predict_archive(rows, ["Mass"], spec, predictor, DataPolicy())
    expected = predictor.predict(tf.data.Dataset.from_tensors(pixels[..., np.newaxis]))[:, 1]
    assert predicted.predictions["image_id"].tolist() == rows["image_id"].tolist()
    np.testing.assert_allclose(predicted.predictions["score:Mass"], expected, atol=1e-5)
    assert predicted.predictions["label:Mass"].tolist() == rows["label:Mass"].tolist()
    assert predicted.corrupted == []
    assert predicted.excluded.empty


def test_predict_archive_unusable_images_are_left_out_with_reason(
    network: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    blank, broken = encode(np.full((SIZE, SIZE), 90, np.uint8)), encode(pixels[0])[:100]
    contents = {"a.png": encode(pixels[0]), "blank.png": blank, "broken.png": broken, "z.png": encode(pixels[1])}
    spec, predictor = load(network)
    predicted = predict_archive(catalog(tmp_path, contents), ["Mass"], spec, predictor, DataPolicy())
    assert predicted.rows["image_id"].tolist() == predicted.predictions["image_id"].tolist() == ["a.png", "z.png"]
    reasons = predicted.excluded.set_index("image_id")["reason"]
    assert list(reasons.index) == ["blank.png", "broken.png"]
    assert "gray level" in reasons["blank.png"]


def test_predict_archive_corruptions_predict_corrupted_pixels(
    network: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    spec, predictor = load(network)
    rows = catalog(tmp_path, {"a.png": encode(pixels[0]), "b.png": encode(pixels[1])})
    predicted = predict_archive(rows, ["Mass"], spec, predictor, DataPolicy(), "tissuemnist", seed=7)
    assert len(predicted.corrupted) == 8 * 5
    (noisy,) = (each for each in predicted.corrupted if each[:2] == ("impulse_noise", 3))
    parameter = CORRUPTIONS["tissuemnist"]["impulse_noise"][2]
    images = [
        corrupt(image[..., np.newaxis], "impulse_noise", parameter, md5, 7)
        for image, md5 in zip(pixels, rows["md5"], strict=False)
    ]
    expected = predictor.predict(tf.data.Dataset.from_tensors(np.stack(images)))[:, 1]
    np.testing.assert_allclose(noisy.predictions["score:Mass"], expected, atol=1e-6)


def test_predict_archive_no_usable_image_raises(network: Path, tmp_path: Path) -> None:
    spec, predictor = load(network)
    rows = catalog(tmp_path, {"blank.png": encode(np.full((SIZE, SIZE), 90, np.uint8))})
    with pytest.raises(ValueError, match="must hold images that can be used, got none of 1"):
        predict_archive(rows, ["Mass"], spec, predictor, DataPolicy())


def test_predict_archive_color_images_are_converted_for_gray_model_and_counted(
    network: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    spec, predictor = load(network)
    same_channels = np.repeat(pixels[0][..., np.newaxis], 3, axis=-1)
    rows = catalog(tmp_path, {"color.png": encode(same_channels), "gray.png": encode(pixels[0])})
    predicted = predict_archive(rows, ["Mass"], spec, predictor, DataPolicy())
    assert predicted.modes == {"RGB": 1}
    color, gray = predicted.predictions["score:Mass"]
    assert color == pytest.approx(gray, abs=1e-5)


def test_predict_archive_reads_patient_data_of_each_image(pixels: np.ndarray, tmp_path: Path) -> None:
    """An unreadable image must not shift the patient data of the others."""
    age = Covariate("age", mean=50.0, deviation=20.0)
    spec = ModelSpec(SIZE, LABELS, "efficientnet_lite0", "none", "", "fine_tuning", covariates=(age,))
    model = fused_network((SIZE, SIZE, 1), (2, 1), len(LABELS))
    contents = {f"{n}.png": b"broken" if n == 1 else encode(pixels[n]) for n in range(4)}
    rows = catalog(tmp_path, contents).assign(age=[70.0, 20.0, np.nan, 30.0])
    predictor = Predictor(model, tf.distribute.get_strategy())
    predicted = predict_archive(rows, ["Mass"], spec, predictor, DataPolicy())
    patient = tf.constant([[[1.0], [1.0]], [[0.0], [0.0]], [[1.0], [-1.0]]])
    expected = model([tf.constant(pixels[[0, 2, 3]][..., np.newaxis]), patient])
    np.testing.assert_allclose(predicted.predictions["score:Mass"], expected[:, 1], atol=1e-5)


def test_missing_input_warnings_name_inputs_that_the_archive_lacks() -> None:
    spec = ModelSpec(SIZE, LABELS, "densenet121", "none", "", "fine_tuning", lateral=True)
    spec = dataclasses.replace(spec, covariates=(Covariate("age"), Covariate("pulse"), Covariate("sex")))
    rows = pd.DataFrame({"age": [50.0, None], "sex": [None, None]})
    assert missing_input_warnings(spec, rows) == [
        "the version was predicted without lateral images, because archives are read image by image",
        "the version was predicted without patient data that the archive lacks: pulse, sex",
    ]
    assert missing_input_warnings(ModelSpec(SIZE, LABELS, "densenet121", "none", "", "fine_tuning"), rows) == []
