"""Reader of a tree of DICOM files. The findings are in a table in its root folder or in the folders' names."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pandas as pd

from radiograft import storage
from radiograft.config.data import TableLayout
from radiograft.data import table_files as table_io
from radiograft.data.catalog import exclusion
from radiograft.data.sources import base, image_files, image_folder
from radiograft.data.sources.base import Source, age_in_years, patient_ids
from radiograft.data.sources.table import find_readings, parse_rows, with_findings
from radiograft.imaging.dicom import Tags, UnsupportedDicomError, read_tags
from radiograft.utils.errors import SensitiveValueError

# Fields of TableLayout and the columns of tags that they replace.
TAGS = {"patient": "patient_id", "view": "view", "age": "age", "sex": "sex", "manufacturer": "manufacturer"}
BURNED_IN = "patient identity burned into the pixels"
GONE = "gone since it was listed"


def read(uri: str, layout: TableLayout, *, refuse_burned_in: bool) -> Source:
    """Reads a folder or object store prefix; from a bucket only the tags of each file are downloaded.

    Findings and official splits come from the table in the root folder, or without one from the folders, as in
    `image_folder.labels_from_folders`. Patient, view, age and sex come from the tags, or from the table if `layout`
    names a column. Files that are not radiographs are excluded with the reason.

    Args:
        uri: Folder or prefix.
        layout: Columns of the table.
        refuse_burned_in: Whether to exclude images whose tags report burned-in annotations.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: The folder holds more than one table, or the table lacks columns or names none of the images.
    """
    entries = list(storage.list_files(uri))
    tables = [entry for entry in entries if "/" not in entry.name and table_io.is_table(entry.name)]
    if len(tables) > 1:
        message = "data_source must contain at most one table, got"
        raise SensitiveValueError(f"{message} {', '.join(table.name for table in tables)}", f"{message} {len(tables)}")
    images, excluded = radiographs([entry for entry in entries if entry not in tables], refuse_burned_in)
    source = _label_by_table(uri, tables[0], layout, images) if tables else _label_by_folder(uri, images)
    return source._replace(excluded=pd.concat([excluded, source.excluded]))


def _label_by_table(uri: str, entry: storage.ObjectInfo, layout: TableLayout, images: pd.DataFrame) -> Source:
    table = parse_rows(table_io.read(entry.name, storage.read_bytes(entry.uri)), layout, entry.name)
    from_table = [column for field, column in TAGS.items() if layout.named(field)]
    rows, images = image_files.match_images_to_rows(
        table.rows[["image", "official", "reader", *from_table]], images.drop(columns=from_table), entry.name
    )
    source = _source(uri, *with_findings(rows, table.findings, images))
    return source._replace(readings=find_readings(rows, table.findings))


def _label_by_folder(uri: str, images: pd.DataFrame) -> Source:
    rows = images.rename(columns={"path": "image_id"})
    labels = image_folder.labels_from_folders(rows["image_id"], uri)
    labeled = labels.classes.notna()
    excluded = exclusion(rows["image_id"][~labeled], "image outside the class folders")
    findings = base.findings_from_text(labels.classes[labeled].reset_index(drop=True), separator="|")
    return _source(uri, rows.assign(official=labels.official)[labeled].reset_index(drop=True), findings, excluded)


def _source(uri: str, rows: pd.DataFrame, findings: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    return Source(uri, rows.drop(columns="instance_uid"), findings, excluded, notes)


def radiographs(entries: Sequence[storage.ObjectInfo], refuse_burned_in: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reads the tags of files in parallel.

    Returns:
        The radiographs, one row each with path, uri, bytes, md5 and tags, sorted by path; and the other files as
        `exclusion` rows.
    """

    def read_entry(entry: storage.ObjectInfo) -> Tags | str:
        try:
            with storage.open_file(entry.uri) as file:
                tags = read_tags(file)
        except UnsupportedDicomError as error:
            return str(error)
        except FileNotFoundError:  # the message would contain the file's name
            return GONE
        return BURNED_IN if tags.burned_in and refuse_burned_in else tags

    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        tags_by_name = dict(zip([entry.name for entry in entries], pool.map(read_entry, entries), strict=True))
    reasons = {name: tags for name, tags in tags_by_name.items() if isinstance(tags, str)}
    kept = image_files.image_frame(storage.with_md5(entry for entry in entries if entry.name not in reasons))
    reasons |= dict.fromkeys(sorted(tags_by_name.keys() - reasons.keys() - set(kept["path"])), GONE)
    excluded = [exclusion([n for n, r in reasons.items() if r == reason], reason) for reason in set(reasons.values())]
    tags = pd.DataFrame([tags_by_name[path] for path in kept["path"]], columns=list(Tags._fields), dtype="string")
    tags["age"] = tags["age"].fillna("").map(age_in_years).astype("float64")
    return kept.join(tags.drop(columns="burned_in")), pd.concat([exclusion([], ""), *excluded])
