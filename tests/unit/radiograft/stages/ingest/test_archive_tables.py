"""Tables as public archives write them: ingest reads labels, patients and views, or refuses with the reason."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from radiograft.config import Ingest
from radiograft.data.catalog import Catalog, summarize_exclusions
from radiograft.stages.ingest import task


def build(
    folder: Path, table: pd.DataFrame, data_table: str = "standard", *, column: str = "image", **form: object
) -> Catalog:
    """Writes the table and one distinct file per name in `column`, then runs ingest."""
    for number, name in enumerate(dict.fromkeys(table[column])):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "images" / f"{str(name).removesuffix('.png')}.png").write_bytes(str(number).encode())
    table.to_csv(folder / "t.csv", index=False)
    form = {"data_validation_fraction": 0.3, "data_test_fraction": 0.3} | form
    return task.build_catalog(
        Ingest.of({"data_format": "table", "data_source": str(folder / "t.csv"), "data_table": data_table, **form})
    )


def names(count: int) -> list[str]:
    return [f"x{number:03d}.png" for number in range(count)]


def excluded(catalog: Catalog) -> dict[str, int]:
    return {group["reason"]: group["count"] for group in summarize_exclusions(catalog.excluded)}


def truth(catalog: Catalog, label: str = "Pneumonia") -> list[float]:
    return list(catalog.rows[f"label:{label}"])


SPELLINGS = (
    "PA", "AP", "AP Supine", "AP semi erect", "PA", "AP", "Axial", "Coronal", "SWIMMERS", "LAO", "Lateral view", "L",
    "LL", "", "left lateral", "unknown",
)  # fmt: skip


def views_table(spellings: Sequence[str] = SPELLINGS) -> pd.DataFrame:
    images = names(6 * len(spellings))
    rows = range(len(images))
    return pd.DataFrame(
        {"image": images, "patient": rows, "view": [*spellings] * 6, "Pneumonia": [n // 16 % 2 for n in rows]}
    )


@pytest.mark.parametrize(("views", "kept"), [("frontal", 48), ("lateral", 36), ("all", 96)])
def test_build_catalog_keeps_views_in_list_of_projection(tmp_path: Path, views: str, kept: int) -> None:
    catalog = build(tmp_path, views_table(), f"views={views}")
    assert len(catalog.rows) == kept


def test_build_catalog_unknown_spellings_are_counted_and_named(tmp_path: Path) -> None:
    catalog = build(tmp_path, views_table())
    reason = "view that is spelled neither as frontal nor as lateral"
    assert excluded(catalog) == {"not a frontal view": 24, reason: 24}
    assert (
        "24 images have a view that is neither frontal nor lateral: "
        "'AXIAL' (6), 'CORONAL' (6), 'SWIMMERS' (6), 'LAO' (6)" in catalog.notes
    )


def test_build_catalog_unknown_spellings_are_kept_if_policy_says_so(tmp_path: Path) -> None:
    catalog = build(tmp_path, views_table(), data_policy="unknown_view=report")
    assert len(catalog.rows) == 72
    assert summarize_exclusions(catalog.suspects)[0]["count"] == 24


def test_build_catalog_deidentified_spellings_are_only_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RADIOGRAFT_SALT", "salt-of-16-or-more-characters")
    catalog = build(tmp_path, views_table(["PA", "Jane Doe", "AP", "John Roe"] * 4), data_deidentify="yes")
    assert "48 images have a view that is neither frontal nor lateral: 2 spellings" in catalog.notes


HIERARCHY = (
    ["Pneumonia/Viral/COVID-19"] * 24 + ["Pneumonia"] * 20 + ["Pneumonia/Bacterial"] * 4 + ["todo"] * 4
    + ["Unknown"] * 4 + ["No Finding"] * 20
)  # fmt: skip


def findings_table(cells: Sequence[object]) -> pd.DataFrame:
    return pd.DataFrame({"image": names(len(cells)), "patient": range(len(cells)), "label": cells})


def test_build_catalog_label_inside_other_cells_is_refused_with_separator(tmp_path: Path) -> None:
    """After ieee8023/covid-chestxray-dataset #159: Pneumonia/Viral/COVID-19 counted as no pneumonia."""
    with pytest.raises(
        ValueError, match=r"'Pneumonia' also stands inside 28 other cells .*add separator=/ to data_table"
    ):
        build(tmp_path, findings_table(HIERARCHY))
    catalog = build(tmp_path, findings_table(HIERARCHY), "separator=/")
    assert (truth(catalog).count(1.0), truth(catalog).count(0.0)) == (48, 20)
    assert excluded(catalog) == {"all requested labels unknown": 8}


