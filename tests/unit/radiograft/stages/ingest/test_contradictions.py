"""Contradictions: only what was requested must agree, between columns, readers of an image, and copies of an image."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog
from radiograft.stages.ingest import task
from radiograft.utils.spelling import UNKNOWN_WORDS
from tests.helpers.nih_source import put

DIFFERENT = "equal images with different labels"


def catalog(place: Path, rows: pd.DataFrame, copies: dict[str, str] | None = None, **settings: Any) -> Catalog:
    """Builds the catalog of a table whose images hold their own names, or that of the image that they copy."""
    names = {name: (copies or {}).get(name, name).encode() for name in rows["image"].unique()}
    put(names | {"t.csv": rows.to_csv(index=False).encode()}, str(place))
    source = {"data_format": "table", "data_source": f"{place}/t.csv", "data_validation_fraction": 0.3}
    return task.build_catalog(Ingest(**(source | settings)))


def truth(found: Catalog, label: str = "Pneumonia") -> dict[str, float | None]:
    values = found.rows[f"label:{label}"].astype(object)
    return dict(zip(found.rows["image_id"], values.where(values.notna(), None), strict=True))


def others(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows after those of forty patients, half of them with pneumonia, on whom all agree."""
    number = np.arange(40)
    plain = pd.DataFrame(
        {"image": [f"plain{n}.png" for n in number], "patient": number + 1000, "Pneumonia": number % 2}
    )
    return pd.concat([plain, rows], ignore_index=True)


def read(place: Path, *readings: str, rule: str = "unanimous", **settings: Any) -> Catalog:
    """Builds a catalog of images whose readers see pneumonia (1), do not (0), say nothing (?) or cannot tell (u)."""
    rows = [
        {
            "image": f"{n}.png",
            "patient": n,
            "rad_id": f"R{reader}",
            "Pneumonia": {"?": "", "u": "unclear"}.get(value, value),
        }
        for n, values in enumerate(readings)
        for reader, value in enumerate(values)
    ]
    return catalog(place, others(pd.DataFrame(rows)), data_readers=rule, **settings)


def test_build_catalog_columns_that_nobody_requested_make_no_contradiction(tmp_path: Path) -> None:
    """COVID-CXNet #3: survival and male stand beside No Finding."""
    number = np.arange(80)
    table = {"No Finding": 1 - number % 2, "Pneumonia": number % 2, "survival": number % 5 > 0, "male": number % 3 > 0}
    rows = pd.DataFrame({"image": [f"x{n}.png" for n in number], "patient": number, **table})
    for negatives in ("rest", "no_finding"):
        found = catalog(tmp_path / negatives, rows, data_negatives=negatives)
        assert (len(found.rows), found.rows["label:Pneumonia"].sum(), len(found.excluded)) == (80, 40, 0)


def test_build_catalog_readers_who_differ_about_other_findings_are_merged(tmp_path: Path) -> None:
    """VinDr-CXR: three of seventeen readers for each image agree about Pneumonia and differ about Nodule/Mass."""
    generator = np.random.default_rng(2)
    rows = [
        {
            "image_id": f"{n:032x}",
            "rad_id": reader,
            "Nodule/Mass": int(n % 3 == 0 and generator.random() < 0.5),
            "Pneumonia": int(n % 3 == 0),
            "No finding": int(n % 3 > 0),
        }
        for n in range(90)
        for reader in generator.permutation([f"R{number}" for number in range(1, 18)])[:3]
    ]
    table = pd.DataFrame(rows)
    put({f"train/{name}.png": name.encode() for name in table["image_id"].unique()}, str(tmp_path))
    put({"t.csv": table.to_csv(index=False).encode()}, str(tmp_path))
    for rule in ("unanimous", "any", "all", "majority"):
        source = {"data_source": f"{tmp_path}/t.csv", "data_table": "image=image_id", "data_readers": rule}
        found = task.build_catalog(Ingest(data_format="table", **source))  # type: ignore[arg-type]
        assert (len(found.rows), found.rows["label:Pneumonia"].sum()) == (90, 30)
        assert found.readers == (
            {
                "label": "Pneumonia",
                "images": 90,
                "disagreements": 0,
                "share": 0.0,
                "kappa": 1.0,
                "statistic": "Fleiss' kappa",
            },
        )
        assert set(found.excluded["reason"]) == {"duplicate row for an image"}


