"""Loading the champion: predictions at its own image size, and every reason to reject it.

The networks predict from the mean gray level of the image, so the expected probabilities are known.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.champion import record_seen_images
from radiograft.evaluation.promotion_gate import Champion
from radiograft.registry import versions as registry
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.medmnist_source import medmnist_arrays
from tests.helpers.registry_folder import LABELS, MODEL, RegistryFolder

SLOPES = (4.0, -2.0, 1.0)


def network(size: int, slopes: Sequence[float] = SLOPES) -> keras.Model:
    """Returns a network that predicts sigmoid(slope x mean gray) for each label, with gray levels 0 to 1."""
    inputs = keras.Input((size, size, 1), dtype="uint8")
    gray = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = keras.layers.Dense(len(slopes), activation="sigmoid", use_bias=False)
    model = keras.Model(inputs, outputs(gray))
    outputs.set_weights([np.array([slopes], "float32")])
    return model


@pytest.fixture
def registry_folder(tmp_path: Path) -> RegistryFolder:
    return RegistryFolder(tmp_path)


@pytest.fixture(scope="module")
def data(shards_folder: Path) -> Shards:
    """31 test images of 15 patients at 32 px."""
    return Shards.read(shards_folder)


@pytest.fixture(scope="module")
def at_64(catalog_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """The same images at 64 px."""
    folder = tmp_path_factory.mktemp("at_64")
    preprocess.run(Preprocess(image_size=64), catalog_folder, folder)
    return Shards.read(folder)


def expected(data: Shards, slopes: Sequence[float] = SLOPES) -> np.ndarray:
    """Returns the probabilities that `network` must predict for the test images."""
    images = np.concatenate(list(data.images("test", 100).as_numpy_iterator()))
    return 1 / (1 + np.exp(-np.outer(images.mean(axis=(1, 2, 3)) / 255, slopes)))


def scores(champion: Champion | None) -> np.ndarray:
    """Returns the predicted probabilities, in the order of LABELS."""
    assert champion is not None
    assert champion.predictions is not None, champion.rejection_reason
    return champion.predictions[[f"score:{label}" for label in LABELS]].to_numpy()


def test_load_champion_empty_registry_returns_none(registry_folder: RegistryFolder, data: Shards) -> None:
    assert registry_folder.load_champion(data) is None


def test_load_champion_predicts_test_images_in_order(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(32, (1.0, 1.0, 1.0)))
    number = registry_folder.add_version(data, network(32))
    champion = registry_folder.load_champion(data)
    assert champion is not None
    assert champion.version == number == 2
    assert champion.predictions is not None
    assert champion.predictions["image_id"].tolist() == data.split("test")["image_id"].tolist()
    truth = champion.predictions[[f"label:{label}" for label in LABELS]]
    np.testing.assert_array_equal(truth, data.truth("test"))
    np.testing.assert_allclose(scores(champion), expected(data), atol=1e-6)


def test_load_champion_version_of_same_run_is_skipped(registry_folder: RegistryFolder, data: Shards) -> None:
    """Fails if a resumed run is compared with the version that it promoted before it was killed."""
    registry_folder.add_version(data, network(32), run_id="run-1")
    assert registry_folder.load_champion(data, "run-1") is None
    registry_folder.add_version(data, network(32), run_id="run-2")
    champion = registry_folder.load_champion(data, "run-2")
    assert champion is not None
    assert champion.version == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("contract.json", b"[]"),
        ("contract.json", b"[" * 100_000),
        ("contract.json", b'{"image_size": 10000000, "labels": ["Pneumonia"]}'),
        ("contract.json", b'{"image_size": 32, "labels": 5}'),
        ("seen.parquet", b"PAR1" + bytes(100) + b"PAR1"),
        ("seen.parquet", b""),
        ("lineage.json", b"{}"),
    ],
)
def test_load_champion_malformed_metadata_is_rejected(
    registry_folder: RegistryFolder, data: Shards, name: str, content: bytes
) -> None:
    registry_folder.add_version(data, network(32), odd={name: content})
    assert registry_folder.rejection_reason(data).startswith("it is corrupt or incomplete (")


def test_load_champion_labels_in_other_order_are_accepted(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(32, SLOPES[::-1]), LABELS[::-1])
    np.testing.assert_allclose(scores(registry_folder.load_champion(data)), expected(data), atol=1e-6)


def test_load_champion_other_image_size_decodes_originals(
    registry_folder: RegistryFolder, data: Shards, at_64: Shards
) -> None:
    registry_folder.add_version(data, network(64), size=64)
    predicted = scores(registry_folder.load_champion(data))
    np.testing.assert_allclose(predicted, expected(at_64), atol=1e-6)
    assert np.abs(predicted - expected(data)).max() > 1e-5  # differs from the predictions at 32 px


def test_load_champion_other_image_size_reads_archive(registry_folder: RegistryFolder, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "films.npz", **medmnist_arrays())  # type: ignore[arg-type]
    settings = Ingest(data_format="medmnist", data_source=str(tmp_path / "films.npz"))
    ingest.run(settings, tmp_path / "catalog")
    for size in (32, 64):
        preprocess.run(Preprocess(image_size=size), tmp_path / "catalog", tmp_path / f"at_{size}")
    small, large = (Shards.read(tmp_path / f"at_{size}") for size in (32, 64))
    registry_folder.add_version(small, network(64, SLOPES[:1]), LABELS[:1], size=64)
    champion = registry_folder.load_champion(small)
    assert champion is not None
    assert champion.predictions is not None, champion.rejection_reason
    np.testing.assert_allclose(champion.predictions[["score:Pneumonia"]], expected(large, SLOPES[:1]), atol=1e-6)


def test_load_champion_other_labels_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(32, SLOPES[:2]), ("Pneumonia", "Mass"))
    assert registry_folder.rejection_reason(data) == (
        "it must predict the labels of this run, Pneumonia, Effusion, Emphysema, got Pneumonia, Mass"
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_load_champion_trained_on_test_patient_is_rejected(
    registry_folder: RegistryFolder, data: Shards, split: str
) -> None:
    patients = data.split("test")["patient_id"].unique()
    known = data.rows["split"].where(data.rows["patient_id"] != patients[0], split)
    registry_folder.add_version(dataclasses.replace(data, rows=data.rows.assign(split=known)), network(32))
    assert registry_folder.rejection_reason(data) == (
        f"it was trained or validated on 1 of the 15 test patients, including {patients[0]}; use test patients "
        "that neither model has seen"
    )


def test_load_champion_same_patient_id_in_other_source_is_rejected(
    registry_folder: RegistryFolder, data: Shards
) -> None:
    """Fails if the message claims that equal ids in different sources are the same patients."""
    patient = data.split("test")["patient_id"][0]
    train = data.split("train")
    registry_folder.add_version(
        dataclasses.replace(
            data, rows=train.assign(patient_id=patient), summary=data.summary | {"source": "gs://another/source"}
        ),
        network(32),
    )
    assert registry_folder.rejection_reason(data) == (
        "it was trained or validated, on another source, on patients with the same id as 1 of the 15 test patients, "
        f"including {patient}; use test patients that neither model has seen, or publish models of other data under "
        "another publish_model_name"
    )


def test_load_champion_same_image_in_other_source_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    copy = data.split("train").assign(md5=data.split("test")["md5"][0])
    registry_folder.add_version(
        dataclasses.replace(data, rows=copy, summary=data.summary | {"source": "gs://moved"}), network(32)
    )
    assert registry_folder.rejection_reason(data).startswith(
        "it was trained or validated on 1 of the 15 test patients, "
    )


def test_load_champion_same_image_of_other_patient_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    image = data.split("test").iloc[0]
    copy = data.split("train").assign(md5=image["md5"])
    registry_folder.add_version(dataclasses.replace(data, rows=copy), network(32))
    assert registry_folder.rejection_reason(data).startswith(
        "it was trained or validated on 1 of the 15 test patients, "
    )
    assert image["patient_id"] in registry_folder.rejection_reason(data)


def test_record_seen_images_writes_training_and_validation(data: Shards, tmp_path: Path) -> None:
    record_seen_images(data.rows, tmp_path)
    seen = pd.read_parquet(tmp_path / "seen.parquet")
    assert seen.columns.tolist() == ["patient_id", "md5"]
    assert len(seen) == 58 + 39
    assert not set(seen["patient_id"]) & set(data.split("test")["patient_id"])


def test_load_champion_corrupt_file_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(32))
    corrupt = Path(registry_folder.settings.publish_registry, MODEL, "1", "assets.extra", "model.keras")
    content = corrupt.read_bytes()
    corrupt.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert registry_folder.rejection_reason(data).startswith(
        f"it is corrupt or incomplete ({corrupt} must have SHA-256 "
    )


@pytest.mark.parametrize("missing", ["model.keras", "contract.json", "lineage.json", "seen.parquet"])
def test_load_champion_missing_file_is_rejected(registry_folder: RegistryFolder, data: Shards, missing: str) -> None:
    registry_folder.add_version(data, network(32), lacking=missing)
    assert registry_folder.rejection_reason(data).startswith(
        f"it is corrupt or incomplete (version 1 of chest has no '{registry.EXTRA_ASSETS}/{missing}'"
    )


def test_load_champion_missing_version_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(32))
    shutil.rmtree(Path(registry_folder.settings.publish_registry, MODEL, "1"))
    assert registry_folder.rejection_reason(data).startswith("it is corrupt or incomplete (chest has no version 1 in ")


def test_load_champion_code_in_model_is_not_run(registry_folder: RegistryFolder, data: Shards, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    code = keras.layers.Lambda(lambda tensor, name=str(ran): [tensor, open(name, "w").close()][0])  # noqa: PTH123
    registry_folder.add_version(data, keras.Model(inputs, network(32)(code(inputs))))
    ran.unlink()
    assert registry_folder.rejection_reason(data).startswith("its model.keras cannot be loaded (")
    assert not ran.exists()


def test_load_champion_network_unlike_contract_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(64), size=32)
    assert registry_folder.rejection_reason(data) == (
        "its network must map (None, 32, 32, 1) to (None, 3), got (None, 64, 64, 1) to (None, 3)"
    )


@pytest.mark.parametrize("row", [0, 20])
def test_load_champion_missing_original_is_rejected(registry_folder: RegistryFolder, data: Shards, row: int) -> None:
    registry_folder.add_version(data, network(64), size=64)
    gone = data.split("test")["image_id"][row]
    uris = data.rows["uri"].where(data.rows["image_id"] != gone, "/gone.png")
    assert registry_folder.rejection_reason(dataclasses.replace(data, rows=data.rows.assign(uri=uris))) == (
        f"its input size is 64 pixels, and the original images cannot be read again ({gone}: deleted since ingest)"
    )


def test_load_champion_missing_archive_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    registry_folder.add_version(data, network(64), size=64)
    moved = dataclasses.replace(data, rows=data.rows.assign(uri="/gone.npz#test_images/0"))
    assert registry_folder.rejection_reason(moved).startswith(
        "its input size is 64 pixels, and the original images cannot be read again ("
    )
    assert "/gone.npz" in registry_folder.rejection_reason(moved)


def test_load_champion_of_another_task_is_rejected(registry_folder: RegistryFolder, data: Shards) -> None:
    """Fails if a model whose scores are independent is compared with, or replaced by, one whose scores sum to 1."""
    registry_folder.add_version(data, network(32))
    exclusive = dataclasses.replace(data, summary={**data.summary, "task": "multiclass"})
    assert registry_folder.rejection_reason(exclusive) == (
        "it must have been trained with data_task=multiclass as this run, got multilabel; publish models of another "
        "task under another publish_model_name"
    )
