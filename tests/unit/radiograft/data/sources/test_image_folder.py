"""The reader of one folder per class: Kermany's layouts with and without splits, and invalid layouts."""

from __future__ import annotations

import pytest

from radiograft import storage
from radiograft.config import Ingest
from radiograft.data.file_counts import FileCounts
from radiograft.data.sources import image_folder
from radiograft.data.sources.base import NO_PATIENTS
from radiograft.stages.ingest import task
from tests.helpers.nih_source import put

KAGGLE = {
    "train/NORMAL/IM-0115-0001.jpeg": b"1",
    "train/NORMAL/IM-0115-0002.jpeg": b"2",
    "train/NORMAL/NORMAL2-IM-0389-0001.jpeg": b"3",
    "train/PNEUMONIA/person1_bacteria_1.jpeg": b"4",
    "train/PNEUMONIA/person1_bacteria_2.jpeg": b"5",
    "val/NORMAL/NORMAL2-IM-1427-0001.jpeg": b"6",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg": b"7",
    "test/NORMAL/IM-0001-0001.jpeg": b"8",
    "test/PNEUMONIA/person1_virus_6.jpeg": b"9",
    ".DS_Store": b"x",
}


def test_read_kaggle_layout_returns_splits_and_patients(place: str) -> None:
    source = image_folder.read(put(KAGGLE, place))
    columns = ["image_id", "patient_id", "official"]
    assert source.rows[columns].to_numpy().tolist() == [
        ["test/NORMAL/IM-0001-0001.jpeg", "IM-0001", "test"],
        ["test/PNEUMONIA/person1_virus_6.jpeg", "person1_virus", "test"],
        ["train/NORMAL/IM-0115-0001.jpeg", "IM-0115", "train"],
        ["train/NORMAL/IM-0115-0002.jpeg", "IM-0115", "train"],
        ["train/NORMAL/NORMAL2-IM-0389-0001.jpeg", "NORMAL2-IM-0389", "train"],
        ["train/PNEUMONIA/person1_bacteria_1.jpeg", "person1_bacteria", "train"],
        ["train/PNEUMONIA/person1_bacteria_2.jpeg", "person1_bacteria", "train"],
        ["val/NORMAL/NORMAL2-IM-1427-0001.jpeg", "NORMAL2-IM-1427", "validation"],
        ["val/PNEUMONIA/person1946_bacteria_4874.jpeg", "person1946_bacteria", "validation"],
    ]
    assert source.findings["Pneumonia"].tolist() == [0, 1, 0, 0, 0, 1, 1, 0, 1]
    assert source.findings["No Finding"].tolist() == [1, 0, 1, 1, 1, 0, 0, 1, 0]
    assert source.notes == ()


def test_read_mendeley_layout_without_validation_split(tmp_path: str) -> None:
    files = {
        "train/NORMAL/NORMAL-28501-0001.jpeg": b"1",
        "train/PNEUMONIA/BACTERIA-7422-0001.jpeg": b"2",
        "train/PNEUMONIA/VIRUS-7422-0002.jpeg": b"3",
        "test/NORMAL/NORMAL-11419-0001.jpeg": b"4",
        "test/PNEUMONIA/BACTERIA-40699-0002.jpeg": b"5",
    }
    rows = image_folder.read(put(files, f"{tmp_path}/mendeley")).rows
    assert rows["patient_id"].tolist() == ["11419", "40699", "28501", "7422", "7422"]
    assert rows["official"].tolist() == ["test", "test", "train_val", "train_val", "train_val"]


