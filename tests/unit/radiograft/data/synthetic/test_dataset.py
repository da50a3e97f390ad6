"""The phantom: NIH's layout, determinism, and brightness that does not reveal a finding."""

import io
from collections import Counter
from itertools import islice

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from radiograft.data.synthetic.anatomy import draw_chest, grow_body
from radiograft.data.synthetic.dataset import LABEL_NOISE, Visit, generate_phantom_files, visits_of
from radiograft.data.synthetic.findings import BOXED, box_around, draw_findings, pose

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
FINDINGS = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Effusion",
    "Emphysema",
    "Fibrosis",
    "Hernia",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pleural_Thickening",
    "Pneumonia",
    "Pneumothorax",
]
IMAGES = "images_001/images/"


def read_table(files: dict[str, bytes]) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(files["Data_Entry_2017_v2020.csv"]))


def read_image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def all_visits(patients: int, seed: int) -> list[Visit]:
    return [visit for patient in range(1, patients + 1) for visit in visits_of(patient, seed)[1]]


@pytest.fixture(scope="module")
def small() -> dict[str, bytes]:
    return dict(generate_phantom_files(patients=40, seed=7, size=64))


def test_files_follow_nih_layout_images_first(small: dict[str, bytes]) -> None:
    paths = list(small)
    assert paths[0] == "images_001/images/00000001_000.png"
    assert paths[-4:] == [*("BBox_List_2017.csv", "Data_Entry_2017_v2020.csv", "train_val_list.txt", "test_list.txt")]
    assert all(path.startswith(IMAGES) for path in paths[:-4])


def test_table_has_nih_header_and_one_row_per_image(small: dict[str, bytes]) -> None:
    content = small["Data_Entry_2017_v2020.csv"].decode()
    assert content.split("\n", 1)[0] == HEADER
    assert content.endswith("\n")
    assert [IMAGES + name for name in read_table(small)["Image Index"]] == list(small)[:-4]


def test_table_matches_file_names(small: dict[str, bytes]) -> None:
    table = read_table(small)
    names = [f"{p:08d}_{f:03d}.png" for p, f in zip(table["Patient ID"], table["Follow-up #"], strict=True)]
    assert list(table["Image Index"]) == names
    assert set(table["Patient ID"]) == set(range(1, 41))
    assert table.groupby("Patient ID").size().between(1, 5).all()
    assert set(table["View Position"]) == {"PA", "AP"}
    assert set(table["Patient Gender"]) == {"F", "M"}
    assert table["Patient Age"].between(1, 100).all()


def test_finding_labels_are_sorted_and_known(small: dict[str, bytes]) -> None:
    for cell in read_table(small)["Finding Labels"]:
        labels = cell.split("|")
        assert labels == ["No Finding"] or (labels == sorted(set(labels)) and set(labels) <= set(FINDINGS))


def test_split_lists_cover_table_without_patient_overlap(small: dict[str, bytes]) -> None:
    lists = [small[name].decode() for name in ("train_val_list.txt", "test_list.txt")]
    assert not any(text.endswith("\n") for text in lists)
    train_val, test = (text.split("\n") for text in lists)
    assert sorted(train_val + test) == list(read_table(small)["Image Index"])
    train_patients, test_patients = ({name[:8] for name in names} for names in (train_val, test))
    assert not train_patients & test_patients
    assert len(test_patients) == 10


@pytest.mark.parametrize("size", [64, 129, 256])
def test_images_are_8_bit_gray_png_of_requested_size(size: int) -> None:
    _, content = next(generate_phantom_files(patients=1, seed=0, size=size))
    image = read_image(content)
    assert (image.format, image.mode, image.size) == ("PNG", "L", (size, size))


def test_images_show_dark_lungs_and_bright_heart(small: dict[str, bytes]) -> None:
    films = np.stack([np.asarray(read_image(content)) for content in list(small.values())[:-4]])
    mean = films.mean(axis=0)
    lungs, heart, belly = mean[22:30, [16, 47]], mean[36:40, 32:38], mean[56:60, 24:40]
    assert lungs.mean() + 40 < heart.mean() <= belly.mean() + 20
    assert np.ptp(films.reshape(len(films), -1), axis=1).min() > 120


def test_files_depend_only_on_arguments(small: dict[str, bytes]) -> None:
    assert dict(generate_phantom_files(patients=40, seed=7, size=64)) == small
    other = dict(generate_phantom_files(patients=40, seed=8, size=64))
    assert other["Data_Entry_2017_v2020.csv"] != small["Data_Entry_2017_v2020.csv"]
    assert other["images_001/images/00000001_000.png"] != small["images_001/images/00000001_000.png"]


