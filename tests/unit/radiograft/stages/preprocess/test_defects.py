"""Any combination of defects, from files to shards: valid images are kept, defective ones excluded and reported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from radiograft.config import Ingest, Preprocess
from radiograft.data.catalog import SPLITS
from radiograft.data.shards.dataset import Shards
from radiograft.reporting import data_report
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.images import encode, noise, png_of_header_only
from tests.helpers.nih_source import put
from tests.helpers.report_page import Page

GOOD = 12  # images, four in each split, half of them with a mass
Bad = tuple[bytes | None, str, str]  # content of the file, its label, and the reason


def pixels(number: int) -> np.ndarray:
    return noise(32, number) // 2 + 20


def colored(number: int) -> np.ndarray:
    color = np.repeat(pixels(number)[..., None], 3, axis=2)
    color[:16, :, 0] = 250
    return color


def label_of(number: int) -> str:
    return "Mass" if number % 2 else "No Finding"


DEFECTS: dict[str, Callable[[int], Bad]] = {
    "row_without_image": lambda _: (None, "Mass", "row without an image"),
    "empty": lambda _: (b"", "Mass", "empty file"),
    "truncated": lambda n: (encode(pixels(n))[:300], "Mass", "unreadable or truncated image"),
    "text": lambda n: (f"no image {n}".encode(), "Mass", "text instead of an image: download the file again"),
    "bomb": lambda n: (png_of_header_only(2**31 - 1 - n, 2**31 - 1), "Mass", "unreadable or truncated image"),
    "blank": lambda n: (encode(np.full((32 + n, 40), 7, "uint8")), "Mass", "blank image: a single gray level"),
    "too_small": lambda n: (encode(noise(15, n)), "Mass", "image with a side shorter than 16 pixels"),
    "color": lambda n: (encode(colored(n)), "Mass", "color image"),
    "copy": lambda n: (encode(pixels(n % 4 + 8)), label_of(n % 4), "byte-identical to an image in a held-out split"),
    "near_copy": lambda n: (
        encode(pixels(8) + np.uint8(n % 30 + 1)),
        "No Finding",
        "near duplicate of an image in a held-out split",
    ),
    "near_copy_in_train": lambda n: (
        encode(pixels(0) + np.uint8(n % 30 + 1)),
        "No Finding",
        "near duplicate of another image",
    ),
    "contradictory": lambda n: (encode(pixels(n)), "No Finding|Mass", "'No Finding' together with a finding"),
}


def source(place: Path, bad: list[Bad]) -> str:
    """Writes a table of GOOD valid images, followed by the defective ones, all of which are in train."""
    rows = [f"{n:03d}.png,{n},{label_of(n)},{SPLITS[n // 4]}" for n in range(GOOD)]
    files = {f"{n:03d}.png": encode(pixels(n)) for n in range(GOOD)}
    for number, (content, label, _) in enumerate(bad, GOOD):
        rows.append(f"{number:03d}.png,{number},{label},train")
        files |= {f"{number:03d}.png": content} if content is not None else {}
    put(files | {"t.csv": "\n".join(["image,patient,label,split", *rows, rows[0]]).encode()}, str(place))
    return f"{place}/t.csv"


def preprocess_images(place: Path, bad: list[Bad], policy: str = "near_duplicate=drop,color=drop") -> Path:
    """Runs ingest and preprocess, and returns the folder of shards."""
    settings = Ingest(
        data_format="table", data_source=source(place / "data", bad), data_labels="Mass", data_policy=policy
    )
    ingest.run(settings, place / "catalog")
    preprocess.run(Preprocess(image_size=32, data_policy=policy), place / "catalog", place / "shards")
    return place / "shards"


def contents(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    data = Shards.read(folder)
    for split in SPLITS:
        rows = data.split(split)
        stored = list(data.examples(split).as_numpy_iterator())
        assert [image_id.decode() for _, image_id, _ in stored] == rows["image_id"].tolist()
        yield from ((image_id.decode(), image[..., 0]) for image, image_id, _ in stored)


mixes = st.lists(st.sampled_from(sorted(DEFECTS)), max_size=8)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=mixes)
def test_preprocess_any_defects_keeps_exactly_valid_images(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str]
) -> None:
    bad = [DEFECTS[kind](number) for number, kind in enumerate(kinds, GOOD)]
    folder = preprocess_images(tmp_path_factory.mktemp("mix"), bad)
    stored = dict(contents(folder))
    assert sorted(stored) == [f"{number:03d}.png" for number in range(GOOD)]
    for number in range(GOOD):
        np.testing.assert_array_equal(stored[f"{number:03d}.png"], pixels(number))
    summary = json.loads((folder / "data.json").read_text())
    assert sum(group["count"] for group in summary["excluded"]) == len(bad) + 1  # the duplicate row
    assert {group["reason"] for group in summary["excluded"]} == {
        "duplicate row for an image", *(reason for _, _, reason in bad)
    }  # fmt: skip


def test_preprocess_report_policy_keeps_images(tmp_path: Path) -> None:
    bad = [DEFECTS[kind](GOOD + n) for n, kind in enumerate(("color", "near_copy", "blank"))]
    folder = preprocess_images(tmp_path, bad, "standard")
    assert {"012.png", "013.png"} < dict(contents(folder)).keys()
    summary = json.loads((folder / "data.json").read_text())
    suspects = {group["defect"]: (group["policy"], group["examples"]) for group in summary["suspects"]}
    assert suspects["near_duplicate"] == ("report", ["013.png"])
    assert suspects["color"] == ("report", ["012.png"])
    assert set(suspects) <= {"near_duplicate", "color", "inverted"}  # noise may also look inverted
    assert summary["converted"] == {"RGB in color": 1}


@pytest.mark.parametrize(("policy", "named", "kept"), [("report", 2, 3), ("drop", 1, 2)])
def test_preprocess_repeat_of_repeat_depends_on_policy(tmp_path: Path, policy: str, named: int, kept: int) -> None:
    """Fails if the policy is ignored: the third image resembles only the second one."""
    grain = 4 * np.random.default_rng(1).normal(size=(32, 32))
    bad: list[Bad] = [
        (encode((pixels(GOOD) + times * grain).astype("uint8")), "Mass", "near duplicate of another image")
        for times in (-1, 0, 1)
    ]
    folder = preprocess_images(tmp_path, bad, f"near_duplicate={policy}")
    summary = json.loads((folder / "data.json").read_text())
    counts = {group["reason"]: group["count"] for group in [*summary["suspects"], *summary["excluded"]]}
    assert counts["near duplicate of another image"] == named
    assert len(dict(contents(folder))) == GOOD + kept


def test_quarantine_lists_images_of_both_stages_with_uri(tmp_path: Path) -> None:
    bad = [DEFECTS[kind](GOOD + n) for n, kind in enumerate(("contradictory", "blank", "empty"))]
    listed = pd.read_parquet(preprocess_images(tmp_path, bad, "empty=drop") / "quarantine.parquet")
    assert listed.to_numpy().tolist() == [
        ["012.png", f"{tmp_path}/data/012.png", "'No Finding' together with a finding"],
        ["013.png", f"{tmp_path}/data/013.png", "blank image: a single gray level"],
    ]


@pytest.mark.parametrize("kind", ["blank", "near_copy"])
def test_preprocess_fail_policy_raises_with_count_and_example(tmp_path: Path, kind: str) -> None:
    name = {"near_copy": "near_duplicate"}.get(kind, kind)
    with pytest.raises(ValueError, match=rf"got 1 \({name}: .*: 012\.png; repair the data, or set {name}=drop"):
        preprocess_images(tmp_path, [DEFECTS[kind](GOOD)], f"{name}=fail")
    assert not (tmp_path / "shards" / "shards.json").exists()


def test_preprocess_inverted_films_follow_policy(nih_folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(nih_folder, tmp_path / "nih")
    films = sorted(place.rglob("*.png"))
    for film in films[:3]:
        film.write_bytes(encode(255 - np.asarray(Image.open(film))))
    inverted = [film.name for film in films[:3]]
    ingest.run(Ingest(data_source=str(place)), tmp_path / "catalog")
    for policy, count in (("report", len(films)), ("quarantine", len(films) - 3)):
        settings = Preprocess(image_size=32, data_policy=f"inverted={policy}")
        preprocess.run(settings, tmp_path / "catalog", tmp_path / policy)
        summary = json.loads((tmp_path / policy / "data.json").read_text())
        (group,) = summary["suspects"] or summary["excluded"]
        assert (group["defect"], group["policy"], group["examples"]) == ("inverted", policy, inverted)
        assert len(Shards.read(tmp_path / policy).rows) == count


def test_preprocess_near_duplicate_test_images_are_kept(tmp_path: Path) -> None:
    place = source(tmp_path / "data", [])
    near_duplicate = Image.fromarray(pixels(8) + np.uint8(2))
    near_duplicate.save(tmp_path / "data" / "010.png")
    settings = Ingest(data_format="table", data_source=place, data_labels="Mass")
    ingest.run(settings, tmp_path / "catalog")
    policy = "near_duplicate=drop"
    preprocess.run(Preprocess(image_size=32, data_policy=policy), tmp_path / "catalog", tmp_path / "shards")
    assert len(list(contents(tmp_path / "shards"))) == GOOD


def test_preprocess_near_equal_images_with_different_labels_are_all_quarantined(tmp_path: Path) -> None:
    """Fails if one copy stays by chance, or because it is in test or in another split than the other."""
    brighter = [
        (encode(pixels(n) + np.uint8(3)), label_of(n + 1), "") for n in (8, 1)
    ]  # originals in test and in train
    folder = preprocess_images(tmp_path, brighter, "standard")
    summary = json.loads((folder / "data.json").read_text())
    groups = {group["reason"]: (group["defect"], group["policy"], group["examples"]) for group in summary["excluded"]}
    assert groups["near-equal images with different labels"] == (
        "contradictory_labels",
        "quarantine",
        ["001.png", "008.png", "012.png", "013.png"],
    )
    quarantine = pd.read_parquet(folder / "quarantine.parquet")
    assert quarantine["uri"].tolist() == [f"{tmp_path}/data/{n:03d}.png" for n in (1, 12, 13, 8)]
    assert sorted(dict(contents(folder))) == [f"{n:03d}.png" for n in range(GOOD) if n not in (1, 8)]


def test_data_report_shows_agreement_of_readers(tmp_path: Path) -> None:
    facts = json.loads((preprocess_images(tmp_path, []) / "data.json").read_text())
    assert facts["readers"] == []
    assert "Agreement of readers" not in Page(data_report.render_data_report(facts)).text
    differing = {"label": "Mass", "images": 12, "disagreements": 3, "share": 0.25, "statistic": "Cohen's kappa"}
    for kappa, shown in ((0.4, "0.40 Cohen's kappa"), (None, "–")):
        page = Page(data_report.render_data_report({**facts, "readers": [{**differing, "kappa": kappa}]}))
        assert ["Mass", "12", "3 25.0%", shown] in page.rows


def test_data_report_is_self_contained_and_shows_defects(tmp_path: Path) -> None:
    bad = [DEFECTS[kind](GOOD + n) for n, kind in enumerate(("blank", "color"))]
    data_report.write_data_report(preprocess_images(tmp_path, bad, "standard"), tmp_path / "data.html")
    text = (tmp_path / "data.html").read_text()
    found = Page(text)
    assert ["Images", "5", "4", "4"] in found.rows
    assert [
        *("Mass", "3 positive 2 negative, 0 unknown 3 positive patients"),
        *["2 positive 2 negative, 0 unknown 2 positive patients"] * 2,
    ] in found.rows
    assert ["View unknown", "5", "4", "4"] in found.rows
    assert ["blank image: a single gray level", "1", "blank=quarantine", "012.png"] in found.rows
    assert ["color image", "1", "color=report", "013.png"] in found.rows
    assert ["blank", "1", "quarantine", "Image with a single gray level."] in found.rows
    assert "burned_in=drop" in found.text.split("Not found:")[1]
    assert "Rare in test (fewer than 10 patients): Mass (2)." in found.text
    assert "13 images from 13 patients are usable. 2 images, rows or boxes were excluded: 2 for defects" in found.text
    assert not {"script", "link", "iframe"} & {tag for tag, _ in found.tags}
    assert all((image["src"] or "").startswith("data:") for image in found.images())
    assert "http" not in text.replace("http-equiv", "")
