"""Compares the AUROCs of a run on ChestX-ray14 with published ones, naming the split that each was measured on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from radiograft.registry.result_types import SplitMetrics
from radiograft.reporting.html import ReportSection
from radiograft.utils.spelling import fold_name

FORMAT = "chestxray14"
OFFICIAL, OWN = "official", "the authors' own, by patient"


class Publication(NamedTuple):
    """A publication with AUROCs on ChestX-ray14.

    Attributes:
        name: of the publication.
        split: the test split.
        mean: AUROC over all labels as published; None if it is not stated.
    """

    name: str
    split: str
    mean: float | None


PUBLICATIONS = (
    Publication("Wang et al. 2017", OFFICIAL, 0.7451),
    Publication("CheXNet (Rajpurkar et al. 2017)", OWN, 0.841),
    Publication("CheXNet, reproduced by Zech", OWN, 0.838),
    Publication("CheXNet, reproduced by arnoweng", OWN, None),
    Publication("AG-CNN (Guan et al. 2018)", OWN, 0.871),
)
AUROCS = {  # in the order of PUBLICATIONS
    "Atelectasis": (0.7003, 0.8094, 0.8180, 0.8294, 0.853),
    "Cardiomegaly": (0.8100, 0.9248, 0.9090, 0.9165, 0.939),
    "Effusion": (0.7585, 0.8638, 0.8827, 0.8870, 0.903),
    "Infiltration": (0.6614, 0.7345, 0.7156, 0.7143, 0.754),
    "Mass": (0.6933, 0.8676, 0.8377, 0.8597, 0.902),
    "Nodule": (0.6687, 0.7802, 0.7756, 0.7873, 0.828),
    "Pneumonia": (0.6580, 0.7680, 0.7617, 0.7745, 0.774),
    "Pneumothorax": (0.7993, 0.8887, 0.8776, 0.8726, 0.921),
    "Consolidation": (0.7032, 0.7901, 0.8002, 0.8142, 0.842),
    "Edema": (0.8052, 0.8878, 0.8945, 0.8932, 0.924),
    "Emphysema": (0.8330, 0.9371, 0.9316, 0.9254, 0.932),
    "Fibrosis": (0.7859, 0.8047, 0.8251, 0.8304, 0.864),
    "Pleural_Thickening": (0.6835, 0.8062, 0.7889, 0.7831, 0.837),
    "Hernia": (0.8717, 0.9164, 0.9175, 0.9104, 0.921),
}


def published_sections(
    settings: Mapping[str, object], labels: Sequence[str], test: SplitMetrics, *, is_official: bool
) -> list[ReportSection]:
    """Returns the section that compares a run with published AUROCs, or none if they are of other labels or data.

    Args:
        settings: of the run, by name.
        labels: of the run.
        test: metrics of the published strategy on test.
        is_official: whether the test split is NIH's.
    """
    aurocs = {fold_name(name): row for name, row in AUROCS.items()}
    if settings.get("data_format") != FORMAT or not aurocs.keys() >= set(map(fold_name, labels)):
        return []
    rows = [(label, test["labels"][label]["auroc"], aurocs[fold_name(label)]) for label in labels]
    content = {
        "columns": PUBLICATIONS,
        "rows": rows,
        "mean": test["mean"] if len(test["mean"]["labels"]) == len(AUROCS) else None,
        "split": OFFICIAL if is_official else "drawn by patient",
        "images": test["n_images"],
        "negatives": settings.get("data_negatives"),
    }
    return [ReportSection("published.html.j2", content)]