def test_build_catalog_separator_none_reads_cells_whole_with_note(tmp_path: Path) -> None:
    catalog = build(tmp_path, findings_table(HIERARCHY), "separator=none")
    assert (truth(catalog).count(1.0), truth(catalog).count(0.0)) == (20, 48)
    assert any("'Pneumonia' is also part of 2 other findings" in note and "28 images" in note for note in catalog.notes)


@pytest.mark.parametrize(
    ("sign", "remedy"),
    [(", ", "comma"), (";", "semicolon"), ("/", "/"), (" + ", r"\+"), ("\n", "newline"), (" & ", "&"),
     (" - ", "dash"), (" and ", "and"), ("^", r"\^"), ("#", "#"), (" \u00b7 ", "\u00b7"), ("\uff0c", "comma"),
     ("\uff1b", "semicolon")],
)  # fmt: skip
def test_build_catalog_other_separator_is_named(tmp_path: Path, sign: str, remedy: str) -> None:
    cells = [f"Pneumonia{sign}Effusion", "No Finding", "Pneumonia"] * 10
    with pytest.raises(ValueError, match=f"inside 10 other cells .*separator={remedy} to data_table"):
        build(tmp_path, findings_table(cells))
    assert truth(build(tmp_path, findings_table(cells), f"separator={remedy.strip(chr(92))}")).count(1.0) == 20


def test_build_catalog_two_separators_need_any(tmp_path: Path) -> None:
    cells = ["Pneumonia|Effusion", "Mass/Pneumonia", "No Finding", "Mass"] * 10
    with pytest.raises(ValueError, match=r"inside 10 other cells .*separator=any"):
        build(tmp_path, findings_table(cells))
    assert truth(build(tmp_path, findings_table(cells), "separator=any")).count(1.0) == 20


@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda words: " ".join(map(repr, words)).join("[]"),
        lambda words: '["' + '", "'.join(words) + '"]',
        lambda words: "[" + ", ".join(words) + "]",
        lambda words: "|".join(f'"{word}"' for word in words),
        lambda words: "|".join(f" {word.upper()} " for word in words),
    ],
    ids=["python", "numpy", "json", "no quotes", "quoted", "upper case"],
)
def test_build_catalog_reads_lists_of_words(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    """As PadChest prints them: a label in a list counted as absent."""
    kinds = [
        ["pneumonia"],
        ["normal"],
        ["pneumonia", "pleural effusion"],
        ["pleural effusion"],
        ["normal"],
        ["x", "pneumonia"],
    ]
    catalog = build(tmp_path, findings_table([write(words) for words in kinds * 10]), data_labels="pneumonia")
    assert truth(catalog, "pneumonia") == [1.0, 0.0, 1.0, 0.0, 0.0, 1.0] * 10


def test_build_catalog_reads_lists_in_parquet(tmp_path: Path) -> None:
    table = findings_table([["pneumonia", "mass, left"], ["normal"], None, [], ["todo"]] * 8)
    build_parquet = table.to_parquet
    (tmp_path / "images").mkdir()
    for number, name in enumerate(table["image"]):
        (tmp_path / "images" / name).write_bytes(str(number).encode())
    build_parquet(tmp_path / "t.parquet")
    form = {"data_format": "table", "data_source": str(tmp_path / "t.parquet"), "data_validation_fraction": 0.3}
    catalog = task.build_catalog(Ingest.of({**form, "data_labels": 'Pneumonia, "mass, left"'}))
    assert truth(catalog) == truth(catalog, "mass, left") == [1.0, 0.0] * 8
    assert excluded(catalog) == {"all requested labels unknown": 24}


@pytest.mark.parametrize(
    "word", ["nan", "NA", "None", "null", "unknown", "TODO", "unclear", "n/a", "", " Not Available "]
)
def test_build_catalog_unknown_words_are_no_negatives(tmp_path: Path, word: str) -> None:
    text = build(tmp_path / "text", findings_table(["Pneumonia", "No Finding", word] * 10))
    table = pd.DataFrame({"image": names(30), "Pneumonia": ["1.0", "0.0", word] * 10})
    column = build(tmp_path / "column", table)
    for catalog in (text, column):
        assert (len(catalog.rows), truth(catalog).count(0.0)) == (20, 10)
        assert excluded(catalog) == {"all requested labels unknown": 10}


@pytest.mark.parametrize(
    ("yes", "no"),
    [("Yes", "No"), ("y", "n"), ("TRUE", "FALSE"), ("positive", "Negative"), ("1.00", "0"), ("present", "absent")],
)
def test_build_catalog_yes_and_no_spellings(tmp_path: Path, yes: str, no: str) -> None:
    """In a column of the label's name, and in one with another name."""
    columns = pd.DataFrame({"image": names(30), "Pneumonia": [yes, no] * 15})
    assert truth(build(tmp_path / "own", columns)) == [1.0, 0.0] * 15
    named = columns.rename(columns={"Pneumonia": "Target"})
    assert truth(build(tmp_path / "other", named, "label=Target")) == [1.0, 0.0] * 15


def test_build_catalog_column_names_are_stripped_and_match_in_any_case(tmp_path: Path) -> None:
    """After SIIM-ACR: ' Pneumothorax' with a space in front."""
    table = pd.DataFrame({"ImageId": [name[:-4] for name in names(48)], " pneumothorax": [0, 1] * 24})
    catalog = build(tmp_path, table, "image=imageid", column="ImageId", data_labels="Pneumothorax")
    assert truth(catalog, "Pneumothorax") == [0.0, 1.0] * 24


def test_build_catalog_unrequested_columns_make_no_contradiction(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image": names(80), "No Finding": [1, 0] * 40, "Pneumonia": [0, 1] * 40, "male": [1, 1, 0, 0] * 20}
    )
    assert truth(build(tmp_path, table)).count(0.0) == 40


def test_build_catalog_numbers_are_named_as_such(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"image": names(48), "boneage": [12 * (k % 17) + 3 for k in range(48)], "male": [True, False] * 24}
    )
    with pytest.raises(
        ValueError, match=r"boneage holds numbers \(17 other than 1, 0 and -1\).* add a column of 1 and 0"
    ):
        build(tmp_path, table, data_labels="boneage")
    with pytest.raises(ValueError, match=r"the column 'boneage' holds numbers \(17 different\)"):
        build(tmp_path, table, "label=boneage", data_labels="old")


