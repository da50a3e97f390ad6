"""Defects of tables and splits: leaking patients, contradictions, misspelled findings, zero-padded ids."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config import Ingest
from radiograft.data import splits
from radiograft.data.catalog import Catalog
from radiograft.data.sources.base import patient_ids
from radiograft.stages.ingest import task
from tests.helpers.nih_source import half_validating, nih_files, put

COLUMNS = "image=file,patient=Patient ID,label=Finding Labels,view=View Position,age=Patient Age,split=repo_split"
ROWS = """image,patient,label,split
0.png,1,Pneumonia,train
1.png,1,No Finding,train
2.png,2,Pneumonia,valid
3.png,3,No Finding,valid
4.png,4,Pneumonia,test
5.png,5,No Finding,test
"""


def catalog(place: Path, rows: str = ROWS, policy: str = "standard") -> Catalog:
    names = re.findall(r"\d+\.png", rows)
    put({name: name.encode() for name in names} | {"t.csv": rows.encode()}, str(place))
    return task.build_catalog(Ingest(data_format="table", data_source=f"{place}/t.csv", data_policy=policy))


def leaking_split(test_data: Path, policy: str = "standard") -> Ingest:
    source = str(test_data / "chestxray14_64px/labels.csv")
    return Ingest(
        data_format="table",
        data_source=source,
        data_table=COLUMNS,
        data_labels="Infiltration",
        data_policy=policy,
    )


def test_run_leaking_split_raises_with_patients(test_data: Path, tmp_path: Path) -> None:
    table = pd.read_csv(test_data / "chestxray14_64px/labels.csv")
    splits = table.groupby("Patient ID")["repo_split"].nunique()
    leaking = sorted(splits.index[splits > 1])
    assert len(leaking) == 30
    with pytest.raises(ValueError, match="a patient must be in one split only, got 30 in several") as error:
        task.run(leaking_split(test_data), tmp_path / "catalog")
    listed = str(error.value).partition("splits: ")[2].partition(";")[0]
    assert list(map(int, listed.split(", "))) == leaking
    assert not (tmp_path / "catalog").exists()


def test_build_catalog_leaking_split_can_be_quarantined(test_data: Path) -> None:
    found = task.build_catalog(leaking_split(test_data, "patient_overlap=quarantine"))
    assert found.rows.groupby("patient_id")["split"].nunique().max() == 1
    table = pd.read_csv(test_data / "chestxray14_64px/labels.csv")
    assert set(found.rows["image_id"][found.rows["split"] == "test"]) == set(
        table["file"][table["repo_split"] == "test"]
    )
    assert len(found.rows) + len(found.quarantine) == len(table) == 1000
    assert found.quarantine["uri"].str.endswith(".png").all()


@settings(deadline=None)
@given(images=st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["train", "validation", "test"]))))
def test_find_leaks_keeps_split_held_out_most(images: list[tuple[str, str]]) -> None:
    rows = pd.DataFrame(images, columns=["patient_id", "official"], dtype="string")
    left = rows[~splits.find_leaks(rows)]
    for patient, part in rows.groupby("patient_id"):
        most = next(name for name in ("test", "validation", "train") if name in set(part["official"]))
        stays = left[left["patient_id"] == patient]
        assert set(stays["official"]) == {most}
        assert len(stays) == (part["official"] == most).sum()


any_rows = st.lists(
    st.tuples(
        st.sampled_from(["1", "01", "2", "3", "4", ""]),
        st.sampled_from(["Pneumonia", "No Finding", "Mass"]),
        st.sampled_from(["train", "valid", "test"]),
        st.integers(0, 9),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=30)
@given(rows=any_rows, listed=st.booleans(), fraction=st.sampled_from([0.1, 0.5]))
def test_build_catalog_any_table_keeps_patients_in_one_split(
    rows: list[tuple[str, str, str, int]], listed: bool, fraction: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Covers missing and zero-padded ids, missing and leaking splits, and duplicate images."""
    lines = [f"{n}.png,{who},{what},{split if listed else ''}" for n, (who, what, split, _) in enumerate(rows, 6)]
    files = {f"{n}.png": b"%d" % content for n, (*_, content) in enumerate(rows, 6)}
    table = ROWS if listed else re.sub(r"train|valid|test", "", ROWS)
    place = put(
        files | {f"{n}.png": b"a%d" % n for n in range(6)} | {"t.csv": (table + "\n".join(lines)).encode()},
        str(tmp_path_factory.mktemp("any")),
    )
    asked = Ingest(
        data_format="table",
        data_source=f"{place}/t.csv",
        data_policy="patient_overlap=drop",
        data_validation_fraction=fraction,
        data_test_fraction=fraction,
    )
    try:
        found = task.build_catalog(asked).rows
    except ValueError as error:
        assert "training and validation must hold images" in str(error)  # noqa: PT017  any other is a failure
        return
    whole = found["patient_id"].str.lstrip("0")
    assert found.groupby(whole)["split"].nunique().max() == 1
    assert found.groupby("md5")["split"].nunique().max() == 1


