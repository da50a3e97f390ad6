"""Parsing and validation of the setting `data_policy`."""

from __future__ import annotations

import dataclasses

import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.config.data_policy import NOT_ASKED_FOR, REASONS, DataPolicy, defect_of


def policy(text: str) -> DataPolicy:
    return Ingest(data_source="x", data_policy=text).policy()


def test_parse_partial_policy_keeps_other_defaults() -> None:
    parsed = policy("near_duplicate=drop,blank=fail")
    assert (parsed.near_duplicate, parsed.blank, parsed.patient_overlap) == ("drop", "fail", "fail")
    assert policy("standard") == DataPolicy()
    assert Preprocess(data_policy="blank=fail").policy().blank == "fail"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("near_duplicat=drop", "data_policy has no 'near_duplicat'; did you mean 'near_duplicate'?"),
        ("blank=quarantin", "blank must be one of drop, quarantine, fail, got 'quarantin'; did you mean 'quarantine'?"),
        ("corrupt=report", "corrupt must be one of drop, quarantine, fail, got 'report'"),
        ("standart", "data_policy must be one of standard or name=value,..., got 'standart'"),
    ],
)
def test_parse_invalid_policy_raises(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  a part of the message is compared
        policy(text)
    assert message in str(error.value)


def test_defect_of_all_reasons_covers_all_defects() -> None:
    names = {field.name for field in dataclasses.fields(DataPolicy)}
    assert set(REASONS.values()) | {"unusable"} == names
    assert not set(REASONS) & set(NOT_ASKED_FOR)
    assert defect_of("modality MR is not a radiograph (CR, DX)") == "unusable"
    assert defect_of("not a frontal view") == ""
    assert DataPolicy(unusable="fail").treatment("not a frontal view") == "drop"
