"""Readers of PadChest, MIMIC-CXR-JPG, VinDr-CXR and RSNA: their tables become one, which the table reader parses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.config import NO_FINDING
from radiograft.config.table_layout import TableLayout
from radiograft.data import table_files as table_io
from radiograft.data.catalog import BOX_COLUMNS, CORNERS, exclusion, no_boxes
from radiograft.data.sources import listing, name_matching
from radiograft.data.sources.base import Source
from radiograft.data.sources.boxes import place_boxes
from radiograft.data.sources.table import join_table, parse_rows

Files = Mapping[str, storage.ObjectInfo]

PACKED = r"(?:\.gz|\.zip)?$"
DICOM_SUFFIXES = (".dcm", ".dicom")
RSNA_SIDE = 1024  # pixels per side of the square images on which RSNA's boxes were drawn
EDGES = ("x_min", "y_min", "x_max", "y_max")  # of VinDr-CXR's boxes
OPEN_LABELS = r"(['\"])\s*(?:unchanged|exclude)\s*\1"  # PadChest: they leave all other labels open


class Archive(NamedTuple):
    """The table of an archive, as text cells, and how to read it.

    Attributes:
        table: one row per image and reader.
        columns: names of the columns.
        name: name of the table, for messages.
        blank: value of an empty cell in a finding's column.
        boxes: bounding boxes by the table's name of the image, see `no_boxes`.
        in_pixels: whether the boxes are in pixels of the DICOM files.
    """

    table: pd.DataFrame
    columns: TableLayout
    name: str
    blank: float = float("nan")
    boxes: pd.DataFrame = no_boxes()
    in_pixels: bool = False


def read(uri: str, archive: str, layout: TableLayout, labels: Sequence[str] = (), burned_in: bool = True) -> Source:
    """Reads a folder or object store prefix in the layout in which the archive is distributed.

    The images may lie in any folders below it. Tags of DICOM files give view, age and sex, and the patient where the
    table has none.

    Args:
        uri: Folder or prefix.
        archive: A key of ARCHIVES.
        layout: Only `uncertain` and `covariates` are used; the columns are the archive's own.
        labels: The requested labels.
        burned_in: Whether DICOM files are kept whose tags report burned-in annotations.

    Raises:
        FileNotFoundError: The folder or a table is missing.
        ValueError: A table lacks columns or names none of the images.
    """
    files = {entry.name: entry for entry in listing.list_source(uri)}
    found = ARCHIVES[archive](files, uri)
    columns = dataclasses.replace(found.columns, uncertain=layout.uncertain, covariates=layout.covariates)
    parsed = parse_rows(found.table, columns, found.name, found.blank, labels)
    images, excluded, counts = _list_images(files, burned_in)
    rows, images = name_matching.match_images_to_rows(parsed.rows, images, found.name)
    rows = name_matching.without_rows_of(rows, excluded, images, found.name)
    ids = dict(zip(rows["image"], rows["image_id"], strict=True))
    from_tags = [name for name in images.columns.intersection(rows.columns) if name != "image_id"]
    if parsed.rows["patient_id"].ne("").any():
        images, from_tags = (
            images.drop(columns="patient_id", errors="ignore"),
            [n for n in from_tags if n != "patient_id"],
        )
    rows = rows.drop(columns=from_tags)
    source = join_table(uri, rows, parsed.findings, images.drop(columns="instance_uid", errors="ignore"))
    boxes, excluded_boxes = _find_boxes(found, ids, source.rows)
    return source._replace(excluded=pd.concat([excluded, source.excluded, excluded_boxes]), boxes=boxes, files=counts)


def _find_boxes(found: Archive, ids: Mapping[str, str], rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the boxes of the images, by `image_id`, and the excluded boxes as `exclusion` rows."""
    boxes = found.boxes.assign(image_id=found.boxes["image_id"].map(ids))
    boxes = boxes[boxes["image_id"].isin(rows["image_id"])].astype(BOX_COLUMNS).reset_index(drop=True)
    if not found.in_pixels:
        return boxes, exclusion([], "")
    return place_boxes(boxes, rows.set_index("image_id")["uri"])


def _list_images(files: Files, burned_in: bool) -> listing.Listing:
    """Lists the DICOM files, if there are any, otherwise the other images."""
    if not any(name.lower().endswith(DICOM_SUFFIXES) for name in files):
        return listing.list_images(files.values())
    from radiograft.data.sources.dicom import radiographs  # imports pydicom

    return radiographs(files.values(), refuse_burned_in=not burned_in)


def _read_table(files: Files, uri: str, pattern: str, columns: Sequence[str]) -> tuple[str, pd.DataFrame]:
    """Reads the one table whose path ends in a pattern.

    Raises:
        FileNotFoundError: The folder holds none.
        ValueError: It holds several, or the table lacks columns.
    """
    names = [name for name in files if re.search(rf"(?:^|/){pattern}", name, re.IGNORECASE)]
    if not names:
        raise FileNotFoundError(f"data_source must contain {_shown(pattern)} (plain, .gz or .zip); {uri} contains none")
    if len(names) > 1:
        raise ValueError(f"data_source must contain one {_shown(pattern)}, got {len(names)}; remove the others")
    name = names[0]
    table = table_io.read(name, storage.read_bytes(files[name].uri))
    missing = [column for column in columns if column not in table]
    if missing:
        raise ValueError(f"{name} must have the columns {', '.join(columns)}; missing: {', '.join(missing)}")
    return name, table


def _shown(pattern: str) -> str:
    return re.sub(r"\[\\d\.\]\+|\.\*", "*", pattern.removesuffix(PACKED)).replace("\\", "")


