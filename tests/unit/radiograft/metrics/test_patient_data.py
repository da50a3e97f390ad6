"""The logistic regression on patient data alone, checked on NIH's full table, and labels in disguise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft.data import table_files
from radiograft.data.catalog import label_column
from radiograft.data.sources.base import ages_in_years
from radiograft.metrics.multilabel import auroc
from radiograft.metrics.patient_data import check_disguised_labels, fit_patient_data
from radiograft.models.covariates import Covariate


@pytest.fixture(scope="module")
def nih(test_data: Path) -> pd.DataFrame:
    """NIH's 112,120 rows as a catalog with three labels and the official split."""
    folder = test_data / "chestxray14"
    name = "Data_Entry_2017_v2020.csv.gz"
    table = table_files.read(name, (folder / name).read_bytes())
    tested = set((folder / "test_list.txt").read_text().split())
    rows = pd.DataFrame(
        {
            "age": ages_in_years(table["Patient Age"]),
            "sex": table["Patient Gender"],
            "view": table["View Position"],
            "split": np.where(table["Image Index"].isin(tested), "test", "train_val"),
        }
    )
    findings = table["Finding Labels"].str.split("|")
    labels = {
        label_column(label): findings.map(lambda found, label=label: float(label in found))
        for label in ("Hernia", "Edema", "Consolidation")
    }
    return rows.assign(**labels)


@pytest.mark.parametrize(
    ("label", "expected", "converged"),
    [("Hernia", 0.842, 0.843), ("Edema", 0.698, 0.7015), ("Consolidation", 0.611, 0.616)],
)
def test_fit_patient_data_on_nih_reaches_known_aurocs(
    nih: pd.DataFrame, label: str, expected: float, converged: float
) -> None:
    """Age, its square, sex and view, trained on train_val, scored on the official test split."""
    train, test = (nih[nih["split"] == split] for split in ("train_val", "test"))
    assert (len(train), len(test)) == (86_524, 25_596)
    covariates = [Covariate.fit(name, train[name]) for name in ("age", "sex", "view")]
    scores = fit_patient_data(train, [label], covariates).predict(test, label)
    area = auroc(test[label_column(label)], scores)
    assert area == pytest.approx(expected, abs=0.005)
    assert area == pytest.approx(converged, abs=0.0005)


def rows(count: int, **columns: object) -> pd.DataFrame:
    truth = np.arange(count) % 2
    return pd.DataFrame({"label:Mass": truth.astype(float), "age": 50.0, "sex": "F", "view": "PA", **columns})


def test_fit_patient_data_label_without_both_classes_predicts_half() -> None:
    train = rows(20).assign(**{"label:Edema": 0.0})
    model = fit_patient_data(train, ["Edema"], [Covariate.fit("age", train["age"])])
    assert model.predict(train, "Edema").tolist() == [0.5] * 20


def test_fit_patient_data_unknown_labels_are_left_out() -> None:
    age = np.arange(60.0)
    train = rows(60, age=age).assign(**{"label:Mass": np.where(age < 30, np.nan, (age > 45).astype(float))})
    scores = fit_patient_data(train, ["Mass"], [Covariate.fit("age", train["age"])]).predict(train, "Mass")
    assert scores[59] > 0.9
    assert scores[31] < 0.1


def test_check_disguised_labels_names_covariate_and_remedy() -> None:
    train = rows(60, **{"covariate:code": pd.Series(["A", "B"] * 30, dtype="string")})
    with pytest.raises(ValueError, match=r"code must not give Mass away: .*1\.000 .*data_covariates_insist=code"):
        check_disguised_labels(train, ["Mass"], ["age", "code"], [])
    check_disguised_labels(train, ["Mass"], ["age", "code"], ["code"])


def test_check_disguised_labels_missing_values_give_label_away() -> None:
    """The flag for missing values is an input too."""
    train = rows(60, **{"covariate:pulse": np.where(np.arange(60) % 2, 80.0, np.nan)})
    with pytest.raises(ValueError, match="pulse must not give Mass away"):
        check_disguised_labels(train, ["Mass"], ["pulse"], [])


def test_check_disguised_labels_few_positives_are_not_judged() -> None:
    train = rows(60).assign(**{"label:Mass": (np.arange(60) < 5).astype(float), "age": np.arange(60.0)})
    check_disguised_labels(train, ["Mass"], ["age"], [])


def test_check_disguised_labels_number_that_nearly_equals_the_target_is_rejected() -> None:
    noise = np.random.default_rng(0).normal(size=60)
    train = rows(60, **{"label:height": np.arange(60.0) + 100, "covariate:inches": np.arange(60.0) / 2.54 + 40})
    with pytest.raises(ValueError, match=r"inches must not give height away: alone it explains 1\.000"):
        check_disguised_labels(train, ["height"], ["inches"], [], "regression")
    check_disguised_labels(train, ["height"], ["inches"], ["inches"], "regression")
    related = train.assign(**{"covariate:inches": np.arange(60.0) / 2.54 + 5 * noise})
    check_disguised_labels(related, ["height"], ["inches", "age", "sex"], [], "regression")