def test_images_and_rows_do_not_depend_on_patient_count(small: dict[str, bytes]) -> None:
    fewer = dict(generate_phantom_files(patients=5, seed=7, size=64))
    images = {path: content for path, content in fewer.items() if path.startswith(IMAGES)}
    assert images.items() <= small.items()
    assert small["Data_Entry_2017_v2020.csv"].startswith(fewer["Data_Entry_2017_v2020.csv"])


def test_images_are_all_different(small: dict[str, bytes]) -> None:
    images = [content for path, content in small.items() if path.startswith(IMAGES)]
    assert len(set(images)) == len(images)


def test_files_are_generated_lazily() -> None:
    files = islice(generate_phantom_files(patients=100_000_000, seed=0, size=64), 2)
    assert [path.rpartition("/")[0] for path, _ in files] == ["images_001/images"] * 2


def test_visits_age_rises_and_sex_is_constant() -> None:
    for patient in range(1, 200):
        _, visits = visits_of(patient, seed=3)
        assert [visit.follow_up for visit in visits] == list(range(len(visits)))
        ages = [visit.age for visit in visits]
        assert ages == sorted(ages)
        assert len({visit.sex for visit in visits}) == 1


@pytest.mark.parametrize("seed", range(5))
def test_150_patients_have_all_findings(seed: int) -> None:
    written = Counter(label for visit in all_visits(150, seed) for label in visit.labels)
    assert sorted(written) == FINDINGS


def test_prevalences_are_in_range() -> None:
    visits = all_visits(2000, seed=0)
    healthy = np.mean([not visit.labels for visit in visits])
    pneumonia = np.mean(["Pneumonia" in visit.labels for visit in visits])
    assert 0.35 < healthy < 0.40
    assert 0.17 < pneumonia < 0.23
    assert 1.8 < len(visits) / 2000 < 2.2


def test_label_noise_changes_one_finding_in_4_percent_of_images() -> None:
    visits = all_visits(3000, seed=1)
    changes = Counter(
        (len(visit.labels - visit.findings), len(visit.findings - visit.labels))
        for visit in visits
        if visit.labels != visit.findings
    )
    assert LABEL_NOISE == 0.04
    assert set(changes) == {(1, 0), (0, 1)}
    assert 0.03 < changes.total() / len(visits) < 0.05


def test_mean_brightness_does_not_predict_pneumonia() -> None:
    *images, _, (_, table), _, _ = generate_phantom_files(patients=400, seed=0, size=64)
    brightness = [np.asarray(read_image(content)).mean() for _, content in images]
    labels = pd.read_csv(io.BytesIO(table))["Finding Labels"].str.contains("Pneumonia")
    assert 0.35 < roc_auc_score(labels, brightness) < 0.65


@pytest.mark.parametrize(
    ("patients", "seed", "size", "message"),
    [
        (0, 0, 256, "patients of the phantom must be at least 1, got 0"),
        (-3, 0, 256, "patients of the phantom must be at least 1, got -3"),
        (10, -1, 256, "seed of the phantom must be at least 0, got -1"),
        (10, 0, 63, "size of the phantom must be at least 64, got 63"),
    ],
)
def test_generate_invalid_arguments_raises_immediately(patients: int, seed: int, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        generate_phantom_files(patients, seed, size)


def test_box_around_contains_most_of_field() -> None:
    amount = np.zeros((100, 100))
    amount[20:40, 60:90] = 1.0
    amount[70, 10] = 5.0  # less than 1% of the total
    assert box_around(amount) == pytest.approx((0.6, 0.2, 0.3, 0.2), abs=0.03)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("finding", BOXED)
def test_draw_findings_change_lies_in_box(finding: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    chest = draw_chest(pose(grow_body(50, "M", rng), "PA", frozenset([finding]), rng), rng, 96)
    before = chest.dense - chest.air
    boxes = draw_findings(chest, frozenset([finding]), rng)
    x, y, width, height = (round(96 * fraction) for fraction in boxes.pop(finding))
    assert boxes == {}
    assert 0 < width * height < 0.4 * 96 * 96
    change = np.abs(chest.dense - chest.air - before)
    if finding == "Cardiomegaly":  # nothing is drawn: `pose` enlarges the heart
        assert 0.4 < (x + width / 2) / 96 < 0.65
        assert not change.any()
    else:
        assert change[y : y + height, x : x + width].sum() > 0.85 * change.sum()


def test_draw_findings_without_boxed_finding_returns_no_box() -> None:
    for findings in (frozenset[str](), frozenset({"Edema", "Hernia"})):
        rng = np.random.default_rng(0)
        chest = draw_chest(pose(grow_body(50, "F", rng), "PA", findings, rng), rng, 64)
        assert draw_findings(chest, findings, rng) == {}
