"""NIH's bounding boxes: read as fractions of the image, and copied to the shards."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import Catalog, no_boxes, summarize_exclusions
from radiograft.data.shards.dataset import Shards
from radiograft.data.sources import chestxray14
from radiograft.stages.ingest import task
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.nih_source import half_validating, nih_files, put

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"  # the header has nine columns, rows have six
KNOWN = pd.Series(["1.png", "2.png"], dtype="string")


def read(rows: str) -> tuple[list[tuple[object, ...]], dict[str, int]]:
    """Returns the kept boxes, and the number of excluded boxes by reason."""
    found, excluded = chestxray14.read_boxes((HEADER + rows).encode(), KNOWN)
    assert found.dtypes.equals(no_boxes().dtypes)
    reasons = {group["reason"]: group["count"] for group in summarize_exclusions(excluded)}
    return list(found.itertuples(index=False, name=None)), reasons


def test_read_boxes_returns_fractions_and_finding_names() -> None:
    kept, reasons = read(
        "1.png,Mass,256,512,128,64\n2.png,Infiltrate,0,0,1024,1024\n1.png,Nodule,102.4,51.2,10.24,5.12\n"
    )
    assert kept[:2] == [("1.png", "Mass", 0.25, 0.5, 0.125, 0.0625), ("2.png", "Infiltration", 0.0, 0.0, 1.0, 1.0)]
    assert kept[2][2:] == pytest.approx((0.1, 0.05, 0.01, 0.005))
    assert reasons == {}


def test_read_boxes_overlapping_edge_is_clipped() -> None:
    kept, reasons = read("1.png,Mass,896,-64,256,128\n")
    assert kept == [("1.png", "Mass", 0.875, 0.0, 0.125, 0.0625)]
    assert reasons == {}


@pytest.mark.parametrize(
    "corners",
    ["1024,0,10,10", "0,2000,10,10", "-20,0,10,10", "5,5,0,10", "5,5,10,-3", "x,5,10,10", ",,,", "5,5,nan,10"],
)
def test_read_boxes_outside_image_is_excluded(corners: str) -> None:
    assert read(f"1.png,Mass,{corners}\n") == ([], {"bounding box outside its image": 1})


def test_read_boxes_of_missing_image_is_excluded() -> None:
    kept, reasons = read("1.png,Mass,0,0,512,512\n3.png,Mass,0,0,512,512\n4.png,Mass,0,0,0,0\n")
    assert [row[0] for row in kept] == ["1.png"]
    assert reasons == {"bounding box for a missing image": 2}


def test_read_boxes_wrong_header_raises() -> None:
    with pytest.raises(ValueError, match=r"BBox_List_2017\.csv must begin with the columns .* got image, x, y"):
        chestxray14.read_boxes(b"image,x,y\n1.png,2,3\n", KNOWN)


def test_build_catalog_with_boxes_keeps_fingerprint(place: str) -> None:
    table = (HEADER + "00000003_000.png,Infiltrate,512,256,128,128\n00000009_000.png,Mass,1,1,9,9\n").encode()
    without = task.build_catalog(half_validating(put(nih_files(), f"{place}/without")))
    plain = task.build_catalog(half_validating(put(nih_files() | {chestxray14.BOX_TABLE: table}, f"{place}/plain")))
    packed = put(nih_files() | {f"{chestxray14.BOX_TABLE}.gz": gzip.compress(table)}, f"{place}/packed")
    assert len(without.boxes) == 0
    assert plain.boxes.to_dict("records") == [
        {
            "image_id": "00000003_000.png",
            "finding": "Infiltration",
            "x": 0.5,
            "y": 0.25,
            "width": 0.125,
            "height": 0.125,
        }
    ]
    pd.testing.assert_frame_equal(chestxray14.read(packed).boxes, plain.boxes)
    assert plain.fingerprint() == without.fingerprint()
    assert list(plain.excluded["image_id"]) == ["00000009_000.png"]


def test_preprocess_copies_boxes_to_shards(nih_folder: Path, tmp_path: Path) -> None:
    catalog = task.run(Ingest(data_source=str(nih_folder), data_validation_fraction=0.25), tmp_path / "catalog")
    preprocess.run(Preprocess(image_size=32), tmp_path / "catalog", tmp_path / "shards")
    assert len(catalog.boxes) > 5
    pd.testing.assert_frame_equal(Catalog.read(tmp_path / "catalog").boxes, catalog.boxes)
    pd.testing.assert_frame_equal(Shards.read(tmp_path / "shards").boxes, catalog.boxes)


def test_phantom_boxes_mark_findings_of_test_images(nih_folder: Path) -> None:
    source = chestxray14.read(str(nih_folder))
    found = source.boxes.merge(source.rows.assign(place=range(len(source.rows))), on="image_id")
    assert len(found) == len(source.boxes)  # no box of a missing image
    assert set(found["official"]) == {"test"}
    assert all(source.findings[row.finding].iloc[row.place] == 1.0 for row in found.itertuples())
    assert set(found["finding"]) <= set(chestxray14.BOX_FINDINGS.values()) | {
        *("Atelectasis", "Cardiomegaly", "Effusion", "Mass", "Nodule", "Pneumonia", "Pneumothorax")
    }
    assert (found[["x", "y", "width", "height"]] >= 0).all(axis=None)
    assert (found["x"] + found["width"]).max() <= 1
    assert (found["y"] + found["height"]).max() <= 1


def test_read_boxes_nih_table_reads_all_rows(test_data: Path, tmp_path: Path) -> None:
    content = gzip.decompress((test_data / "chestxray14" / f"{chestxray14.BOX_TABLE}.gz").read_bytes())
    named = pd.read_csv(io.BytesIO(content), usecols=[0]).iloc[:, 0].astype("string")
    found, excluded = chestxray14.read_boxes(content, named)
    assert (len(found), len(excluded), found["image_id"].nunique()) == (984, 0, 880)
    assert found["finding"].value_counts().to_dict() == {
        "Atelectasis": 180,
        "Effusion": 153,
        "Cardiomegaly": 146,
        "Infiltration": 123,
        "Pneumonia": 120,
        "Pneumothorax": 98,
        "Mass": 85,
        "Nodule": 79,
    }
    first = found.iloc[0]
    assert (first["image_id"], first["finding"]) == ("00013118_008.png", "Atelectasis")
    np.testing.assert_allclose(
        first[["x", "y", "width", "height"]].tolist(), [0.219809, 0.534198, 0.084746, 0.077331], atol=1e-6
    )
