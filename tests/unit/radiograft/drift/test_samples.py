"""Drift of a network that reads more than a frontal image compares whole studies."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from radiograft.config import Ingest
from radiograft.data.shards.dataset import Shards
from radiograft.drift import evaluation_drift
from radiograft.drift.monitor import embed_source
from radiograft.drift.reference import REFERENCE, EmbeddingModel, ReferenceSample
from radiograft.models.covariates import Covariate
from radiograft.models.spec import ModelSpec
from radiograft.training.datasets import with_patient_data
from tests.helpers.studies import SIZE, dual_network, study_catalog, write_shards

STRATEGY = tf.distribute.get_strategy()
INPUTS = ["lateral", "age"]


class Studies(NamedTuple):
    """Shards, a network of both images and the age, and a table of the test images."""

    data: Shards
    network: keras.Model
    spec: ModelSpec
    table: Path


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Studies:
    folder = tmp_path_factory.mktemp("drift_of_samples")
    catalog = study_catalog(folder / "images")
    catalog.rows["age"] = np.arange(len(catalog.rows), dtype="float64")
    spec = ModelSpec(
        SIZE, ("Mass",), "efficientnet_lite0", "none", "", "fine_tuning",
        lateral=True, covariates=(Covariate("age", 40.0, 20.0),),
    )  # fmt: skip
    data = with_patient_data(Shards.read(write_shards(catalog, folder)), spec.covariates)
    test = catalog.rows[catalog.rows["split"].eq("test")]
    frontal = test.assign(file=test["image_id"], view="PA")
    lateral = test[test["lateral"].notna()].assign(file=lambda rows: rows["lateral_id"], view="LATERAL")
    table = pd.concat([frontal, lateral])[["file", "patient_id", "study_id", "view", "age"]]
    table.to_csv(folder / "images" / "new.csv", index=False)
    return Studies(data, dual_network(data), spec, folder / "images" / "new.csv")


def new_settings(table: Path, **changes: object) -> Ingest:
    layout = "image=file,patient=patient_id,study=study_id,view=view,age=age"
    values = {"data_source": str(table), "data_format": "table", "data_table": layout, "data_labels": "Mass"}
    return Ingest(**{**values, "data_unit": "study", **changes})  # type: ignore[arg-type]


def test_reference_and_new_studies_have_the_same_scores(studies: Studies, tmp_path: Path) -> None:
    data, network, spec, table = studies
    embeddings = evaluation_drift.embed_images(data, network, spec, STRATEGY, 0)
    evaluation_drift.compare_validation_and_test(data, embeddings, spec, 0, tmp_path)
    reference = ReferenceSample.read((tmp_path / REFERENCE).read_bytes())

    new = embed_source(new_settings(table), EmbeddingModel(network, STRATEGY), spec, reference.inputs.tolist())

    assert reference.inputs.tolist() == INPUTS
    assert new.available == 24
    assert any("18 of them also a lateral image" in note for note in new.notes)
    np.testing.assert_allclose(
        np.sort(new.sample.scores, axis=0), np.sort(embeddings["test"].scores, axis=0), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("column", "lacking"), [("study_id", "lateral image"), ("age", "age")], ids=["no study", "no age"]
)
def test_new_studies_without_an_input_have_other_scores_and_a_note(
    studies: Studies, tmp_path: Path, column: str, lacking: str
) -> None:
    table = pd.read_csv(studies.table)
    kept = table[table["view"].eq("PA")] if column == "study_id" else table
    path = studies.table.with_name(f"without_{column}.csv")
    kept.drop(columns="age" if column == "age" else []).to_csv(path, index=False)
    model = EmbeddingModel(studies.network, STRATEGY)

    whole = embed_source(new_settings(studies.table), model, studies.spec, INPUTS)
    layout = "image=file,patient=patient_id,study=study_id,view=view"
    settings = new_settings(path, data_table=layout + (",age=age" if column != "age" else ""))
    lesser = embed_source(settings, model, studies.spec, INPUTS)

    assert f"The source lacks {lacking}; the network reads them as missing." in lesser.notes
    assert not any("The source lacks" in note for note in whole.notes)
    assert np.abs(np.sort(lesser.sample.scores, axis=0) - np.sort(whole.sample.scores, axis=0)).max() > 1e-3


def test_reference_of_older_version_has_no_further_inputs(studies: Studies, tmp_path: Path) -> None:
    embeddings = evaluation_drift.embed_images(studies.data, studies.network, studies.spec, STRATEGY, 0)
    evaluation_drift.compare_validation_and_test(studies.data, embeddings, studies.spec, 0, tmp_path)
    with np.load(tmp_path / REFERENCE) as arrays:
        older = {name: array for name, array in arrays.items() if name != "inputs"}
    np.savez(tmp_path / "older.npz", allow_pickle=False, **older)

    read = ReferenceSample.read((tmp_path / "older.npz").read_bytes())

    assert read.inputs.tolist() == []