def test_build_catalog_contradiction_is_quarantined_with_uri(tmp_path: Path) -> None:
    found = catalog(tmp_path, ROWS + "6.png,6,No Finding|Pneumonia,train\n7.png,7,Mass|Pneumonia,train\n")
    assert found.quarantine.to_numpy().tolist() == [
        ["6.png", f"{tmp_path}/6.png", "'No Finding' together with a finding"]
    ]
    assert "7.png" in set(found.rows["image_id"])


def test_build_catalog_support_devices_with_no_finding_is_kept(tmp_path: Path) -> None:
    found = catalog(tmp_path, ROWS + "6.png,6,No Finding|Support Devices,train\n")
    assert "6.png" in set(found.rows["image_id"])


def test_build_catalog_misspelled_finding_is_suspect_and_kept(tmp_path: Path) -> None:
    rows = ROWS + "6.png,6,Pnuemonia,train\n7.png,7,Pneumothorax|no pneumonia,train\n"
    found = catalog(tmp_path / "kept", rows)
    assert found.suspects["image_id"].tolist() == ["6.png"]
    assert found.notes == (
        "'Pnuemonia' (1 images) may be a misspelling of Pneumonia; these images count as negative for Pneumonia",
    )
    assert "6.png" in set(found.rows["image_id"])
    assert "6.png" not in set(catalog(tmp_path / "dropped", rows, "misspelled_label=drop").rows["image_id"])


def test_build_catalog_failing_defect_raises_with_images(tmp_path: Path) -> None:
    rows = ROWS + "6.png,6,No Finding|Pneumonia,train\n"
    with pytest.raises(ValueError, match=r"got 1 \(contradictory_labels: 'No Finding' together with .*\): 6\.png;"):
        catalog(tmp_path, rows, "contradictory_labels=fail")


def test_build_catalog_zero_padded_ids_are_one_patient(tmp_path: Path) -> None:
    rows = ROWS.replace("1.png,1,", "1.png,00000001,") + "6.png,007,Mass,train\n"
    found = catalog(tmp_path, rows)
    ids = dict(zip(found.rows["image_id"], found.rows["patient_id"], strict=True))
    assert (ids["0.png"], ids["1.png"], ids["6.png"]) == ("1", "1", "007")
    assert (
        "1 patient ids are spelled in several ways (leading zeros, .0, white space or Unicode form): "
        "each is one patient" in found.notes
    )


def test_build_catalog_zero_padded_ids_in_two_splits_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got 1 in several of the dataset's own splits: 1;"):
        catalog(tmp_path, ROWS.replace("4.png,4,", "4.png,0001,"))


@given(ids=st.lists(st.sampled_from(["1", "01", "2", "0", "00", "a1", "0a1", ""]), max_size=12))
def test_patient_ids_merges_only_equal_numbers(ids: list[str]) -> None:
    images = pd.Series([f"{number}.png" for number in range(len(ids))], dtype="string")
    found, _ = patient_ids(pd.Series(ids, dtype="string"), images)
    for one, here in zip(ids, found, strict=True):
        for other, there in zip(ids, found, strict=True):
            same = one == other or (one.isdigit() and other.isdigit() and int(one) == int(other))
            assert (here == there) == (same and one != "") or (one == other == "")


@pytest.mark.parametrize(
    "name", ["Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"]
)
def test_build_catalog_nih_file_not_utf8_raises(tmp_path: Path, name: str) -> None:
    content = (nih_files().get(name, b"Image Index,Finding Label\n").decode() + "\xe9").encode("latin-1")
    with pytest.raises(
        ValueError, match=rf"^{re.escape(name)} must be UTF-8 text, got invalid bytes at \d+; save it as"
    ):
        task.build_catalog(half_validating(put(nih_files() | {name: content}, str(tmp_path))))


@pytest.mark.parametrize("name", ["Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt"])
def test_build_catalog_nih_file_in_utf16_is_read(tmp_path: Path, name: str) -> None:
    """Excel's "Unicode text" is UTF-16."""
    files = nih_files()
    other = files | {name: files[name].decode().encode("utf-16")}
    catalogs = [
        task.build_catalog(half_validating(put(content, str(tmp_path / folder))))
        for folder, content in (("utf8", files), ("utf16", other))
    ]
    assert catalogs[0].fingerprint() == catalogs[1].fingerprint()
