"""Studies: which images are paired, what is left out with which reason, and what the catalog says about both."""

from __future__ import annotations

import dataclasses
import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft import storage
from radiograft.config import Ingest
from radiograft.config.table_layout import TableLayout
from radiograft.data import studies
from radiograft.data import table_files as table_io
from radiograft.data.catalog import Catalog, exclusion
from radiograft.data.shards.files import layout_digest, plan_shards
from radiograft.data.sources import archives, chexpert, dicom
from radiograft.data.sources.base import Source
from radiograft.data.sources.table import parse_rows
from radiograft.stages.ingest import task
from tests.helpers.dicom_files import dicom_file
from tests.helpers.images import encode, noise
from tests.helpers.nih_source import put

NAN = float("nan")
LATERAL = list(studies.LATERAL)


def image(image_id: str, patient: str, study: str | None, view: str | None, mass: float = 0.0, size: int = 9) -> tuple:
    return image_id, f"data/{image_id}", f"md5 of {image_id}", size, patient, study, view, mass


def source(*images: tuple) -> Source:
    columns = ["image_id", "uri", "md5", "bytes", "patient_id", "study_id", "view", "Mass"]
    rows = pd.DataFrame(sorted(images), columns=columns).astype({"study_id": "string", "view": "string"})
    return Source("data", rows.drop(columns="Mass"), rows[["Mass"]], exclusion([], ""))


def pairs(paired: Source) -> list[tuple[str, str | None]]:
    return [(row.image_id, None if pd.isna(row.lateral_id) else row.lateral_id) for row in paired.rows.itertuples()]


def left_out(paired: Source) -> dict[str, str]:
    return dict(paired.excluded[["image_id", "reason"]].to_numpy().tolist())


def test_pair_studies_chooses_pa_and_first_lateral_and_counts_the_others() -> None:
    paired = studies.pair_studies(
        source(
            image("1-ap", "p", "1", "AP"),
            image("2-pa", "p", "1", "PA"),
            image("3-lateral", "p", "1", "LL"),
            image("4-lateral", "p", "1", "LATERAL"),
            image("5-frontal", "q", "1", "AP"),
            image("6-alone", "r", "9", "LATERAL"),
            image("7-oblique", "q", "1", "RAO"),
            image("8-unknown", "s", "1", None),
        ),
        ["Mass"],
    )
    assert pairs(paired) == [
        ("2-pa", "3-lateral"),
        ("5-frontal", None),
        ("7-oblique", None),  # the policy for unknown views decides about it
        ("8-unknown", None),
    ]
    assert left_out(paired) == {
        "1-ap": "further frontal image of its study",
        "4-lateral": "further lateral image of its study",
        "6-alone": "lateral image of a study without a frontal one",
    }
    assert paired.rows.loc[0, LATERAL].tolist() == ["data/3-lateral", "3-lateral", "md5 of 3-lateral", 9]
    assert paired.notes == ("3 studies have a frontal image: 1 of them also a lateral image that is used, 2 do not",)


def test_pair_studies_empty_files_come_last() -> None:
    paired = studies.pair_studies(
        source(
            image("1-pa", "p", "1", "PA", size=0),
            image("2-ap", "p", "1", "AP"),
            image("3-lateral", "p", "1", "LL", size=0),
        ),
        ["Mass"],
    )
    assert pairs(paired) == [("2-ap", None)]
    assert left_out(paired) == {"1-pa": "further frontal image of its study", "3-lateral": "empty file"}


def test_pair_studies_different_labels_exclude_the_study_and_unknown_ones_are_filled() -> None:
    paired = studies.pair_studies(
        source(
            image("1", "p", "1", "PA", 1.0),
            image("2", "p", "1", "LL", 0.0),
            image("3", "p", "2", "PA", NAN),
            image("4", "p", "2", "LL", 1.0),
        ),
        ["Mass"],
    )
    assert pairs(paired) == [("3", "4")]
    assert paired.findings["Mass"].tolist() == [1.0]
    assert left_out(paired) == dict.fromkeys(["1", "2"], "images of one study with different labels")
    assert paired.excluded["uri"].tolist() == ["data/1", "data/2"]  # for the quarantine


def test_pair_studies_without_any_study_raises() -> None:
    with pytest.raises(ValueError, match=r"data_unit=study must have images whose study is known, got none: name the"):
        studies.pair_studies(source(image("1", "p", None, "PA")), ["Mass"])