READINGS = ("111", "110", "100", "000", "10?", "1??", "???")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("any", [1, 1, 1, 0, 1, 1]),
        ("all", [1, 0, 0, 0, 0, 1]),
        ("majority", [1, 1, 0, 0, None, 1]),  # a tie is unknown, and so is the label of the last image
        ("unanimous", [1, None, None, 0, None, 1]),
    ],
)
def test_build_catalog_readers_are_merged_by_the_setting(
    rule: str, expected: list[float | None], tmp_path: Path
) -> None:
    found = read(tmp_path, *READINGS, rule=rule)
    got = truth(found)
    assert [got.get(f"{n}.png") for n in range(6)] == expected
    reasons = found.excluded.set_index("image_id")["reason"].drop_duplicates()
    assert found.excluded[found.excluded["reason"] == "all requested labels unknown"]["image_id"].tolist() == (
        ["4.png", "6.png"] if rule == "majority" else ["6.png"]
    )
    conflicting = found.excluded[found.excluded["reason"] == "conflicting rows for one image"]["image_id"].tolist()
    assert conflicting == (["1.png", "2.png", "4.png"] if rule == "unanimous" else [])
    assert len(reasons)


def test_build_catalog_disagreement_is_reported_in_summary_and_notes(tmp_path: Path) -> None:
    found = read(tmp_path / "data", *READINGS, rule="majority")
    found.write(tmp_path / "catalog")
    (agreement,) = json.loads((tmp_path / "catalog/catalog.json").read_text())["readers"]
    assert (agreement["label"], agreement["images"], agreement["disagreements"]) == ("Pneumonia", 5, 3)
    # 7 of 14 readings are positive: 1 - (2/3 + 2/3 + 1/2) / (5 * 1.8 * 0.5 * 0.5)
    assert agreement["kappa"] == pytest.approx(1 - (2 / 3 + 2 / 3 + 1 / 2) / (5 * 1.8 * 0.25))
    assert Catalog.read(tmp_path / "catalog").readers == found.readers
    (note,) = [note for note in found.notes if note.startswith("readers differ")]
    assert note == (
        "readers differ about Pneumonia in 3 of 5 images that several read (60.0%, Fleiss' kappa 0.19): "
        "data_readers=majority decides, a tie is unknown"
    )


