"""Patient data from every kind of source that has them reach the catalog."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.config import Ingest
from radiograft.stages.ingest import task as ingest
from radiograft.stages.ingest.task import build_catalog


def write_table(folder: Path, count: int = 80, **columns: object) -> Path:
    """Writes a table with images, each of a patient of its own, and these columns."""
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(folder / f"{number}.png")
    numbers = np.arange(count)
    table = pd.DataFrame(
        {"image": [f"{n}.png" for n in numbers], "patient": [f"p{n}" for n in numbers], "Mass": numbers % 2, **columns}
    )
    table.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def table_settings(path: Path, **settings: str) -> Ingest:
    return Ingest(data_format="table", data_source=str(path), data_labels="Mass", **settings)


def test_build_catalog_reads_numbers_and_categories_of_a_table(tmp_path: Path) -> None:
    pulse = ["70" if n % 3 else "" for n in range(80)]
    smoker = [("yes", "no", "unknown")[n % 3] for n in range(80)]
    path = write_table(tmp_path, pulse=pulse, smoker=smoker)
    catalog = build_catalog(table_settings(path, data_covariates="pulse,smoker"))
    rows = catalog.rows.set_index("image_id")
    assert rows["covariate:pulse"].dtype == "float64"
    assert rows.loc[["0.png", "1.png"], "covariate:pulse"].isna().tolist() == [True, False]
    assert rows.loc[["0.png", "1.png", "2.png"], "covariate:smoker"].fillna("?").tolist() == ["yes", "no", "?"]
    assert catalog.labels == ("Mass",)


def test_build_catalog_unknown_column_raises(tmp_path: Path) -> None:
    path = write_table(tmp_path, pulse=70)
    with pytest.raises(ValueError, match=r"'puls', which data_covariates names, got .*did you mean 'pulse'"):
        build_catalog(table_settings(path, data_covariates="puls"))


def test_build_catalog_column_in_rows_of_one_image_that_differ_is_missing(tmp_path: Path) -> None:
    path = write_table(tmp_path, pulse=70)
    table = pd.read_csv(path)
    pd.concat([table, table.head(1).assign(pulse=90)]).to_csv(path, index=False)
    rows = build_catalog(table_settings(path, data_covariates="pulse")).rows.set_index("image_id")
    assert rows.loc[["0.png", "1.png"], "covariate:pulse"].isna().tolist() == [True, False]


def test_run_covariate_that_gives_label_away_is_rejected(tmp_path: Path) -> None:
    path = write_table(tmp_path, code=[("a", "b")[n % 2] for n in range(80)])
    with pytest.raises(ValueError, match="code must not give Mass away: alone it reaches an AUROC of 1"):
        ingest.run(table_settings(path, data_covariates="code"), tmp_path / "catalog")
    assert not (tmp_path / "catalog").exists()
    insisted = table_settings(path, data_covariates="code", data_covariates_insist="code")
    ingest.run(insisted, tmp_path / "catalog")
    assert json.loads((tmp_path / "catalog" / "catalog.json").read_text())["splits"]["train"]["pictures"] > 20


def test_run_age_that_gives_label_away_is_rejected_only_if_used(tmp_path: Path) -> None:
    path = write_table(tmp_path, age=[30 + 30 * (n % 2) for n in range(80)])
    ingest.run(table_settings(path), tmp_path / "catalog")
    with pytest.raises(ValueError, match="age must not give Mass away"):
        ingest.run(table_settings(path), tmp_path / "other", patient_data=["age"])


def test_build_catalog_of_nih_reads_further_column(nih_folder: Path) -> None:
    settings = Ingest(data_source=str(nih_folder), data_covariates="Follow-up #")
    follow_up = build_catalog(settings).rows["covariate:Follow-up #"]
    assert follow_up.dtype == "float64"
    assert follow_up.min() == 0


def test_build_catalog_of_folders_has_no_covariates(tmp_path: Path) -> None:
    for number in range(60):
        folder = tmp_path / ("NORMAL" if number % 2 else "PNEUMONIA")
        folder.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    with pytest.raises(ValueError, match="data_covariates must be empty if the source has no table, as data_format=f"):
        build_catalog(Ingest(data_format="folders", data_source=str(tmp_path), data_covariates="pulse"))


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ([""] * 80, "must name columns with known values in training, got 'pulse'"),
        ([f"text {n}" for n in range(80)], "at most 32 different values, got 'pulse' with"),
    ],
)
def test_run_patient_data_that_cannot_be_encoded_are_rejected_although_insisted_on(
    tmp_path: Path, cells: list[str], reason: str
) -> None:
    path = write_table(tmp_path, pulse=cells)
    settings = table_settings(path, data_covariates="pulse", data_covariates_insist="pulse")
    with pytest.raises(ValueError, match=reason):
        ingest.run(settings, tmp_path / "catalog", patient_data=["pulse"])
    assert not (tmp_path / "catalog").exists()
