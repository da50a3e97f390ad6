"""Any mix of defects, from files to shards: no good image is lost, no bad one is stored, and each is told."""

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

GOOD = 12  # images, four a split, half of them sick
Bad = tuple[bytes | None, str, str]  # the file, its label, and what is said of it


def pixels(number: int) -> np.ndarray:
    return noise(32, number) // 2 + 20


def colored(number: int) -> np.ndarray:
    color = np.repeat(pixels(number)[..., None], 3, axis=2)
    color[:16, :, 0] = 250
    return color


DEFECTS: dict[str, Callable[[int], Bad]] = {
    "row_without_image": lambda _: (None, "Mass", "row without an image"),
    "empty": lambda _: (b"", "Mass", "empty file"),
    "truncated": lambda n: (encode(pixels(n))[:300], "Mass", "unreadable or truncated image"),
    "text": lambda n: (f"no image {n}".encode(), "Mass", "unreadable or truncated image"),
    "bomb": lambda n: (png_of_header_only(2**31 - 1 - n, 2**31 - 1), "Mass", "unreadable or truncated image"),
    "blank": lambda n: (encode(np.full((32 + n, 40), 7, "uint8")), "Mass", "blank image: one shade of gray"),
    "too_small": lambda n: (encode(noise(15, n)), "Mass", "image of less than 16 pixels a side"),
    "color": lambda n: (encode(colored(n)), "Mass", "image in color"),
    "copy": lambda n: (encode(pixels(n % 4 + 8)), "Mass", "byte-identical to an image of a split held out"),
    "near_copy": lambda n: (
        encode(pixels(8) + np.uint8(n % 30 + 1)),
        "Mass",
        "nearly the same image as one of a split held out more",
    ),
    "twin": lambda n: (
        encode(pixels(0) + np.uint8(n % 30 + 1)),
        "Mass",
        "nearly the same image as another one",
    ),
    "contradictory": lambda n: (encode(pixels(n)), "No Finding|Mass", "'No Finding' beside a finding"),
}


def source(place: Path, bad: list[Bad]) -> str:
    """A table of GOOD good images and the bad ones behind them, all of these in train."""
    rows = [f"{n:03d}.png,{n},{'Mass' if n % 2 else 'No Finding'},{SPLITS[n // 4]}" for n in range(GOOD)]
    files = {f"{n:03d}.png": encode(pixels(n)) for n in range(GOOD)}
    for number, (content, label, _) in enumerate(bad, GOOD):
        rows.append(f"{number:03d}.png,{number},{label},train")
        files |= {f"{number:03d}.png": content} if content is not None else {}
    put(files | {"t.csv": "\n".join(["image,patient,label,split", *rows, rows[0]]).encode()}, str(place))
    return f"{place}/t.csv"


def stored(place: Path, bad: list[Bad], policy: str = "near_duplicate=drop,color=drop") -> Path:
    """The folder of shards."""
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
        found = list(data.examples(split).as_numpy_iterator())
        assert [image_id.decode() for _, image_id, _ in found] == rows["image_id"].tolist()
        yield from ((image_id.decode(), image[..., 0]) for image, image_id, _ in found)


mixes = st.lists(st.sampled_from(sorted(DEFECTS)), max_size=8)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds=mixes)
def test_any_mix_of_defects_loses_no_good_image_and_lets_no_bad_one_through(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str]
) -> None:
    bad = [DEFECTS[kind](number) for number, kind in enumerate(kinds, GOOD)]
    folder = stored(tmp_path_factory.mktemp("mix"), bad)
    found = dict(contents(folder))
    assert sorted(found) == [f"{number:03d}.png" for number in range(GOOD)]
    for number in range(GOOD):
        np.testing.assert_array_equal(found[f"{number:03d}.png"], pixels(number))
    told = json.loads((folder / "data.json").read_text())
    assert sum(group["count"] for group in told["excluded"]) == len(bad) + 1  # the row that repeats
    assert {group["reason"] for group in told["excluded"]} == {
        "further row of an image", *(reason for _, _, reason in bad)
    }  # fmt: skip


def test_what_is_only_reported_stays(tmp_path: Path) -> None:
    bad = [DEFECTS[kind](GOOD + n) for n, kind in enumerate(("color", "near_copy", "blank"))]
    folder = stored(tmp_path, bad, "standard")
    assert {"012.png", "013.png"} < dict(contents(folder)).keys()
    told = json.loads((folder / "data.json").read_text())
    suspects = {group["defect"]: (group["policy"], group["examples"]) for group in told["suspects"]}
    assert suspects["near_duplicate"] == ("report", ["013.png"])
    assert suspects["color"] == ("report", ["012.png"])
    assert set(suspects) <= {"near_duplicate", "color", "inverted"}  # noise may look like anything
    assert told["converted"] == {"RGB in color": 1}


