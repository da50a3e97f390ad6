"""The same twelve images of twelve patients in every supported layout; half of each split are positive."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from radiograft.config import Ingest
from tests.helpers.archives import packed, tar_gz
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import HEADER, put

SPLITS = ("train", "valid", "test")
SIDE = 40


class Case(NamedTuple):
    """An image: number, split, whether Pneumonia is present, and pixels."""

    number: int
    split: str
    sick: bool
    pixels: np.ndarray


CASES = [Case(n, SPLITS[n // 4], n % 2 == 0, noise(SIDE, n)) for n in range(12)]


def folders(place: str) -> Ingest:
    """`train/PNEUMONIA/person0_bacteria_0.png` and so on."""
    names = {True: "PNEUMONIA/person{0}_bacteria_1.png", False: "NORMAL/IM-{0}-0001.png"}
    files = {f"{c.split}/{names[c.sick].format(c.number)}": encode(c.pixels) for c in CASES}
    return Ingest(data_format="folders", data_source=put(files, place))


def table(place: str) -> Ingest:
    """A table with finding names, and the images in a folder beside it."""
    rows = [f"p/{c.number}.png,{c.number},{'Pneumonia' if c.sick else 'No Finding'},{c.split}" for c in CASES]
    files = {f"p/{c.number}.png": encode(c.pixels) for c in CASES}
    put(files | {"labels.csv": "\n".join(["Path,id,Finding,split", *rows]).encode()}, place)
    columns = "image=Path,patient=id,label=Finding"
    return Ingest(data_format="table", data_source=f"{place}/labels.csv", data_table=columns)


def chexpert(place: str) -> Ingest:
    """CheXpert's three tables, with JPEG images."""
    findings = (
        "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    )
    header = f"Path,Sex,Age,Frontal/Lateral,AP/PA,{findings}"
    header += "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
    paths = {c.number: f"{c.split}/patient{c.number:05d}/study1/view1_frontal.jpg" for c in CASES}
    files = {paths[c.number]: encode(c.pixels, "JPEG") for c in CASES}
    for split in SPLITS:
        rows = [
            f"CheXpert-v1.0-small/{paths[c.number]},Male,50,Frontal,AP,,,,,,,,{float(c.sick)},,,,,," for c in CASES
            if c.split == split
        ]  # fmt: skip
        files[f"{split}.csv"] = "\n".join([header, *rows]).encode()
    return Ingest(data_format="chexpert", data_source=put(files, place))


def dicom(place: str) -> Ingest:
    """DICOM files without suffix, and a table that identifies them by SOPInstanceUID."""
    files = {
        f"series/{c.number:02d}": dicom_file(c.pixels, SOPInstanceUID=f"1.2.{c.number + 1}", PatientID=f"id {c.number}")
        for c in CASES
    }
    rows = [f"1.2.{c.number + 1},{float(c.sick)},{c.split}" for c in CASES]
    files["labels.csv"] = "\n".join(["image,Pneumonia,split", *rows]).encode()
    return Ingest(data_format="dicom", data_source=put(files, place))


def medmnist(place: str) -> Ingest:
    """An .npz archive with one array per split."""
    arrays = {}
    for part, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        chosen = [c for c in CASES if c.split == split]
        arrays[f"{part}_images"] = np.stack([c.pixels for c in chosen])
        arrays[f"{part}_labels"] = np.array([[c.sick] for c in chosen], np.uint8)
    put({"twelve.npz": packed(**arrays)}, place)
    return Ingest(data_format="medmnist", data_source=f"{place}/twelve.npz")


def nih(place: str, packs: int = 0) -> Ingest:
    """NIH's layout in a folder or, out of order, in `packs` archives; without a validation list."""
    patients = [12, 2, 9, 11, 6, 8, 10, 1, 3, 4, 5, 7]
    names = [f"{patient:08d}_000.png" for patient in patients]
    findings = ["Pneumonia" if c.sick else "No Finding" for c in CASES]
    rows = [
        f"{name},{finding},0,{patient},50,M,PA,1,1,1,1"
        for name, finding, patient in zip(names, findings, patients, strict=True)
    ]
    files = {
        "Data_Entry_2017_v2020.csv": "\n".join([HEADER, *rows]).encode(),
        "train_val_list.txt": "\n".join(names[:8]).encode(),
        "test_list.txt": "\n".join(names[8:]).encode(),
    }
    images = {f"images/{name}": encode(c.pixels) for name, c in zip(names, CASES, strict=True)}
    if not packs:
        images = {f"images_001/{name}": content for name, content in images.items()}
    for number in range(packs):
        part = {name: images.pop(name) for name in list(images)[:: packs - number]}
        files[f"images_{number + 1:02d}.tar.gz"] = tar_gz(part)
    return Ingest(data_source=put(files | images, place), data_validation_fraction=0.5)


def nih_archives(place: str) -> Ingest:
    """NIH's layout in three archives."""
    return nih(place, packs=3)


EVERY: dict[str, Callable[[str], Ingest]] = {
    create.__name__: create for create in (folders, table, chexpert, dicom, medmnist, nih, nih_archives)
}
