"""Reader of a tree of DICOM files; the findings are in a table beside them or in the names of their folders."""

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
from radiograft.data.sources.table import parse_rows, with_findings
from radiograft.imaging.dicom import Tags, UnsupportedDicomError, read_tags
from radiograft.utils.errors import SensitiveValueError

TAGS = {"patient": "patient_id", "view": "view", "age": "age", "sex": "sex"}  # columns by field of TableLayout
BURNED_IN = "patient identity burned into the pixels"
GONE = "gone since it was listed"


def read(uri: str, layout: TableLayout, *, refuse_burned_in: bool) -> Source:
    """Reads a folder or gs:// prefix: of every file that is no table the tags, and in a bucket no more than these.

    What is no radiograph is set aside with the reason. Patient, view, age and sex come from the tags, or from the table
    in the folder itself where `layout` names its column; findings, and a split where it has one, from that table, or
    else from folders as `folders.by_folder` takes them.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: more than one table, or one that lacks columns or names other images.
    """
    entries = list(storage.list_files(uri))
    tables = [entry for entry in entries if "/" not in entry.name and table_io.is_table(entry.name)]
    if len(tables) > 1:
        asked = "data_source must hold one table at most, got"
        raise SensitiveValueError(f"{asked} {', '.join(table.name for table in tables)}", f"{asked} {len(tables)}")
    found, excluded = radiographs([entry for entry in entries if entry not in tables], refuse_burned_in)
    source = _by_table(uri, tables[0], layout, found) if tables else _by_folder(uri, found)
    return source._replace(excluded=pd.concat([excluded, source.excluded]))


def _by_table(uri: str, entry: storage.ObjectInfo, layout: TableLayout, found: pd.DataFrame) -> Source:
    table = parse_rows(table_io.read(entry.name, storage.read_bytes(entry.uri)), layout, entry.name)
    told = [column for field, column in TAGS.items() if layout.named(field)]
    rows, found = image_files.match_images_to_rows(
        table.rows[["image", "official", *told]], found.drop(columns=told), entry.name
    )
    return _source(uri, *with_findings(rows, table.findings, found))


def _by_folder(uri: str, found: pd.DataFrame) -> Source:
    rows = found.rename(columns={"path": "image_id"})
    placed = image_folder.labels_from_folders(rows["image_id"], uri)
    inside = placed.classes.notna()
    excluded = exclusion(rows["image_id"][~inside], "image outside the class folders")
    truth = base.findings_from_text(placed.classes[inside].reset_index(drop=True), separator="|")
    return _source(uri, rows.assign(official=placed.official)[inside].reset_index(drop=True), truth, excluded)


def _source(uri: str, rows: pd.DataFrame, truth: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    return Source(uri, rows.drop(columns="instance_uid"), truth, excluded, notes)


def radiographs(entries: Sequence[storage.ObjectInfo], refuse_burned_in: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The radiographs by path with all that their tags say, and the other files with the reason."""

    def look(entry: storage.ObjectInfo) -> Tags | str:
        try:
            with storage.open_file(entry.uri) as file:
                tags = read_tags(file)
        except UnsupportedDicomError as reason:
            return str(reason)
        except FileNotFoundError:  # its text names the file
            return GONE
        return BURNED_IN if tags.burned_in and refuse_burned_in else tags

    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        looked = dict(zip([entry.name for entry in entries], pool.map(look, entries), strict=True))
    reasons = {name: tags for name, tags in looked.items() if isinstance(tags, str)}
    kept = image_files.image_frame(storage.with_md5(entry for entry in entries if entry.name not in reasons))
    reasons |= dict.fromkeys(sorted(looked.keys() - reasons.keys() - set(kept["path"])), GONE)
    excluded = [exclusion([n for n, r in reasons.items() if r == reason], reason) for reason in set(reasons.values())]
    tags = pd.DataFrame([looked[path] for path in kept["path"]], columns=list(Tags._fields), dtype="string")
    tags["age"] = tags["age"].fillna("").map(age_in_years).astype("float64")
    return kept.join(tags.drop(columns="burned_in")), pd.concat([exclusion([], ""), *excluded])
