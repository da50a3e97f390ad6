"""The `phantom` dataset: synthetic chest radiographs in NIH ChestX-ray14's layout, for demos and tests.

Findings are caricatures. Metrics on them show that the pipeline works and say nothing about patients.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from radiograft.config import FINDINGS, NO_FINDING
from radiograft.data.sources import chestxray14
from radiograft.data.synthetic.anatomy import Body, Chest, blur, draw_chest, grow_body
from radiograft.data.synthetic.findings import Box, draw_findings, pose
from radiograft.data.synthetic.lateral import VIEW, draw_lateral

TABLE = "Data_Entry_2017_v2020.csv"
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
STUDY_NAME = r"^(\d+_\d+)"  # start of an image's name, which its frontal and lateral image share
LATERAL_STUDIES = 0.8  # fraction of studies with a lateral image, if these are drawn
MIN_SIZE = 64  # pixels; in smaller images, ribs and nodules are thinner than a pixel

LABEL_NOISE = 0.04  # fraction of images whose labels have one finding too many or too few
TEST_EVERY = 4  # patients 2, 6, 10... are in the test list
IMAGES_PER_PATIENT = (0.48, 0.24, 0.14, 0.08, 0.06)  # probabilities of 1 to 5
CHILDREN = 0.15  # fraction of patients without a chronic finding who are under 16
AP_VIEWS = 0.35  # independent of the findings, so that the view is not a shortcut
CHRONIC = ("Cardiomegaly", "Emphysema", "Fibrosis", "Hernia", "Mass", "Nodule", "Pleural_Thickening")
CHRONIC_PATIENTS = 0.33  # fraction of patients with one of these in all their images
ACUTE_IMAGES = 0.42  # fraction of images with an acute finding, with these weights
ACUTE = {
    "Pneumonia": 0.47,
    "Infiltration": 0.12,
    "Effusion": 0.11,
    "Atelectasis": 0.09,
    "Pneumothorax": 0.08,
    "Consolidation": 0.07,
    "Edema": 0.06,
}
COMPANIONS = {  # cause: probability of each finding that may accompany it
    "Cardiomegaly": {"Effusion": 0.15, "Edema": 0.1},
    "Edema": {"Effusion": 0.35, "Cardiomegaly": 0.3},
    "Effusion": {"Atelectasis": 0.3, "Infiltration": 0.15},
    "Mass": {"Nodule": 0.25},
    "Pneumonia": {"Infiltration": 0.2, "Effusion": 0.15, "Consolidation": 0.1},
    "Pneumothorax": {"Emphysema": 0.15},
}
DETECTORS = {  # width, height and pixel spacing (mm) of NIH's most frequent original images, by view
    "PA": ((2992, 2991, 0.143), (2500, 2048, 0.168), (2048, 2500, 0.168)),
    "AP": ((2500, 2048, 0.168), (3056, 2544, 0.139)),
}


@dataclass(frozen=True)
class Visit:
    """Table row of one image. `findings` are drawn, and `labels` are written to the table (see LABEL_NOISE)."""

    patient: int
    follow_up: int
    age: int
    sex: str
    view: str
    findings: frozenset[str]
    labels: frozenset[str]
    detector: tuple[int, int, float]

    @property
    def tested(self) -> bool:
        """Whether the patient is in the test split."""
        return self.patient % TEST_EVERY == 2

    @property
    def image_index(self) -> str:
        """File name of the image."""
        return f"{self.patient:08d}_{self.follow_up:03d}{'_lateral' if self.view == VIEW else ''}.png"

    def row(self) -> tuple[object, ...]:
        """Returns the cells of the table row in the order of `HEADER`."""
        width, height, spacing = self.detector
        labels = "|".join(sorted(self.labels)) or NO_FINDING
        person = (self.patient, self.age, self.sex, self.view)
        return self.image_index, labels, self.follow_up, *person, width, height, spacing, spacing


def generate_phantom_files(
    patients: int, seed: int, size: int = 256, *, laterals: bool = False, only_lateral: Iterable[str] = ()
) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of the files of a dataset in NIH's layout: images, then boxes, table and split lists.

    An image depends only on seed, patient, follow-up and size, not on the number of patients. Equal arguments give
    equal bytes with the same versions of NumPy and Pillow on the same type of processor.

    Args:
        patients: number of patients, with 1 to 5 images each. With 150 or more, all findings occur for at least 99%
            of the seeds.
        seed: random seed, 0 or more.
        size: width and height of the 8-bit grayscale PNG files in pixels.
        laterals: whether 80% of the studies also have a lateral image. It does not change the frontal images.
        only_lateral: findings that frontal images do not show although they are labeled.

    Raises:
        ValueError: patients below 1, seed below 0 or size below 64.
    """
    for name, value, minimum in (("patients", patients, 1), ("seed", seed, 0), ("size", size, MIN_SIZE)):
        if value < minimum:
            raise ValueError(f"{name} of the phantom must be at least {minimum}, got {value}")
    return _generate_files(patients, seed, size, laterals, frozenset(only_lateral))


