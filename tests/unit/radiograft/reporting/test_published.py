"""Published results on ChestX-ray14 appear beside a run's own only where labels and data are the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from radiograft.config import FINDINGS
from radiograft.reporting.evaluation_report import Report, render_report
from radiograft.reporting.published import AUROCS, PUBLICATIONS, published_sections

BuildReport = Callable[[Sequence[str]], Report]
NIH = {"data_format": "chestxray14", "data_negatives": "rest"}


def test_published_aurocs_have_published_means() -> None:
    """Each mean follows from its column, but for the rounding of the publication."""
    assert list(AUROCS) == list(FINDINGS)
    for place, publication in enumerate(PUBLICATIONS):
        mean = sum(row[place] for row in AUROCS.values()) / len(AUROCS)
        if publication.mean is not None:
            assert mean == pytest.approx(publication.mean, abs=1e-3), publication.name


def test_report_with_one_label_has_its_row_and_no_mean(build_report: BuildReport) -> None:
    report = build_report(["Pneumonia"])
    sections = published_sections(NIH, ["Pneumonia"], report.test, is_official=True)
    page = render_report(replace(report, sections=sections))
    assert "Published results on ChestX-ray14" in page
    assert "NIH&#39;s official one and has 600 images" in page or "NIH's official one and has 600 images" in page
    assert '<th scope="row">Pneumonia</th>' in page
    assert "<td>0.658</td><td>0.768</td><td>0.762</td><td>0.774</td><td>0.774</td>" in page
    assert sections[0].content["mean"] is None


def test_report_on_drawn_split_says_so(build_report: BuildReport) -> None:
    report = build_report(["Pneumonia"])
    settings = NIH | {"data_negatives": "no_finding"}
    sections = published_sections(settings, ["Pneumonia"], report.test, is_official=False)
    page = " ".join(render_report(replace(report, sections=sections)).split())
    assert "The test split of this run is drawn by patient" in page
    assert "this run's task is easier" in page


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        (NIH | {"data_format": "chexpert"}, ["Pneumonia"]),
        ({}, ["Pneumonia"]),
        (NIH, ["Pneumonia", "Lung Opacity"]),
    ],
)
def test_report_on_other_data_or_labels_has_no_published_results(
    settings: dict[str, object], labels: list[str], build_report: BuildReport
) -> None:
    assert published_sections(settings, labels, build_report(labels).test, is_official=True) == []