IMAGES = st.builds(
    image,
    st.integers(0, 99).map(str),
    st.sampled_from("pq"),
    st.sampled_from("12"),
    st.sampled_from(["PA", "AP", "LL", "RAO", None]),
    st.sampled_from([0.0, 1.0, NAN]),
    st.sampled_from([0, 9]),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(IMAGES, min_size=1, unique_by=lambda each: each[0]))
def test_pair_studies_uses_or_excludes_each_image_once(images: list[tuple]) -> None:
    paired = studies.pair_studies(source(*images), ["Mass"])
    found = [*paired.rows["image_id"], *paired.rows["lateral_id"].dropna(), *paired.excluded["image_id"]]
    assert sorted(found) == sorted(each[0] for each in images)
    again = studies.pair_studies(source(*reversed(images)), ["Mass"])
    pd.testing.assert_frame_equal(paired.rows, again.rows)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1), st.data())
def test_keep_images_undoes_images_of(has_lateral: list[bool], data: st.DataObject) -> None:
    rows = source(*(image(f"{n:03}", "p", str(n), "PA") for n in range(len(has_lateral)))).rows
    second = {name: [f"{name} {n}" if has else None for n, has in enumerate(has_lateral)] for name in LATERAL[:3]}
    rows = rows.assign(**second, lateral_bytes=9).set_axis(range(5, 5 + len(rows)))
    images = studies.images_of(rows)
    assert list(images["image_id"]) == [*rows["image_id"], *rows["lateral_id"].dropna()]
    assert set(images["view"][len(rows) :]) <= {"LATERAL"}
    chosen = data.draw(st.lists(st.sampled_from(list(images.index)), unique=True))
    kept = studies.keep_images(rows, images.loc[sorted(chosen)])
    ids = set(images["image_id"][chosen])
    assert list(kept["image_id"]) == [each for each in rows["image_id"] if each in ids]
    seconds = kept["lateral_id"].mask(kept["lateral"].isna()).dropna()
    assert list(seconds) == [each for each in kept["lateral_id"].dropna() if each in ids]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"data_format": "chestxray14"}, r"names the study of each image, got 'chestxray14', which names none"),
        ({"data_format": "medmnist"}, r"got 'medmnist', which names none: set data_unit=image, or use chexpert, dicom"),
        ({"data_format": "table"}, r"table that names studies or pairs, got neither: set study="),
        ({"data_format": "chexpert", "data_table": "views=all"}, r"must have views=frontal in data_table, got 'all'"),
    ],
)
def test_ingest_study_without_named_studies_raises(values: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Ingest(data_source="data", data_unit="study", **values)


TABLE = "file,who,exam,projection,Mass,split\n" + "".join(
    f"{patient}-{view}.png,{patient},1,{view},{patient % 2},{split}\n"
    for patient, split in enumerate(["train"] * 4 + ["validation"] * 2 + ["test"] * 2)
    for view in (["PA", "LATERAL"] if patient != 1 else ["PA"])
)
FILES = {line.partition(",")[0]: line.partition(",")[0] for line in TABLE.splitlines()[1:]}
STUDY_TABLE = "image=file,patient=who,view=projection"


def contents() -> dict[str, bytes]:
    return {name: encode(noise(32, number)) for number, name in enumerate(FILES)}


def ingest(place: str, files: dict[str, bytes], **values: object) -> Catalog:
    uri = put(files, place)
    form = {"data_format": "table", "data_source": f"{uri}/table.csv", "data_labels": "Mass"}
    return task.build_catalog(Ingest(**{**form, "data_unit": "study", **values}))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "data")


def test_build_catalog_study_column_pairs_within_a_patient(folder: str, tmp_path: Path) -> None:
    files = contents() | {"table.csv": TABLE.encode()}
    catalog = ingest(folder, files, data_table=f"{STUDY_TABLE},study=exam")
    assert catalog.rows["image_id"].tolist() == [f"{patient}-PA.png" for patient in range(8)]
    assert catalog.rows["lateral_id"].isna().tolist() == [False, True, *[False] * 6]
    assert catalog.rows["lateral"][0] == f"{folder}/0-LATERAL.png"
    assert catalog.summary()["files"]["used"] == 15
    catalog.write(tmp_path / "catalog")
    pd.testing.assert_frame_equal(Catalog.read(tmp_path / "catalog").rows, catalog.rows)