def test_build_catalog_text_column_is_named_without_its_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After IU X-Ray: every report became a finding, and the error listed all of them."""
    reports = [f"The lungs are clear in case {k}. Heart size {k / 7:.2f}." for k in range(4000)]
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        build(tmp_path, findings_table(reports).rename(columns={"label": "findings"}), "label=findings")
    assert str(error.value) == (
        "findings holds 4,000 different texts with more than 200 different findings, the most that a column of labels "
        "may have; name another column in data_table, label=..., or the separator of findings"
    )
    few = findings_table(reports[:50])
    with pytest.raises(ValueError, match=r"data_labels must be findings of the dataset \( and 50 more\)"):
        build(tmp_path / "few", few)
    assert "lungs" not in caplog.text


def test_build_catalog_other_texts_in_column_of_label_are_counted(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": names(30), "Pneumonia": ["1", "0", "Jane"] * 10, "Mass": 0})
    with pytest.raises(ValueError, match=r"Pneumonia must hold 1 and 0, .* got 1 other texts in 10 cells") as error:
        build(tmp_path, table)
    assert "Jane" not in str(error.value)


def test_build_catalog_validate_is_validation(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": names(60), "split": ["train"] * 36 + [" Validate "] * 12 + ["test"] * 12})
    catalog = build(tmp_path, table.assign(Pneumonia=["1.0", "0.0"] * 30))
    assert catalog.rows["split"].value_counts().to_dict() == {"train": 36, "validation": 12, "test": 12}


def test_build_catalog_patients_spelled_alike_are_one(tmp_path: Path) -> None:
    ids = [
        "12",
        "0012",
        "12.0",
        " 12 ",
        "\u0661\u0662".translate({0x661: "\uff11", 0x662: "\uff12"}),
        "P-07",
        "p-7",
        "nan",
        "n/a",
    ]
    table = pd.DataFrame({"image": names(36), "patient": ids * 4, "Pneumonia": [0, 1] * 18})
    catalog = build(tmp_path, table)
    assert catalog.rows["patient_id"].head(5).tolist() == ["12"] * 5
    assert catalog.rows["patient_id"].nunique() == 1 + 2 + 8
    assert "8 images have no patient id: each counts as its own patient" in catalog.notes
    assert any("1 patient ids are spelled in several ways" in note for note in catalog.notes)


def test_build_catalog_one_patient_is_named_as_reason(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": names(30), "patient": "p1", "Pneumonia": [0, 1] * 15})
    with pytest.raises(ValueError, match="need at least 3 patients, got 1 with 30 images"):
        build(tmp_path, table)


def test_build_catalog_advice_on_splits_works(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": names(24), "patient": range(24), "Pneumonia": [1] * 4 + [0] * 20})
    with pytest.raises(ValueError, match="set data_") as error:
        build(tmp_path, table, data_validation_fraction=0.01, data_test_fraction=0.2)
    advice = str(error.value).rpartition("; set ")[2]
    changes = {
        name: int(value) if name == "train_seed" else float(value)
        for name, _, value in (part.partition("=") for part in advice.split(" and "))
    }
    catalog = build(tmp_path, table, **{"data_validation_fraction": 0.01, "data_test_fraction": 0.2} | changes)
    assert truth(catalog).count(1.0) == 4


def test_build_catalog_single_class_is_named(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": names(24), "Pneumonia": 0, "Mass": [0, 1] * 12})
    with pytest.raises(ValueError, match="0 of 24 images have Pneumonia: a label needs images with and without it"):
        build(tmp_path, table)


def test_run_batch_larger_than_training_set_adds_note(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": names(44), "patient": range(44), "Pneumonia": [0, 1] * 22})
    build(tmp_path, table)
    form = {"data_format": "table", "data_source": str(tmp_path / "t.csv"), "data_validation_fraction": 0.3}
    catalog = task.run(Ingest.of(form), tmp_path / "catalog", batch_size=32)
    count = int(catalog.rows["split"].eq("train").sum())
    assert f"train_batch_size is 32, but there are {count} training images: training lowers it" in catalog.notes


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda name: f"images\\{name}",
        lambda name: f"IMAGES/{name.upper()}",
        lambda name: f"C:\\data\\{name.replace('.png', '.DCM')}",
        lambda name: f"elsewhere/{name.replace('.png', '.jpg')}",
        lambda name: unicodedata.normalize("NFD", name),
        lambda name: f" ./images/{name} ",
    ],
    ids=["backslash", "case", "windows path and suffix", "folder and suffix", "unicode form", "dot"],
)
def test_build_catalog_image_names_match_if_unique(tmp_path: Path, rewrite) -> None:  # type: ignore[no-untyped-def]
    table = pd.DataFrame({"image": [f"é{name}" for name in names(48)], "Pneumonia": [0, 1] * 24})
    build(tmp_path, table)
    (tmp_path / "t.csv").unlink()
    table.assign(image=table["image"].map(rewrite)).to_csv(tmp_path / "t.csv", index=False)
    form = {"data_format": "table", "data_source": str(tmp_path / "t.csv"), "data_validation_fraction": 0.3}
    catalog = task.build_catalog(Ingest.of(form))
    assert truth(catalog) == [0.0, 1.0] * 24
    assert excluded(catalog) == {}


def test_build_catalog_image_names_that_are_alike_stay_apart(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": [*names(24), "y.png", "Y.png"], "Pneumonia": [0, 1] * 13})
    build(tmp_path, table)
    table.assign(image=[*names(24), "y.jpg", "Y.JPG"]).to_csv(tmp_path / "t.csv", index=False)
    form = {"data_format": "table", "data_source": str(tmp_path / "t.csv"), "data_validation_fraction": 0.3}
    assert excluded(task.build_catalog(Ingest.of(form))) == {"row without an image": 2, "image without a row": 2}


def test_build_catalog_mismatch_shows_one_row_and_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"image": names(24), "Pneumonia": [0, 1] * 12})
    build(tmp_path, table)
    table.assign(image=[f"z{name}" for name in names(24)]).to_csv(tmp_path / "t.csv", index=False)
    form = {"data_format": "table", "data_source": str(tmp_path / "t.csv"), "data_validation_fraction": 0.3}
    with pytest.raises(ValueError, match=r"24 images there, such as 'zx000\.png'; an image is 'images/x000\.png'"):
        task.build_catalog(Ingest.of(form))
    monkeypatch.setenv("RADIOGRAFT_SALT", "salt-of-16-or-more-characters")
    with pytest.raises(ValueError, match=r"one of the 24 images there$"):
        task.build_catalog(Ingest.of(form | {"data_deidentify": "yes"}))


def test_build_catalog_labels_match_in_any_case(tmp_path: Path) -> None:
    table = findings_table(["PNEUMONIA|crazy_paving", "No finding", "pneumonia"] * 10)
    catalog = build(tmp_path, table, data_labels="Pneumonia, Crazy Paving")
    assert catalog.labels == ("Pneumonia", "Crazy Paving")
    assert truth(catalog) == [1.0, 0.0, 1.0] * 10
    assert truth(catalog, "Crazy Paving") == [1.0, 0.0, 0.0] * 10