def read_padchest(files: Files, uri: str) -> Archive:
    """PadChest (Bustos et al. 2020): one table with printed lists of labels; age is study year minus birth year."""
    columns = ("ImageID", "PatientID", "Labels", "Projection", "PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM")
    name, table = _read_table(files, uri, rf"PADCHEST_chest_x_ray_images_labels.*\.csv{PACKED}", columns)
    years = [pd.to_numeric(table[column].str[:4], errors="coerce") for column in ("StudyDate_DICOM", "PatientBirth")]
    age = (years[0] - years[1]).astype("Int64").astype("string").fillna("")
    labels = table["Labels"].str.replace(OPEN_LABELS, "'unknown'", regex=True)
    manufacturer = table.get("Manufacturer_DICOM", "")
    layout = TableLayout(
        image="ImageID",
        patient="PatientID",
        label="Labels",
        view="Projection",
        sex="PatientSex_DICOM",
        separator="none",
    )
    return Archive(table.assign(Labels=labels, age=age, manufacturer=manufacturer), layout, name)


def read_mimic(files: Files, uri: str) -> Archive:
    """MIMIC-CXR-JPG (Johnson et al. 2019): labels by study, and split and view by image; a blank label is absent."""
    keys = ["subject_id", "study_id"]
    name, labels = _read_table(files, uri, rf"mimic-cxr-[\d.]+-chexpert\.csv{PACKED}", keys)
    _, split = _read_table(files, uri, rf"mimic-cxr-[\d.]+-split\.csv{PACKED}", ["dicom_id", *keys, "split"])
    _, views = _read_table(files, uri, rf"mimic-cxr-[\d.]+-metadata\.csv{PACKED}", ["dicom_id", "ViewPosition"])
    table = split.merge(views[["dicom_id", "ViewPosition"]], on="dicom_id", how="left").merge(
        labels, on=keys, how="left"
    )
    findings = labels.columns.difference(keys)
    table[findings] = table[findings].fillna("unknown")  # the study has no report
    layout = TableLayout(image="dicom_id", patient="subject_id", view="ViewPosition")
    return Archive(table.drop(columns="study_id").fillna(""), layout, name, blank=0.0)


def read_vindr(files: Files, uri: str) -> Archive:
    """VinDr-CXR (Nguyen et al. 2022): `rad_id` names the three readers of a training image; tests have a consensus.

    Kaggle's version, a row for each box, has no labels of test images. Boxes are in pixels of the DICOM files; each
    reader drew their own.
    """
    tables, boxes = [], []
    for part, official in (("train", "train_val"), ("test", "test")):
        pattern = rf"image_labels_{part}\.csv{PACKED}"
        if any(re.search(rf"(?:^|/){pattern}", name) for name in files):
            name, table = _read_table(files, uri, pattern, ["image_id"])
            tables.append(table.assign(split=official))
        pattern = rf"annotations_{part}\.csv{PACKED}"
        if any(re.search(rf"(?:^|/){pattern}", name) for name in files):
            boxes.append(_boxes_of_corners(_read_table(files, uri, pattern, ["image_id", "class_name", *EDGES])[1]))
    if not tables:
        name, table = _read_table(files, uri, rf"train\.csv{PACKED}", ["image_id", "class_name", "rad_id"])
        drawn = _boxes_of_corners(table) if set(EDGES) <= set(table) else no_boxes()
        table = table[["image_id", "class_name", "rad_id"]].drop_duplicates()
        columns = TableLayout(image="image_id", label="class_name", separator="none")
        return Archive(table, columns, name, boxes=drawn, in_pixels=True)
    table = pd.concat(tables, ignore_index=True).fillna("")
    return Archive(table, TableLayout(image="image_id"), name, boxes=pd.concat([no_boxes(), *boxes]), in_pixels=True)


def _boxes_of_corners(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the boxes of a table with image_id, class_name and EDGES; rows without edges have none."""
    left, top, right, bottom = (pd.to_numeric(table[edge], errors="coerce") for edge in EDGES)
    corners = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    boxes = pd.DataFrame({"image_id": table["image_id"], "finding": table["class_name"].str.strip(), **corners})
    return boxes[boxes[CORNERS].notna().all(axis="columns")].astype(BOX_COLUMNS)


def read_rsna(files: Files, uri: str) -> Archive:
    """RSNA Pneumonia Detection Challenge (Shih et al. 2019), stage 2: a row for each box; `Normal` means No Finding."""
    columns = ["patientId", *CORNERS, "Target"]
    name, boxes = _read_table(files, uri, rf"stage_2_train_labels\.csv{PACKED}", columns)
    table = boxes[["patientId", "Target"]].drop_duplicates("patientId").rename(columns={"Target": "Pneumonia"})
    pattern = rf"stage_2_detailed_class_info\.csv{PACKED}"
    if any(re.search(pattern, file) for file in files):
        _, classes = _read_table(files, uri, pattern, ["patientId", "class"])
        normal = classes["patientId"][classes["class"].str.strip() == "Normal"]
        table[NO_FINDING] = table["patientId"].isin(normal).map({True: "1", False: "0"}).astype("string")
    corners = boxes[CORNERS].apply(pd.to_numeric, errors="coerce") / RSNA_SIDE
    drawn = corners.notna().all(axis="columns")
    boxes = corners[drawn].assign(image_id=boxes["patientId"][drawn], finding="Pneumonia")[list(BOX_COLUMNS)]
    return Archive(table, TableLayout(image="patientId", patient="patientId"), name, boxes=boxes)


ARCHIVES: dict[str, Callable[[Files, str], Archive]] = {  # by data_format
    "mimic": read_mimic,
    "padchest": read_padchest,
    "rsna": read_rsna,
    "vindr": read_vindr,
}