def test_build_catalog_pairs_table_equals_study_column(folder: str, tmp_path: Path) -> None:
    named = "frontal,lateral\n" + "".join(f"{n}-PA,{n}-LATERAL\n" for n in range(8) if n != 1)
    files = contents() | {"table.csv": TABLE.encode(), "pairs.csv": named.encode()}
    by_pairs = ingest(folder, files, data_table=f"{STUDY_TABLE},pairs=pairs.csv")
    by_column = ingest(str(tmp_path / "two"), files, data_table=f"{STUDY_TABLE},study=exam")
    assert by_pairs.rows["lateral_id"].tolist()[2:] == by_column.rows["lateral_id"].tolist()[2:]
    assert by_pairs.fingerprint() == by_column.fingerprint()
    twice = files | {"pairs.csv": (named + "0-PA,7-LATERAL\n").encode()}
    with pytest.raises(ValueError, match=r"pairs\.csv must name each image once, got 2 images again"):
        ingest(str(tmp_path / "three"), twice, data_table=f"{STUDY_TABLE},pairs=pairs.csv")
    broken = files | {"pairs.csv": b"frontal\n0-PA\n"}
    with pytest.raises(ValueError, match=r"pairs\.csv must have the columns frontal, lateral; missing: lateral"):
        ingest(str(tmp_path / "four"), broken, data_table=f"{STUDY_TABLE},pairs=pairs.csv")


def test_fingerprint_second_image_counts_and_image_unit_does_not_change(folder: str, tmp_path: Path) -> None:
    files, layout = contents() | {"table.csv": TABLE.encode()}, f"{STUDY_TABLE},study=exam"
    catalog = ingest(folder, files, data_table=layout)
    changed = ingest(str(tmp_path / "two"), files | {"0-LATERAL.png": encode(noise(32, 99))}, data_table=layout)
    assert changed.fingerprint() != catalog.fingerprint()
    assert layout_digest(plan_shards(changed.rows)) != layout_digest(plan_shards(catalog.rows))
    plain = ingest(folder, files, data_table=STUDY_TABLE, data_unit="image")
    with_column = ingest(folder, files, data_table=layout, data_unit="image")
    pd.testing.assert_frame_equal(plain.rows, with_column.rows)
    assert not {"study_id", *LATERAL} & set(plain.rows)


def test_build_catalog_repeated_lateral_leaves_the_sample_without_it(folder: str) -> None:
    files = contents() | {"table.csv": TABLE.encode()}
    files["0-LATERAL.png"] = files["6-LATERAL.png"]  # a training image that is in the test split, too
    files["3-LATERAL.png"] = files["2-PA.png"]  # another label: neither can be trusted
    catalog = ingest(folder, files, data_table=f"{STUDY_TABLE},study=exam")
    rows = catalog.rows.set_index("image_id")
    assert rows["lateral"].isna()[["0-PA.png", "3-PA.png", "6-PA.png"]].tolist() == [True, True, False]
    assert "2-PA.png" not in rows.index
    assert dict(catalog.excluded[["image_id", "reason"]].to_numpy().tolist()) == {
        "0-LATERAL.png": "byte-identical to an image in a held-out split",
        "3-LATERAL.png": "equal images with different labels",
        "2-PA.png": "equal images with different labels",
    }


def test_deidentify_hides_names_of_second_images(folder: str, tmp_path: Path) -> None:
    files = contents() | {
        "table.csv": TABLE.replace("2-LATERAL.png,2,1,LATERAL,0", "2-LATERAL.png,2,1,LATERAL,1").encode()
    }
    catalog = ingest(folder, files, data_table=f"{STUDY_TABLE},study=exam", data_deidentify="yes")
    catalog.write(tmp_path / "catalog")
    assert len(catalog.quarantine) == 2
    for path in (tmp_path / "catalog").glob("*.parquet"):
        cells = pd.read_parquet(path).drop(columns="view", errors="ignore").astype("string").fillna("")
        assert not cells.apply(lambda column: column.str.contains("PA|LAT|png")).to_numpy(dtype=object).any(), path
    assert catalog.rows["lateral"].dropna().str.match(r".*/#[0-9a-f]{20}$").all()


def test_read_dicom_pairs_by_study_instance_uid(tmp_path: Path) -> None:
    def radiograph(number: int, study: str, view: str) -> bytes:
        pixels = np.random.default_rng(number).integers(0, 4096, (6, 5), dtype=np.uint16)
        tags = {"SOPInstanceUID": f"1.2.{number}", "PatientID": "p", "ViewPosition": view, "StudyInstanceUID": study}
        return dicom_file(pixels, 12, **tags)

    files = {"1": radiograph(1, "1.1", "PA"), "2": radiograph(2, "1.1", "LL"), "3": radiograph(3, "1.2", "AP")}
    files["labels.csv"] = b"image,Mass\n1,1\n2,1\n3,0\n"
    found = dicom.read(put(files, str(tmp_path)), TableLayout(), ["Mass"], refuse_burned_in=True)
    assert pairs(studies.pair_studies(found, ["Mass"])) == [("1", "2"), ("3", None)]