def test_build_catalog_unanimous_readers_note_names_the_remedy(tmp_path: Path) -> None:
    notes = read(tmp_path, "11", "10", "00", "00").notes
    assert (
        "readers differ about Pneumonia in 1 of 4 images that several read (25.0%, Cohen's kappa 0.50): these images "
        "are excluded; data_readers=majority, any, all or mean merges the readings"
    ) in notes


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    readings=st.lists(st.text("01?", min_size=1, max_size=4), min_size=1, max_size=6),
    rule=st.sampled_from(["any", "all", "majority", "unanimous"]),
    seed=st.integers(0, 99),
)
def test_build_catalog_order_of_readers_changes_no_label(
    readings: list[str], rule: str, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shuffled = ["".join(np.random.default_rng(seed).permutation(list(values))) for values in readings]
    one, other = (read(tmp_path_factory.mktemp("r"), *each, rule=rule) for each in (readings, shuffled))
    assert truth(one) == truth(other)
    for name, label in truth(one).items():
        if not name.startswith("plain"):
            assert str(int(label or 0)) in readings[int(name.partition(".")[0])]


def test_build_catalog_reader_rule_keeps_no_finding_opposite_to_findings(tmp_path: Path) -> None:
    """Fails if `any` takes No Finding from one reader and Pneumonia from another: a contradiction nobody made."""
    rows = pd.DataFrame(
        [("a.png", 1, "R1", 1, 0), ("a.png", 1, "R2", 0, 1), ("b.png", 2, "R1", 0, 1), ("b.png", 2, "R2", 0, 1)],
        columns=["image", "patient", "rad_id", "Pneumonia", "No Finding"],
    )
    plain = others(pd.DataFrame()).assign(**{"No Finding": lambda table: 1 - table["Pneumonia"]})
    for rule, expected in (("any", 1.0), ("all", 0.0)):
        found = catalog(tmp_path / rule, pd.concat([plain, rows]), data_readers=rule, data_negatives="no_finding")
        assert (truth(found)["a.png"], truth(found)["b.png"]) == (expected, 0.0)


def test_build_catalog_mean_of_readers_is_the_share_of_known_votes(tmp_path: Path) -> None:
    found = read(tmp_path, *READINGS, rule="mean")
    got = truth(found)
    assert [got.get(f"{n}.png") for n in range(7)] == [1, 2 / 3, 1 / 3, 0, 0.5, 1, None]
    assert (
        "Pneumonia is a soft label of 3 images, the share of readers who see it: training learns the share; everywhere "
        "else 1 with more than half count as positive, 1 as negative and 1 ties as unknown"
    ) in found.notes
    assert found.summary()["splits"]["train"]["positives"] == {
        "Pneumonia": sum(value > 0.5 for value in found.rows["label:Pneumonia"][found.rows["split"] == "train"])
    }


def test_build_catalog_mean_of_readers_copies_of_one_class_are_no_contradiction(tmp_path: Path) -> None:
    """Two of three and three of three readers see the finding of the same image; one of three is another class."""
    rows = pd.DataFrame(
        [
            {"image": name, "patient": name, "rad_id": f"R{reader}", "Pneumonia": vote}
            for name, votes in (("a.png", "111"), ("b.png", "110"), ("c.png", "111"), ("d.png", "100"))
            for reader, vote in enumerate(votes)
        ]
    )
    found = catalog(tmp_path, others(rows), {"b.png": "a.png", "d.png": "c.png"}, data_readers="mean")
    assert found.quarantine[["image_id", "reason"]].to_numpy().tolist() == [["c.png", DIFFERENT], ["d.png", DIFFERENT]]


def test_ingest_mean_of_readers_for_exclusive_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="data_readers=mean gives soft labels, and data_task=multiclass needs images"):
        Ingest(data_source="data", data_readers="mean", data_task="multiclass", data_labels="a,b")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("unanimous", [None, None, None, 0, 1, None, None]),
        ("any", [None, 1, None, 0, 1, 1, 1]),
        ("all", [None, None, None, 0, 1, None, None]),
        ("majority", [None, None, None, 0, 1, 1, None]),
        ("mean", [None, None, None, 0, 1, 1, None]),
    ],
)
def test_build_catalog_reader_who_says_unknown_leaves_no_negative(
    rule: str, expected: list[float | None], tmp_path: Path
) -> None:
    """`u` is a word that means unknown, `?` an empty cell."""
    readings = ("0u", "1u", "00u", "0?", "1?", "11u", "10u")
    got = truth(read(tmp_path, *readings, rule=rule))
    assert [got.get(f"{n}.png") for n in range(7)] == expected


def test_build_catalog_reader_who_says_unknown_is_counted(tmp_path: Path) -> None:
    notes = read(tmp_path, "0u", "1u", "00", "11", "uu", "0?").notes
    assert (
        "2 images have a row that calls Pneumonia unknown beside one that does not: Pneumonia is unknown there" in notes
    )
    assert not [note for note in notes if note.startswith("readers differ")]


def test_build_catalog_unanimous_readers_who_differ_about_no_finding_are_excluded_if_it_decides(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        [("a.png", 1, "R1", 0, 1), ("a.png", 1, "R2", 0, 0), ("b.png", 2, "R1", 0, 1), ("b.png", 2, "R2", 0, 1)],
        columns=["image", "patient", "rad_id", "Pneumonia", "No Finding"],
    )
    plain = others(pd.DataFrame()).assign(**{"No Finding": lambda table: 1 - table["Pneumonia"]})
    kept = {
        negatives: set(truth(catalog(tmp_path / negatives, pd.concat([plain, rows]), data_negatives=negatives)))
        for negatives in ("rest", "no_finding")
    }
    assert kept["rest"] - kept["no_finding"] == {"a.png"}


WORDS = sorted(UNKNOWN_WORDS - {""})


