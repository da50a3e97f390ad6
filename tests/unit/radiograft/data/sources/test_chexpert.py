"""The CheXpert reader: paths, views, and the meaning of -1 and of blank cells."""

from __future__ import annotations

import math

import pytest

from radiograft.config.table_layout import TableLayout
from radiograft.data.sources import chexpert
from radiograft.data.sources.base import Source
from radiograft.data.sources.chexpert import FINDINGS, VALID_TESTS
from tests.helpers.nih_source import put

HEADER = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{','.join(FINDINGS)}"


def line(path: str, facts: str, **values: str) -> str:
    named = {name.replace(" ", "_"): name for name in FINDINGS}
    cells = {named[name]: value for name, value in values.items()}
    return f"CheXpert-v1.0-small/{path},{facts},{','.join(cells.get(name, '') for name in FINDINGS)}"


TRAIN = [
    line("train/patient00001/study1/view1_frontal.jpg", "Female,68,Frontal,AP", Edema="1.0", Pneumonia="-1.0"),
    line("train/patient00001/study1/view2_lateral.jpg", "Female,68,Lateral,", Edema="1.0", Pneumonia="-1.0"),
    line("train/patient00002/study1/view1_frontal.jpg", "Male,0,Frontal,PA", No_Finding="1.0", Support_Devices="1.0"),
]
VALID = [line("valid/patient64541/study1/view1_frontal.jpg", "Male,73,Frontal,AP", Edema="0.0", Pneumonia="0.0")]


def files(**tables: list[str]) -> dict[str, bytes]:
    images = {row.split(",")[0].partition("/")[2]: row.encode() for rows in tables.values() for row in rows}
    return images | {f"{name}.csv": "\n".join([HEADER, *rows]).encode() for name, rows in tables.items()}


def truth(source: Source, finding: str) -> list[float | None]:
    return [None if math.isnan(value) else value for value in source.findings[finding]]


def test_read_returns_patient_view_age_and_sex(place: str) -> None:
    source = chexpert.read(put(files(train=TRAIN, valid=VALID), place), TableLayout())
    facts = source.rows[["image_id", "patient_id", "view", "age", "sex", "official"]]
    assert facts.to_numpy(dtype=object).tolist() == [
        ["train/patient00001/study1/view1_frontal.jpg", "patient00001", "AP", 68.0, "F", "train_val"],
        ["train/patient00001/study1/view2_lateral.jpg", "patient00001", "LATERAL", 68.0, "F", "train_val"],
        ["train/patient00002/study1/view1_frontal.jpg", "patient00002", "PA", 0.0, "M", "train_val"],
        ["valid/patient64541/study1/view1_frontal.jpg", "patient64541", "AP", 73.0, "M", "test"],
    ]
    assert list(source.findings) == list(FINDINGS)
    assert source.notes == (VALID_TESTS,)
    assert len(source.excluded) == 0


@pytest.mark.parametrize(("uncertain", "value"), [("ignore", None), ("zeros", 0.0), ("ones", 1.0)])
def test_read_uncertain_follows_setting_and_blank_is_absent(tmp_path: str, uncertain: str, value: float | None) -> None:
    uri = put(files(train=TRAIN, valid=VALID), f"{tmp_path}/chexpert")
    source = chexpert.read(uri, TableLayout(uncertain=uncertain))
    assert truth(source, "Pneumonia") == [value, value, 0.0, 0.0]
    assert truth(source, "Edema") == [1.0, 1.0, 0.0, 0.0]
    assert truth(source, "No Finding") == [0.0, 0.0, 1.0, 0.0]


def test_read_with_test_table_uses_valid_for_validation(tmp_path: str) -> None:
    test = [line("test/patient64741/study1/view1_frontal.jpg", "Male,60,Frontal,AP", Edema="1.0")]
    source = chexpert.read(put(files(train=TRAIN, valid=VALID, test=test), f"{tmp_path}/all"), TableLayout())
    assert source.rows["official"].tolist() == ["test", "train", "train", "train", "validation"]
    assert source.notes == ()


def test_read_missing_table_or_column_raises(tmp_path: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"must contain train\.csv and valid\.csv; valid\.csv is missing from"):
        chexpert.read(put(files(train=TRAIN), f"{tmp_path}/half"), TableLayout())
    broken = files(train=TRAIN, valid=VALID)
    broken["valid.csv"] = broken["valid.csv"].replace(b"Edema", b"Oedema")
    with pytest.raises(ValueError, match=r"valid\.csv must have CheXpert's columns; missing: Edema"):
        chexpert.read(put(broken, f"{tmp_path}/broken"), TableLayout())