def test_phantom_studies_add_laterals_to_the_same_frontal_images(tmp_path: Path) -> None:
    form = Ingest(
        data_format="phantom",
        data_source=str(tmp_path),
        data_phantom_patients=20,
        data_labels="all",
        data_validation_fraction=0.3,
    )
    images = task.build_catalog(form).rows
    rows = task.build_catalog(dataclasses.replace(form, data_unit="study")).rows
    pd.testing.assert_frame_equal(images.drop(columns="uri"), rows[images.columns].drop(columns="uri"))
    both = rows[rows["lateral"].notna()]
    assert (len(rows), len(both)) == (48, 40)
    assert list(both["lateral_id"]) == [f"{image_id.removesuffix('.png')}_lateral.png" for image_id in both["image_id"]]


def test_covid_views_pairs_are_those_of_its_table(test_data: Path) -> None:
    """37 pairs of 28 patients; 3 of the 40 lateral images have no frontal one."""
    form = Ingest(
        data_format="table",
        data_source=str(test_data / "covid_views_320" / "metadata.csv"),
        data_table="image=image_id,patient=patientid,label=finding,separator=comma,pairs=pairs.csv",
        data_labels="COVID-19",
        data_unit="study",
    )
    catalog = task.build_catalog(form)
    table = pd.read_csv(test_data / "covid_views_320" / "pairs.csv", dtype="string")
    expected = dict(zip(table["frontal"], table["lateral"], strict=True))
    both = catalog.rows[catalog.rows["lateral_id"].notna()]
    reasons = catalog.excluded.set_index("image_id")["reason"]
    assert dict(zip(both["image_id"], both["lateral_id"], strict=True)).items() <= expected.items()
    assert "37 of them also a lateral image that is used" in "; ".join(catalog.notes)
    assert reasons.eq("lateral image of a study without a frontal one").sum() == 3


@pytest.fixture(scope="module")
def shipped() -> Path:
    """Folder `data` of an unpacked torchxrayvision 1.5.7."""
    path = Path(os.environ.get("RADIOGRAFT_TORCHXRAYVISION", "/nowhere"))
    if not path.is_dir():
        pytest.skip("RADIOGRAFT_TORCHXRAYVISION is not set to the folder torchxrayvision/data of the unpacked wheel")
    return path


def paired_rows(rows: pd.DataFrame) -> Source:
    """Pairs the rows of a table as if each of its images existed."""
    rows = rows.assign(image_id=rows["image"], uri=rows["image"], md5=rows["image"], bytes=9)
    return studies.pair_studies(Source("", rows, pd.DataFrame(index=rows.index), exclusion([], "")), [])


def test_chexpert_full_table_has_published_numbers_of_studies(shipped: Path) -> None:
    table = table_io.read_csv("train.csv", gzip.decompress((shipped / "chexpert_train.csv.gz").read_bytes()))
    table = chexpert.with_path_columns(table).fillna("")
    columns = TableLayout(image="Path", age="Age", sex="Sex", study="study")
    rows = parse_rows(table, columns, "train.csv", blank=0.0).rows
    assert rows["study_id"].nunique() == 187_641
    by_name = paired_rows(rows.assign(view=rows["view"].where(rows["view"].eq("LATERAL"), "PA")))
    assert len(by_name.rows) == 31_413 + 156_212
    assert by_name.rows["lateral"].notna().sum() == 31_413
    paired = paired_rows(rows)  # 17 files named frontal have the view LL or RL; two studies get a pair by them
    assert (len(paired.rows), paired.rows["lateral"].notna().sum()) == (187_625, 31_413 + 2)
    alone = rows.set_index("image")["study_id"]
    of_reason = paired.excluded.loc[paired.excluded["reason"].str.startswith("lateral image of a study"), "image_id"]
    assert alone[of_reason].nunique() == 16


def test_padchest_full_table_has_published_numbers_of_studies(shipped: Path) -> None:
    name = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz"
    found = archives.read_padchest({name: storage.ObjectInfo(name, str(shipped / name), 0, "")}, "")
    rows = parse_rows(found.table, found.columns, found.name, labels=["pneumonia"]).rows
    assert rows["study_id"].nunique() == 109_931
    paired = paired_rows(rows).rows
    assert (paired["view"].eq("PA") & paired["lateral"].notna()).sum() == 47_653