def visits_of(patient: int, seed: int) -> tuple[Body, list[Visit]]:
    """Returns the body and visits of a patient. They depend only on patient and seed; age rises with the follow-up."""
    rng = np.random.default_rng([seed, patient, 0])
    chronic = frozenset([str(rng.choice(CHRONIC))] if rng.random() < CHRONIC_PATIENTS else [])
    if chronic:
        age = int(rng.integers(40, 88))
    else:
        age = int(rng.integers(1, 16) if rng.random() < CHILDREN else rng.integers(16, 88))
    sex = str(rng.choice(["F", "M"]))
    body = grow_body(age, sex, rng)
    visits = []
    for follow_up in range(int(rng.choice(5, p=IMAGES_PER_PATIENT)) + 1):
        visits.append(_sample_visit(patient, follow_up, age, sex, chronic, rng))
        age += int(rng.integers(0, 3))
    return body, visits


def draw_image(body: Body, visit: Visit, seed: int, size: int) -> tuple[Image.Image, dict[str, Box]]:
    """Draws the image of one visit, 8-bit grayscale and size by size pixels, and returns it with its bounding boxes."""
    rng = np.random.default_rng([seed, visit.patient, 1 + visit.follow_up])
    chest = draw_chest(pose(body, visit.view, visit.findings, rng), rng, size)
    boxes = draw_findings(chest, visit.findings, rng)
    film = _expose(chest, visit.view, rng)
    _mark(film, visit.view, rng)
    return film, boxes


def _generate_files(
    patients: int, seed: int, size: int, laterals: bool, only_lateral: frozenset[str]
) -> Iterator[tuple[str, bytes]]:
    visits: list[Visit] = []
    box_rows: list[tuple[object, ...]] = []
    for patient in range(1, patients + 1):
        body, patient_visits = visits_of(patient, seed)
        for visit in patient_visits:
            shown = replace(visit, findings=visit.findings - only_lateral)
            film, boxes = draw_image(body, shown, seed, size)
            yield _image_file(visit, film)
            box_rows += _box_rows(visit, boxes)
            visits.append(visit)
            rng = np.random.default_rng([seed, patient, visit.follow_up, 1])
            if laterals and rng.random() < LATERAL_STUDIES:
                visits.append(replace(visit, view=VIEW))
                yield _image_file(visits[-1], draw_lateral(body, visit.findings, rng, size))
    yield chestxray14.BOX_TABLE, _csv(",".join(chestxray14.BOX_HEADER) + ",,,", box_rows)
    yield TABLE, _csv(HEADER, (visit.row() for visit in visits))
    for name, tested in (("train_val_list.txt", False), ("test_list.txt", True)):
        listed = (visit.image_index for visit in visits if visit.tested is tested)
        yield name, "\n".join(listed).encode()  # without a final newline, as in NIH's files


def _image_file(visit: Visit, film: Image.Image) -> tuple[str, bytes]:
    png = io.BytesIO()
    film.save(png, "PNG", compress_level=1)
    return f"images_001/images/{visit.image_index}", png.getvalue()


