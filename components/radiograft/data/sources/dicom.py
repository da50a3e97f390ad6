"""Reader of a tree of DICOM files. The findings are in a table in its root folder or in the folders' names."""

from __future__ import annotations

import collections
import hashlib
import io
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.config.data_policy import FOR_PROCESSING, OTHER_BODY_PART
from radiograft.config.patient_data import COVARIATE
from radiograft.config.table_layout import TableLayout
from radiograft.data import table_files as table_io
from radiograft.data.catalog import exclusion
from radiograft.data.file_counts import FileCounts
from radiograft.data.sources import image_folder, label_cells, listing, name_matching
from radiograft.data.sources.base import Source, age_in_years, patient_ids
from radiograft.data.sources.image_files import NO_ROW, isin
from radiograft.data.sources.table import ParsedTable, find_readings, parse_rows, with_findings
from radiograft.imaging.dicom import Tags, UnsupportedDicomError, read_tags
from radiograft.utils.errors import SensitiveValueError

# Fields of TableLayout and the columns of tags that they replace.
TAGS = {
    "patient": "patient_id", "view": "view", "age": "age", "sex": "sex", "manufacturer": "manufacturer",
    "study": "study_id",
}  # fmt: skip
BURNED_IN = "patient identity burned into the pixels"
TOO_LARGE = "larger than any radiograph"
MIN_SHARE = 0.9  # of the files that name a body part; a dataset of several parts is left as it is

log = logging.getLogger(__name__)


def read(
    uri: str, layout: TableLayout, labels: Sequence[str] = (), table_uri: str = "", *, refuse_burned_in: bool
) -> Source:
    """Reads a folder, an object store prefix or a PACS; from a bucket only the tags of each file are downloaded.

    Findings and official splits come from the table, or without one from the folders, as in
    `image_folder.labels_from_folders`. Patient, view, age and sex come from the tags, or from the table if `layout`
    names a column. Files that are not radiographs are excluded with the reason.

    Args:
        uri: Folder, prefix or DICOMweb service. Of a service, only images that the table names are downloaded.
        layout: Columns of the table.
        labels: The requested labels.
        table_uri: The table; empty for the one in the root folder, if any.
        refuse_burned_in: Whether to exclude images whose tags report burned-in annotations.

    Raises:
        FileNotFoundError: The folder or the table does not exist.
        ValueError: The folder holds more than one table, the table lacks columns or names none of the images, or a
            service has no table.
    """
    if storage.is_dicomweb(uri) and not table_uri:
        raise ValueError("data_table_file must name the table of labels, since a dicomweb:// source has none, got ''")
    named = _read_table(table_uri, layout, labels) if table_uri else None
    entries = listing.list_source(uri)
    named = named or _find_table(entries, layout, labels)
    if named is None:
        images, excluded, files = radiographs(entries, refuse_burned_in)
        source = _label_by_folder(uri, labels, images)
    else:
        wanted, unnamed = _split_by_table(entries, named) if storage.is_dicomweb(uri) else (entries, exclusion([], ""))
        images, excluded, files = radiographs(wanted, refuse_burned_in)
        excluded, files = pd.concat([excluded, unnamed]), files._replace(total=len(entries))
        source = _label_by_table(uri, named, layout, images, excluded)
    return source._replace(excluded=pd.concat([excluded, source.excluded]), files=files)


class _Table(NamedTuple):
    """A table of labels and its file name."""

    name: str
    parsed: ParsedTable


def _find_table(entries: Sequence[storage.ObjectInfo], layout: TableLayout, labels: Sequence[str]) -> _Table | None:
    """Reads the table in the root folder, if there is one."""
    tables = [entry for entry in entries if "/" not in entry.name and table_io.is_table(entry.name)]
    if len(tables) > 1:
        message = "data_source must contain at most one table, got"
        names = ", ".join(table.name for table in tables)
        raise SensitiveValueError(f"{message} {names}", f"{message} {len(tables)}; name one by data_table_file")
    return _read_table(tables[0].uri, layout, labels) if tables else None


def _read_table(uri: str, layout: TableLayout, labels: Sequence[str]) -> _Table:
    name = uri.rpartition("/")[2]
    return _Table(name, parse_rows(table_io.read(name, storage.read_bytes(uri)), layout, name, labels=labels))


def _split_by_table(
    entries: Sequence[storage.ObjectInfo], table: _Table
) -> tuple[list[storage.ObjectInfo], pd.DataFrame]:
    """Returns the entries of a PACS that the table names, and the others as `exclusion` rows."""
    paths = pd.DataFrame({"path": [entry.name for entry in entries]}, dtype="string")
    rows, images = name_matching.match_images_to_rows(table.parsed.rows, paths, table.name)
    is_named = isin(images["image_id"], rows["image_id"])
    wanted = [entry for entry, named in zip(entries, is_named, strict=True) if named]
    log.info("%d of %d images in the PACS are in the table", len(wanted), len(entries))
    return wanted, exclusion(paths["path"][~is_named], NO_ROW)