@pytest.mark.parametrize(("policy", "named", "kept"), [("report", 2, 3), ("drop", 1, 2)])
def test_a_copy_of_a_copy_is_named_where_the_copy_stays(tmp_path: Path, policy: str, named: int, kept: int) -> None:
    """Fails where what data_policy does with a copy is not asked: the third looks like the second one only."""
    grain = 4 * np.random.default_rng(1).normal(size=(32, 32))
    bad: list[Bad] = [
        (encode((pixels(GOOD) + times * grain).astype("uint8")), "Mass", "nearly the same image as another one")
        for times in (-1, 0, 1)
    ]
    folder = stored(tmp_path, bad, f"near_duplicate={policy}")
    told = json.loads((folder / "data.json").read_text())
    counts = {group["reason"]: group["count"] for group in [*told["suspects"], *told["excluded"]]}
    assert counts["nearly the same image as another one"] == named
    assert len(dict(contents(folder))) == GOOD + kept


def test_the_quarantine_lists_what_ingest_and_preprocess_found_with_its_address(tmp_path: Path) -> None:
    bad = [DEFECTS[kind](GOOD + n) for n, kind in enumerate(("contradictory", "blank", "empty"))]
    listed = pd.read_parquet(stored(tmp_path, bad, "empty=drop") / "quarantine.parquet")
    assert listed.to_numpy().tolist() == [
        ["012.png", f"{tmp_path}/data/012.png", "'No Finding' beside a finding"],
        ["013.png", f"{tmp_path}/data/013.png", "blank image: one shade of gray"],
    ]


@pytest.mark.parametrize("kind", ["blank", "near_copy"])
def test_a_defect_that_fails_stops_the_run_with_count_and_example(tmp_path: Path, kind: str) -> None:
    name = {"near_copy": "near_duplicate"}.get(kind, kind)
    with pytest.raises(ValueError, match=rf"got 1 \({name}: .*: 012\.png; repair, or set {name}=drop"):
        stored(tmp_path, [DEFECTS[kind](GOOD)], f"{name}=fail")
    assert not (tmp_path / "shards" / "shards.json").exists()


def test_inverted_films_are_told_or_left_out_as_the_policy_says(nih_folder: Path, tmp_path: Path) -> None:
    place = shutil.copytree(nih_folder, tmp_path / "nih")
    films = sorted(place.rglob("*.png"))
    for film in films[:3]:
        film.write_bytes(encode(255 - np.asarray(Image.open(film))))
    turned = [film.name for film in films[:3]]
    ingest.run(Ingest(data_source=str(place)), tmp_path / "catalog")
    for policy, stay in (("report", len(films)), ("quarantine", len(films) - 3)):
        asked = Preprocess(image_size=32, data_policy=f"inverted={policy}")
        preprocess.run(asked, tmp_path / "catalog", tmp_path / policy)
        told = json.loads((tmp_path / policy / "data.json").read_text())
        (group,) = told["suspects"] or told["excluded"]
        assert (group["defect"], group["policy"], group["examples"]) == ("inverted", policy, turned)
        assert len(Shards.read(tmp_path / policy).rows) == stay


def test_a_test_image_stays_although_another_one_of_test_looks_the_same(tmp_path: Path) -> None:
    place = source(tmp_path / "data", [])
    twin = Image.fromarray(pixels(8) + np.uint8(2))
    twin.save(tmp_path / "data" / "009.png")
    settings = Ingest(data_format="table", data_source=place, data_labels="Mass")
    ingest.run(settings, tmp_path / "catalog")
    policy = "near_duplicate=drop"
    preprocess.run(Preprocess(image_size=32, data_policy=policy), tmp_path / "catalog", tmp_path / "shards")
    assert len(list(contents(tmp_path / "shards"))) == GOOD


def test_the_page_stands_alone_and_shows_counts_policies_and_examples(tmp_path: Path) -> None:
    bad = [DEFECTS[kind](GOOD + n) for n, kind in enumerate(("blank", "color"))]
    data_report.write_data_report(stored(tmp_path, bad, "standard"), tmp_path / "data.html")
    text = (tmp_path / "data.html").read_text()
    found = Page(text)
    assert ["Images", "5", "4", "4"] in found.rows
    assert ["Mass", "3", "2", "2"] in found.rows
    assert ["View unknown", "5", "4", "4"] in found.rows
    assert ["blank image: one shade of gray", "1", "blank=quarantine", "012.png"] in found.rows
    assert ["image in color", "1", "color=report", "013.png"] in found.rows
    assert ["blank", "1", "quarantine", "Image of one shade of gray."] in found.rows
    assert ["burned_in", "0", "drop", "DICOM file with the patient's name in its pixels."] in found.rows
    assert "rare in test, where figures want 10 patients: Mass (2)" in found.text
    assert "13 images from 13 patients are usable. Images, rows or boxes excluded for defects: 2. " in found.text
    assert not {"script", "link", "iframe"} & {tag for tag, _ in found.tags}
    assert all((image["src"] or "").startswith("data:") for image in found.images())
    assert "http" not in text.replace("http-equiv", "")