def _box_rows(visit: Visit, boxes: Mapping[str, Box]) -> Iterator[tuple[object, ...]]:
    """Yields rows of the box table: findings of test images that are both drawn and labeled, as in NIH's table."""
    nih_names = {name: nih_name for nih_name, name in chestxray14.BOX_FINDINGS.items()}
    for finding in sorted(boxes.keys() & visit.labels if visit.tested else ()):
        corners = (round(chestxray14.IMAGE_SIDE * fraction, 3) for fraction in boxes[finding])
        yield visit.image_index, nih_names.get(finding, finding), *corners


def _csv(header: str, rows: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO(header + "\n")
    text.seek(0, io.SEEK_END)
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _sample_visit(
    patient: int, follow_up: int, age: int, sex: str, chronic: frozenset[str], rng: np.random.Generator
) -> Visit:
    findings = set(chronic)
    if rng.random() < ACUTE_IMAGES:
        findings.add(str(rng.choice(list(ACUTE), p=list(ACUTE.values()))))
    for cause in sorted(findings):
        findings |= {name for name, chance in COMPANIONS.get(cause, {}).items() if rng.random() < chance}
    labels = _add_label_noise(findings, rng) if rng.random() < LABEL_NOISE else findings
    view = "AP" if rng.random() < AP_VIEWS else "PA"
    detector = DETECTORS[view][int(rng.integers(len(DETECTORS[view])))]
    return Visit(patient, follow_up, age, sex, view, frozenset(findings), frozenset(labels), detector)


def _add_label_noise(findings: set[str], rng: np.random.Generator) -> set[str]:
    """Returns the findings with label noise: one finding missed, or one added."""
    if findings and rng.random() < 0.5:
        return findings - {str(rng.choice(sorted(findings)))}
    return findings | {str(rng.choice([name for name in FINDINGS if name not in findings]))}


def _expose(chest: Chest, view: str, rng: np.random.Generator) -> Image.Image:
    """Converts absorption to gray levels: focal blur, quantum noise and the S-shaped response of film."""
    bedside = view == "AP"
    path = chest.dense - 0.6 * chest.air * (1 - 0.25 * chest.body.markings * chest.vessels)
    path += 0.015 * chest.cloud(rng, 9)
    for _ in range(2 if bedside else 1):
        path = blur(path)
    grain = rng.uniform(0.01, 0.024) if bedside else rng.uniform(0.006, 0.016)
    path += grain * np.exp(path - 0.6) * rng.standard_normal(path.shape, dtype=np.float32)
    middle, latitude = rng.normal(0.57 if bedside else 0.6, 0.07), rng.uniform(0.2, 0.32)
    return Image.fromarray((255 / (1 + np.exp((middle - path) / latitude))).astype(np.uint8))


def _mark(film: Image.Image, view: str, rng: np.random.Generator) -> None:
    """Draws side marker, ECG leads of bedside images and, in some images, the collimator border."""
    size, pen = film.width, ImageDraw.Draw(film)
    if view == "AP" and rng.random() < 0.5:
        for _ in range(int(rng.integers(1, 4))):
            pen.line(_lead(rng, size), fill=225, width=max(1, size // 200))
    if rng.random() < 0.2:
        pen.rectangle((0, 0, size - 1, size - 1), outline=4, width=int(size * rng.uniform(0.01, 0.05)))
    x, y = rng.uniform(0.86, 0.92) * size, rng.uniform(0.04, 0.1) * size
    letter = [(x, y), (x, y + 0.05 * size), (x + 0.03 * size, y + 0.05 * size)]
    pen.line(letter, fill=int(rng.integers(200, 256)), width=max(1, size // 85))


def _lead(rng: np.random.Generator, size: int) -> list[float]:
    """Samples an ECG lead that hangs from the upper border, as x, y, x, y... in pixels."""
    t = np.linspace(0, 1, 24)
    wave = rng.uniform(0, 0.06) * np.sin(t * rng.uniform(3, 9))
    across = rng.uniform(0.1, 0.9) + rng.normal(0, 0.25) * t**2 + wave
    points: list[float] = (np.stack([across, rng.uniform(0.3, 0.8) * t], axis=1) * size).ravel().tolist()
    return points