def _label_by_table(
    uri: str, table: _Table, layout: TableLayout, images: pd.DataFrame, set_aside: pd.DataFrame
) -> Source:
    from_table = [column for field, column in TAGS.items() if layout.named(field)]
    covariates = [column for column in map(str, table.parsed.rows) if column.startswith(COVARIATE)]
    rows, images = name_matching.match_images_to_rows(
        table.parsed.rows[["image", "official", "reader", *from_table, *covariates]],
        images.drop(columns=from_table),
        table.name,
    )
    rows = name_matching.without_rows_of(rows, set_aside, images, table.name)
    source = _source(uri, *with_findings(rows, table.parsed.findings, images))
    return source._replace(readings=find_readings(rows, table.parsed.findings))


def _label_by_folder(uri: str, labels: Sequence[str], images: pd.DataFrame) -> Source:
    rows = images.rename(columns={"path": "image_id"})
    folders = image_folder.labels_from_folders(rows["image_id"], uri)
    labeled = folders.classes.notna()
    excluded = exclusion(rows["image_id"][~labeled], "image outside the class folders")
    findings = label_cells.findings_from_folders(folders.classes[labeled].reset_index(drop=True), labels)
    return _source(uri, rows.assign(official=folders.official)[labeled].reset_index(drop=True), findings, excluded)


def _source(uri: str, rows: pd.DataFrame, findings: pd.DataFrame, excluded: pd.DataFrame) -> Source:
    rows["patient_id"], notes = patient_ids(rows["patient_id"], rows["image_id"])
    return Source(uri, rows.drop(columns="instance_uid"), findings, excluded, notes)


def radiographs(entries: Iterable[storage.ObjectInfo], refuse_burned_in: bool) -> listing.Listing:
    """Reads the tags of files in parallel, except those of tables, texts and operating systems.

    Returns:
        The radiographs, with the tags as additional columns; the other files; and the numbers.
    """

    kinds = {entry: listing.kind_of(entry.name) for entry in entries}
    ignored = collections.Counter(listing.ignored_as(e.name) for e, kind in kinds.items() if kind == listing.IGNORED)
    documents = list(kinds.values()).count(listing.DOCUMENT)
    listed = [entry for entry, kind in kinds.items() if kind not in (listing.IGNORED, listing.DOCUMENT)]
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        found = list(pool.map(partial(_read_entry, refuse_burned_in=refuse_burned_in), listed))
    read = [entry for entry, _ in found]
    tags_by_name = {entry.name: tags for entry, tags in found}
    reasons = {name: tags for name, tags in tags_by_name.items() if isinstance(tags, str)}
    reasons |= _unlike_the_others({name: tags for name, tags in tags_by_name.items() if isinstance(tags, Tags)})
    kept = listing.image_frame(storage.with_md5(entry for entry in read if entry.name not in reasons))
    reasons |= dict.fromkeys(sorted(tags_by_name.keys() - reasons.keys() - set(kept["path"])), listing.GONE)
    excluded = [exclusion([n for n, r in reasons.items() if r == reason], reason) for reason in set(reasons.values())]
    tags = pd.DataFrame([tags_by_name[path] for path in kept["path"]], columns=list(Tags._fields), dtype="string")
    tags["age"] = tags["age"].fillna("").map(age_in_years).astype("float64")
    columns = ["patient_id", "instance_uid", "view", "sex", "age", "manufacturer", "laterality", "study_id"]
    images = kept.join(tags[columns])
    counts = FileCounts(len(kinds), documents, 0, dict(sorted(ignored.items())))
    return listing.Listing(images, pd.concat([exclusion([], ""), *excluded]), counts)


def _read_entry(entry: storage.ObjectInfo, *, refuse_burned_in: bool) -> tuple[storage.ObjectInfo, Tags | str]:
    """Returns a file's entry, with the checksum if the whole file was read, and its tags or why it cannot be used."""
    try:
        if entry.size == storage.UNKNOWN_SIZE:  # a PACS, whose files are read as a whole: once
            content = storage.read_bytes(entry.uri)
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            entry = entry._replace(size=len(content), md5=digest)
            tags = read_tags(io.BytesIO(content))
        else:
            with storage.open_file(entry.uri) as file:
                tags = read_tags(file)
    except UnsupportedDicomError as error:
        return entry, str(error)
    except storage.TooLargeError:
        return entry, TOO_LARGE
    except OSError as error:
        if not storage.is_missing(error):
            raise
        return entry, listing.GONE  # the message would contain the file's name
    return entry, BURNED_IN if tags.burned_in and refuse_burned_in else tags


def _unlike_the_others(tags: Mapping[str, Tags]) -> dict[str, str]:
    """Returns the reason of each file that shows another body part than the dataset, or raw values beside images."""
    parts = collections.Counter(tag.body_part for tag in tags.values() if tag.body_part)
    usual, count = next(iter(parts.most_common(1)), ("", 0))
    is_chosen = count >= MIN_SHARE * parts.total()
    if len(parts) > 1:
        log.info("BodyPartExamined: %s", ", ".join(f"{part} {number}" for part, number in parts.most_common()))
    has_presentation = any(not tag.for_processing for tag in tags.values())
    reasons = {name: FOR_PROCESSING for name, tag in tags.items() if tag.for_processing and has_presentation}
    others = [name for name, tag in tags.items() if is_chosen and tag.body_part not in (None, usual)]
    return dict.fromkeys(others, OTHER_BODY_PART) | reasons