@settings(deadline=None, max_examples=40)
@given(
    rows=st.lists(st.sampled_from(["0", "1", "", *WORDS, "-1", "Not  Known", "NaN", "<NA>"]), min_size=1, max_size=4),
    case=st.sampled_from([str, str.upper, str.title]),
    rule=st.sampled_from(["unanimous", "any", "all", "majority", "mean"]),
    named=st.booleans(),
)
def test_build_catalog_image_with_unknown_word_is_never_negative(
    rows: list[str], case: Any, rule: str, named: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cells = [{"image": "a.png", "patient": 1, "rad_id": f"R{n}", "Pneumonia": case(c)} for n, c in enumerate(rows)]
    table = others(pd.DataFrame(cells)).drop(columns=[] if named else "rad_id")
    label = truth(catalog(tmp_path_factory.mktemp("w"), table, data_readers=rule)).get("a.png")
    if set(rows) - {"0", "1", ""}:
        assert label is None or label >= 0.5
    elif rule in ("any", "all") and set(rows) & {"0", "1"}:
        assert label == float({"any": max, "all": min}[rule](set(rows) - {""}))


def test_build_catalog_equal_images_in_two_class_folders_are_all_quarantined(tmp_path: Path) -> None:
    """RadImageNet #17, CVA-Net #27: six of thirty sick images also lie among the healthy ones."""
    files = {f"{kind}/{n}.png": f"{kind} {n}".encode() for kind in ("NORMAL", "PNEUMONIA") for n in range(30)}
    files |= {f"NORMAL/again{n}.png": f"PNEUMONIA {n}".encode() for n in range(6)}
    source = put(files, str(tmp_path))
    found = task.build_catalog(Ingest(data_format="folders", data_source=source, data_labels="Pneumonia"))
    assert (len(found.rows), found.rows["label:Pneumonia"].sum()) == (54, 24)
    assert found.quarantine["reason"].value_counts().to_dict() == {DIFFERENT: 12}
    assert set(found.quarantine["image_id"]) == {
        name for n in range(6) for name in (f"NORMAL/again{n}.png", f"PNEUMONIA/{n}.png")
    }
    assert found.quarantine["uri"].notna().all()
    assert found.summary()["excluded"][0]["count"] == 12


@pytest.mark.parametrize(("one", "other"), itertools.combinations(("train", "validation", "test"), 2))
def test_build_catalog_equal_images_in_two_splits_are_all_quarantined(one: str, other: str, tmp_path: Path) -> None:
    """Fails if an official test split keeps an image whose label another copy denies."""
    plain = others(pd.DataFrame()).assign(
        split=["train", "train", "validation", "validation", "test", "test"] * 6 + ["train"] * 4
    )
    copies = pd.DataFrame(
        [("a.png", 1, 1, one), ("b.png", 2, 0, other), ("c.png", 3, 0, one), ("d.png", 4, 0, other)],
        columns=plain.columns,
    )
    found = catalog(tmp_path, pd.concat([plain, copies]), {"b.png": "a.png", "d.png": "c.png"})
    assert found.quarantine[["image_id", "reason"]].to_numpy().tolist() == [["a.png", DIFFERENT], ["b.png", DIFFERENT]]
    assert "d.png" in truth(found)  # of equal images with equal labels, the one in the held-out split stays
    assert "c.png" not in truth(found)


def test_build_catalog_equal_image_of_unknown_label_is_no_contradiction(tmp_path: Path) -> None:
    rows = pd.DataFrame({"image": ["a.png", "b.png"], "patient": [1, 1], "Pneumonia": ["1", ""]})
    found = catalog(tmp_path, others(rows), {"b.png": "a.png"})
    assert found.quarantine.empty
    assert truth(found)["a.png"] == 1.0


def test_build_catalog_equal_images_that_differ_in_another_finding_stay(tmp_path: Path) -> None:
    rows = others(pd.DataFrame({"image": ["a.png", "b.png"], "patient": [1, 1], "Pneumonia": [1, 1]}))
    rows["Mass"] = [0] * 41 + [1]
    found = catalog(tmp_path, rows, {"b.png": "a.png"})
    assert found.quarantine.empty
    assert found.excluded["reason"].tolist() == ["byte-identical to an earlier image"]


def test_build_catalog_single_patient_is_named_as_the_reason(tmp_path: Path) -> None:
    rows = pd.DataFrame({"image": [f"x{n}.png" for n in range(30)], "patient": "p1", "Pneumonia": np.arange(30) % 2})
    with pytest.raises(
        ValueError,
        match=r"^images are split by patient, so train, validation, test need at least 3 patients, got 1 with 30 "
        r"images; check the column or the names that identify patients, or add patients$",
    ):
        catalog(tmp_path, rows)
    with pytest.raises(ValueError, match="so train, validation need at least 2 patients, got 1 with 20 images"):
        catalog(tmp_path / "b", rows.assign(split=["train"] * 20 + ["test"] * 10, patient=["p1"] * 20 + ["p2"] * 10))
