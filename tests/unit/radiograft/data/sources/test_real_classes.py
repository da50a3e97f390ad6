"""Real images of exclusive classes: the catalogs have every image with its class, split by patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog
from radiograft.stages.ingest import task

HAM10000 = {"nv": 119, "mel": 88, "bkl": 88, "bcc": 74, "akiec": 66, "vasc": 56, "df": 42}


def count_images(catalog: Catalog) -> dict[str, int]:
    return {label: int(catalog.rows[f"label:{label}"].sum()) for label in catalog.labels}


@pytest.mark.parametrize(
    ("data_format", "name", "columns"),
    [("folders", "", "standard"), ("table", "/metadata.csv", "image=file,patient=lesion_id,label=dx")],
)
def test_catalog_of_ham10000_has_seven_exclusive_classes(
    data_format: str, name: str, columns: str, test_data: Path
) -> None:
    source = f"{test_data}/ham10000_224{name}"
    settings = Ingest(data_format=data_format, data_source=source, data_table=columns, data_labels=",".join(HAM10000))
    catalog = task.build_catalog(settings)
    assert (catalog.task, catalog.task_reason) == ("multiclass", "every image has exactly one of the 7 labels")
    assert count_images(catalog) == HAM10000
    assert len(catalog.rows) == 533
    assert catalog.excluded.empty
    splits = catalog.summary()["splits"]
    assert all(min(split["positives"].values()) > 0 for split in splits.values())


def test_catalog_of_blood_cells_splits_by_smear(test_data: Path) -> None:
    settings = Ingest(
        data_format="table",
        data_source=f"{test_data}/bccd_cells_64/labels.csv",
        data_table="image=file,patient=source_picture",
        data_labels="RBC,WBC,Platelets",
    )
    catalog = task.build_catalog(settings)
    assert catalog.task == "multiclass"
    assert count_images(catalog) == {"RBC": 150, "WBC": 150, "Platelets": 150}
    assert catalog.rows["patient_id"].nunique() == 227
    assert catalog.rows.groupby("patient_id")["split"].nunique().max() == 1
