"""Settings of patient data: names that a model may read, and those known only after the diagnosis."""

from __future__ import annotations

import pytest

from radiograft.config import ExtractFeatures, Ingest, all_settings, validate_settings
from radiograft.config.patient_data import known_later


@pytest.mark.parametrize("name", ["survival", "went_icu", "offset", "Outcome 30d", "lengthOfStay", "RT_PCR_positive"])
def test_known_later_names_of_covid_table_are_recognized(name: str) -> None:
    assert known_later(name)


@pytest.mark.parametrize("name", ["temperature", "pO2_saturation", "leukocyte_count", "Follow-up #", "close_contact"])
def test_known_later_measurements_at_admission_are_not(name: str) -> None:
    assert known_later(name) is None


def test_data_covariates_known_later_are_rejected_unless_insisted() -> None:
    with pytest.raises(ValueError, match=r"'went_icu', whose name contains 'icu': .*data_covariates_insist=went_icu"):
        Ingest(data_source="x", data_covariates="temperature,went_icu")
    settings = Ingest(data_source="x", data_covariates="went_icu", data_covariates_insist="went_icu")
    assert settings.covariates() == ("went_icu",)
    assert settings.table_layout().covariates == "went_icu"


def test_data_covariates_of_every_catalog_are_rejected() -> None:
    with pytest.raises(ValueError, match="data_covariates must not name age, which is always read"):
        Ingest(data_source="x", data_covariates="age")


def test_data_table_with_covariates_points_to_the_setting() -> None:
    with pytest.raises(ValueError, match="data_table must not name covariates, got 'pulse': set data_covariates"):
        Ingest(data_source="x", data_table="covariates=pulse")


def defaults() -> dict[str, object]:
    required = {"data_source": "x", "publish_registry": "r", "publish_model_name": "m"}
    return {name: field.default for name, field in all_settings().items()} | required


def test_model_patient_data_unknown_column_is_rejected() -> None:
    with pytest.raises(ValueError, match="model_patient_data must name age, sex, view or columns in data_covariates"):
        validate_settings({**defaults(), "model_patient_data": "age,pulse"})
    checked = validate_settings({**defaults(), "model_patient_data": ["age", "pulse"], "data_covariates": "pulse"})
    assert checked["model_patient_data"] == "age,pulse"


def test_model_patient_data_named_twice_is_rejected() -> None:
    with pytest.raises(ValueError, match="model_patient_data must name each column once, got 'age,age'"):
        ExtractFeatures(model_patient_data="age,age")


@pytest.mark.parametrize("names", ["temp-C,temp_c", "image bytes", "年齢"])
def test_model_patient_data_without_an_input_name_of_their_own_are_rejected(names: str) -> None:
    """The export of the SavedModel, after training, would fail."""
    with pytest.raises(ValueError, match="model_patient_data must name columns that differ in their letters a to z"):
        validate_settings({**defaults(), "model_patient_data": names, "data_covariates": names})
