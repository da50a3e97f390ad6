"""The setting data_policy: every defect has a policy, and what is misspelled is answered with the nearest."""

from __future__ import annotations

import dataclasses

import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.config.data_policy import NOT_ASKED_FOR, REASONS, DataPolicy, defect_of


def policy(text: str) -> DataPolicy:
    return Ingest(data_source="x", data_policy=text).policy()


def test_what_is_not_named_keeps_its_default() -> None:
    found = policy("near_duplicate=drop,blank=fail")
    assert (found.near_duplicate, found.blank, found.patient_overlap) == ("drop", "fail", "fail")
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
def test_a_wrong_policy_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  a part of the message is compared
        policy(text)
    assert message in str(error.value)


def test_every_reason_is_of_a_defect_and_every_defect_has_a_reason() -> None:
    names = {field.name for field in dataclasses.fields(DataPolicy)}
    assert set(REASONS.values()) | {"unusable"} == names
    assert not set(REASONS) & set(NOT_ASKED_FOR)
    assert defect_of("modality MR is no radiograph (CR, DX)") == "unusable"
    assert defect_of("not a frontal view") == ""
    assert DataPolicy(unusable="fail").treatment("not a frontal view") == "drop"
