"""The production version as an opponent: the same images at its own size, and every reason not to compare with it.

The versions here hold tiny networks that answer by the mean gray of an image, so that their answers are known.
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
from tests.helpers.registry_folder import LABELS, MODEL, Shelf

SLOPES = (4.0, -2.0, 1.0)


def network(size: int, slopes: Sequence[float] = SLOPES) -> keras.Model:
    """Probability of each label: the sigmoid of slope x mean gray (0 to 1)."""
    inputs = keras.Input((size, size, 1), dtype="uint8")
    gray = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = keras.layers.Dense(len(slopes), activation="sigmoid", use_bias=False)
    model = keras.Model(inputs, outputs(gray))
    outputs.set_weights([np.array([slopes], "float32")])
    return model


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


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
    """What the network answers on the test images of shards."""
    images = np.concatenate(list(data.images("test", 100).as_numpy_iterator()))
    return 1 / (1 + np.exp(-np.outer(images.mean(axis=(1, 2, 3)) / 255, slopes)))


def scores(champion: Champion | None) -> np.ndarray:
    assert champion is not None
    assert champion.predictions is not None, champion.refusal
    return champion.predictions[[f"score:{label}" for label in LABELS]].to_numpy()


def test_without_a_production_version_there_is_no_opponent(shelf: Shelf, data: Shards) -> None:
    assert shelf.challenge(data) is None


def test_it_is_asked_about_the_test_images_in_their_order(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(32, (1.0, 1.0, 1.0)))
    number = shelf.put(data, network(32))
    champion = shelf.challenge(data)
    assert champion is not None
    assert champion.version == number == 2
    assert champion.predictions is not None
    assert champion.predictions["image_id"].tolist() == data.split("test")["image_id"].tolist()
    truth = champion.predictions[[f"label:{label}" for label in LABELS]]
    np.testing.assert_array_equal(truth, data.truth("test"))
    np.testing.assert_allclose(scores(champion), expected(data), atol=1e-6)


def test_what_the_run_itself_promoted_before_it_was_killed_is_no_opponent(shelf: Shelf, data: Shards) -> None:
    """Fails where evaluate compares with the pointer as it is: taken up again, the run would judge itself."""
    shelf.put(data, network(32), run_id="run-1")
    assert shelf.challenge(data, "run-1") is None
    shelf.put(data, network(32), run_id="run-2")
    champion = shelf.challenge(data, "run-2")
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
def test_one_that_tells_odd_things_is_refused(shelf: Shelf, data: Shards, name: str, content: bytes) -> None:
    shelf.put(data, network(32), odd={name: content})
    assert shelf.refusal(data).startswith("it is damaged or incomplete (")


def test_labels_in_another_order_are_the_same_labels(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(32, SLOPES[::-1]), LABELS[::-1])
    np.testing.assert_allclose(scores(shelf.challenge(data)), expected(data), atol=1e-6)


def test_one_made_for_another_size_sees_the_originals_at_that_size(shelf: Shelf, data: Shards, at_64: Shards) -> None:
    shelf.put(data, network(64), size=64)
    found = scores(shelf.challenge(data))
    np.testing.assert_allclose(found, expected(at_64), atol=1e-6)
    assert np.abs(found - expected(data)).max() > 1e-5  # the smaller images would have given other answers


def test_rows_of_an_archive_are_read_anew_too(shelf: Shelf, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "films.npz", **medmnist_arrays())  # type: ignore[arg-type]
    settings = Ingest(data_format="medmnist", data_source=str(tmp_path / "films.npz"))
    ingest.run(settings, tmp_path / "catalog")
    for size in (32, 64):
        preprocess.run(Preprocess(image_size=size), tmp_path / "catalog", tmp_path / f"at_{size}")
    small, large = (Shards.read(tmp_path / f"at_{size}") for size in (32, 64))
    shelf.put(small, network(64, SLOPES[:1]), LABELS[:1], size=64)
    champion = shelf.challenge(small)
    assert champion is not None
    assert champion.predictions is not None, champion.refusal
    np.testing.assert_allclose(champion.predictions[["score:Pneumonia"]], expected(large, SLOPES[:1]), atol=1e-6)


def test_one_for_other_labels_is_refused(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(32, SLOPES[:2]), ("Pneumonia", "Mass"))
    assert shelf.refusal(data) == (
        "it must answer for the labels of this run, Pneumonia, Effusion, Emphysema, got Pneumonia, Mass"
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_one_that_knows_a_test_patient_is_refused(shelf: Shelf, data: Shards, split: str) -> None:
    patients = data.split("test")["patient_id"].unique()
    known = data.rows["split"].where(data.rows["patient_id"] != patients[0], split)
    shelf.put(dataclasses.replace(data, rows=data.rows.assign(split=known)), network(32))
    assert shelf.refusal(data) == (
        f"it was trained or validated on 1 of the 15 test patients, {patients[0]} among them; test on patients "
        "new to both"
    )


def test_one_from_another_source_with_a_test_patients_id_is_refused_for_the_id_alone(
    shelf: Shelf, data: Shards
) -> None:
    """Fails where data sets that number their patients alike are told to hold the same patients."""
    patient = data.split("test")["patient_id"][0]
    train = data.split("train")
    shelf.put(
        dataclasses.replace(
            data, rows=train.assign(patient_id=patient), summary=data.summary | {"source": "gs://another/source"}
        ),
        network(32),
    )
    assert shelf.refusal(data) == (
        "it was trained or validated, on another source, on patients of the same id as 1 of the 15 test patients, "
        f"{patient} among them; test on patients new to both, or publish other data under another publish_model_name"
    )


def test_one_from_another_source_that_knows_a_test_image_knew_the_patient(shelf: Shelf, data: Shards) -> None:
    copy = data.split("train").assign(md5=data.split("test")["md5"][0])
    shelf.put(dataclasses.replace(data, rows=copy, summary=data.summary | {"source": "gs://moved"}), network(32))
    assert shelf.refusal(data).startswith("it was trained or validated on 1 of the 15 test patients, ")


def test_one_that_knows_a_test_image_under_another_patients_name_is_refused(shelf: Shelf, data: Shards) -> None:
    image = data.split("test").iloc[0]
    copy = data.split("train").assign(md5=image["md5"])
    shelf.put(dataclasses.replace(data, rows=copy), network(32))
    assert shelf.refusal(data).startswith("it was trained or validated on 1 of the 15 test patients, ")
    assert image["patient_id"] in shelf.refusal(data)


def test_the_images_that_chose_the_weights_are_recorded(data: Shards, tmp_path: Path) -> None:
    record_seen_images(data.rows, tmp_path)
    found = pd.read_parquet(tmp_path / "seen.parquet")
    assert found.columns.tolist() == ["patient_id", "md5"]
    assert len(found) == 58 + 39
    assert not set(found["patient_id"]) & set(data.split("test")["patient_id"])


def test_a_damaged_one_is_refused(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(32))
    damaged = Path(shelf.settings.publish_registry, MODEL, "1", "assets.extra", "model.keras")
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert shelf.refusal(data).startswith(f"it is damaged or incomplete ({damaged} must have SHA-256 ")


@pytest.mark.parametrize("lost", ["model.keras", "contract.json", "lineage.json", "seen.parquet"])
def test_one_without_a_file_that_is_needed_is_refused(shelf: Shelf, data: Shards, lost: str) -> None:
    shelf.put(data, network(32), lacking=lost)
    assert shelf.refusal(data).startswith(
        f"it is damaged or incomplete (version 1 of chest has no '{registry.EXTRA_ASSETS}/{lost}'"
    )


def test_one_that_is_gone_is_refused(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(32))
    shutil.rmtree(Path(shelf.settings.publish_registry, MODEL, "1"))
    assert shelf.refusal(data).startswith("it is damaged or incomplete (chest has no version 1 in ")


def test_one_that_holds_code_is_refused_and_the_code_not_run(shelf: Shelf, data: Shards, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    code = keras.layers.Lambda(lambda each, name=str(ran): [each, open(name, "w").close()][0])  # noqa: PTH123
    shelf.put(data, keras.Model(inputs, network(32)(code(inputs))))
    ran.unlink()
    assert shelf.refusal(data).startswith("its model.keras cannot be loaded (")
    assert not ran.exists()


def test_one_whose_network_is_not_what_its_contract_says_is_refused(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(64), size=32)
    assert shelf.refusal(data) == (
        "its network must map (None, 32, 32, 1) to (None, 3), got (None, 64, 64, 1) to (None, 3)"
    )


@pytest.mark.parametrize("row", [0, 20])
def test_one_of_another_size_is_refused_where_an_original_is_gone(shelf: Shelf, data: Shards, row: int) -> None:
    shelf.put(data, network(64), size=64)
    gone = data.split("test")["image_id"][row]
    uris = data.rows["uri"].where(data.rows["image_id"] != gone, "/gone.png")
    assert shelf.refusal(dataclasses.replace(data, rows=data.rows.assign(uri=uris))) == (
        f"it takes images of 64 pixels, and the originals cannot be read anew ({gone}: deleted since ingest)"
    )


def test_one_of_another_size_is_refused_where_the_archive_is_gone(shelf: Shelf, data: Shards) -> None:
    shelf.put(data, network(64), size=64)
    moved = dataclasses.replace(data, rows=data.rows.assign(uri="/gone.npz#test_images/0"))
    assert shelf.refusal(moved).startswith("it takes images of 64 pixels, and the originals cannot be read anew (")
    assert "/gone.npz" in shelf.refusal(moved)