def test_read_unsupported_formats_are_excluded_unread(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if they disappear silently, or if a million DICOM files in a bucket are opened one by one."""
    reasons = {
        "dcm": "DICOM file: set data_format=dicom",
        "dicom": "DICOM file: set data_format=dicom",
        "heic": "HEIC file: convert it to PNG",
        "jp2": "JPEG 2000 file: convert it to PNG",
        "npy": "NumPy file: convert it to PNG",
    }
    others = {f"NORMAL/{number}.{kind.upper()}": reason for number, (kind, reason) in enumerate(reasons.items())}
    files = {"NORMAL/a.PNG": b"1", "Mass/b.jpeg": b"2", "Mass/notes.txt": b"3", **dict.fromkeys(others, b"x")}
    touched: list[str] = []
    for name in ("read_bytes", "open_file"):
        use = getattr(storage, name)
        monkeypatch.setattr(storage, name, lambda uri, use=use: (touched.append(uri), use(uri))[1])
    source = image_folder.read(put(files, place))
    assert source.rows["image_id"].tolist() == ["Mass/b.jpeg", "NORMAL/a.PNG"]
    assert dict(source.excluded.to_numpy().tolist()) == others
    assert not [uri for uri in touched if uri.endswith(tuple(others))]


def test_read_without_split_folders_leaves_split_and_patients_unknown(tmp_path: str) -> None:
    files = {"sick/a.png": b"1", "healthy/deep/er/a.png": b"2", "stray.png": b"3", "sick/notes.txt": b"4"}
    source = image_folder.read(put(files, f"{tmp_path}/plain"))
    assert source.rows["image_id"].tolist() == ["healthy/deep/er/a.png", "sick/a.png"]
    assert source.rows["patient_id"].tolist() == ["healthy/deep/er/a.png", "sick/a.png"]
    assert source.rows["official"].isna().all()
    assert source.findings.to_dict("list") == {"No Finding": [1.0, 0.0], "sick": [0.0, 1.0]}
    assert source.excluded.to_numpy().tolist() == [["stray.png", "image outside the class folders"]]
    assert source.notes == (NO_PATIENTS,)


def test_read_single_class_raises(tmp_path: str) -> None:
    uri = put({"chest_xray/train/NORMAL/a.png": b"1", "chest_xray/test/NORMAL/b.png": b"2"}, f"{tmp_path}/nested")
    with pytest.raises(ValueError, match=r"at least two classes, or train, val and test .* has chest_xray$"):
        image_folder.read(uri)


def test_build_catalog_patient_in_two_splits_raises(tmp_path: str) -> None:
    files = KAGGLE | {"test/PNEUMONIA/person1_bacteria_3.jpeg": b"10"}
    with pytest.raises(ValueError, match=r"a patient must be in one split only, got 1 in several .*: person1_bac"):
        task.build_catalog(Ingest(data_format="folders", data_source=put(files, f"{tmp_path}/careless")))


def test_build_catalog_unknown_class_raises_with_known_classes(tmp_path: str) -> None:
    uri = put(KAGGLE, f"{tmp_path}/kaggle")
    for labels, known in (("Mass", "Pneumonia"), ("all", "No Finding, Pneumonia")):
        with pytest.raises(ValueError, match=rf"must be findings of the dataset \({known}\), got"):
            task.build_catalog(Ingest(data_format="folders", data_source=uri, data_labels=labels))


def test_read_splits_beside_a_class_folder_raises(tmp_path: str) -> None:
    """Kaggle's chest_xray as unzipped: a copy of the dataset inside itself. Fails if splits are learned as classes."""
    parts = [f"{place}{part}/{kind}/1.png" for place in ("", "chest_xray/") for part in ("train", "val", "test")
             for kind in ("NORMAL", "PNEUMONIA")]  # fmt: skip
    files = {**dict.fromkeys(parts, b"1"), "__MACOSX/chest_xray/train/NORMAL/._1.png": b"m", "a.csv": b""}
    message = "train, val and test stand beside the folder chest_xray: give that folder or remove it$"
    with pytest.raises(ValueError, match=message):
        image_folder.read(put(files, f"{tmp_path}/nested"))
    files = {name: content for name, content in files.items() if not name.startswith("chest_xray")}
    assert len(image_folder.read(put(files, f"{tmp_path}/clean")).rows) == 6


def test_read_copy_of_classes_beside_them_raises(tmp_path: str) -> None:
    """Fails if a copy is learned as a class whose images contradict the others."""
    paths = [f"{place}{kind}/{n}.png" for place in ("", "archive/") for kind in ("COVID", "NORMAL") for n in range(3)]
    files = dict.fromkeys([*paths, "other/1.png"], b"1")
    message = "COVID and NORMAL stand beside the folder archive, which contains folders of the same names: give that"
    with pytest.raises(ValueError, match=message):
        image_folder.read(put(files, f"{tmp_path}/copied"))
    once = {name: content for name, content in files.items() if not name.startswith("archive/NORMAL")}
    assert sorted(image_folder.read(put(once, f"{tmp_path}/once")).findings) == [
        "COVID",
        "No Finding",
        "archive",
        "other",
    ]


def test_read_class_named_as_a_split_is_a_class(tmp_path: str) -> None:
    source = image_folder.read(put({"test/1.png": b"1", "control/2.png": b"2"}, f"{tmp_path}/classes"))
    assert sorted(source.findings) == ["control", "test"]


def test_read_loose_image_beside_splits_is_set_aside(tmp_path: str) -> None:
    """Fails if its name is taken for that of a split."""
    source = image_folder.read(put({**KAGGLE, "sample.png": b"s"}, f"{tmp_path}/kaggle"))
    assert len(source.rows) == 9
    assert source.excluded.to_numpy().tolist() == [["sample.png", "image outside the class folders"]]


def test_read_masks_beside_images_are_set_aside(tmp_path: str) -> None:
    files = {f"{kind}/{part}/{kind}-{n}.png": b"%d" % n for kind in ("COVID", "Normal") for part in ("images", "masks")
             for n in range(3)}  # fmt: skip
    source = image_folder.read(put({**files, "COVID.metadata.csv": b"FILE NAME\n"}, f"{tmp_path}/covid"))
    assert len(source.rows) == 6
    assert source.rows["image_id"].str.contains("/images/").all()
    assert source.excluded["reason"].tolist() == ["segmentation mask beside its image"] * 6
    assert source.files == FileCounts(total=13, documents=1, archives=0, ignored={})
