"""The page stands alone, says what it was given, and shows strings from the data as text."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pytest

from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount, render_report
from radiograft.reporting.plots import best_layers
from tests.helpers.report_page import Page

BuildReport = Callable[[Sequence[str]], Report]
HOSTILE = "<script>alert(1)</script>"
IMAGE = "data:image/svg+xml;base64,"


@pytest.fixture(scope="module")
def page(full_report: Report) -> Page:
    return Page(render_report(full_report))


def drawings(page: Page) -> list[str]:
    sources = [attributes["src"] or "" for attributes in page.images()]
    return [base64.b64decode(source.removeprefix(IMAGE)).decode() for source in sources if source.startswith(IMAGE)]


class TestStandsAlone:
    def test_nothing_is_loaded_from_elsewhere(self, full_report: Report, page: Page) -> None:
        references = [
            value
            for _, attributes in page.tags
            for name, value in attributes.items()
            if name in {"src", "srcset", "href", "data", "action", "poster", "background"}
        ]
        assert len(references) == 13 + 4 + 1 + 1 + 1
        assert all(value and value.startswith("data:image/") for value in references)
        assert not re.search(r"https?://|@import|url\(", render_report(full_report))

    def test_nothing_runs(self, page: Page) -> None:
        tags = {tag for tag, _ in page.tags}
        assert tags.isdisjoint({"script", "iframe", "object", "embed", "link", "base", "form"})
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]

    def test_the_drawings_neither_load_nor_run_anything(self, page: Page) -> None:
        assert len(drawings(page)) == 13 + 4 + 1 + 1
        for drawing in drawings(page):
            assert "<script" not in drawing
            assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', drawing))

    def test_equal_reports_give_equal_pages(self, full_report: Report) -> None:
        assert render_report(full_report) == render_report(full_report)

    def test_an_oversized_contact_sheet_is_left_out_and_said_so(self, full_report: Report) -> None:
        html = render_report(replace(full_report, contact_sheet_png=bytes(5_000_000)))
        assert len(html) < 5_000_000
        assert "The contact sheet was left out: 5.0 MB" in Page(html).text
        assert "data:image/png" not in html


class TestSaysWhatItWasGiven:
    def test_a_label_shows_its_numbers(self, full_report: Report) -> None:
        metrics = deepcopy(dict(full_report.metrics["fine_tuning"]))
        mass = metrics["test"]["labels"]["Mass"]
        mass["auroc"] = {"value": 0.8714, "low": 0.8126, "high": 0.9}
        mass["average_precision"] = {"value": 0.5, "low": 0.4, "high": 0.6}
        mass["accuracy"] = {"value": 0.75, "low": None, "high": None}
        mass["sensitivity"] = {"value": 0.625, "low": 0.5, "high": 0.75}
        mass["specificity"] = {"value": 1.0, "low": 1.0, "high": 1.0}
        mass["auroc_delong"] = {"value": 0.8714, "low": 0.8249, "high": 0.9061}
        mass["ppv"] = {"value": 2 / 3, "low": 0.6, "high": 0.7}
        mass["npv"] = {"value": 0.9711, "low": None, "high": None}
        mass["f1"] = {"value": None, "low": None, "high": None}
        mass |= {"majority_accuracy": 0.9, "positives": 1234, "n_images": 12340}
        mass |= {"n_patients": 5000, "positive_patients": 1001}
        mass |= {"threshold": 0.375, "confusion": [[1111, 22], [33, 44]]}
        shown = Page(render_report(replace(full_report, metrics={**full_report.metrics, "fine_tuning": metrics})))
        assert shown.row("Mass")[:3] == [
            [
                *("Mass", "0.871 0.813 to 0.900 DeLong 0.825 to 0.906", "", "0.500 0.400 to 0.600"),
                *("1,234 of 12,340", "5,000 1,001 with it", "0.750", "0.900"),
            ],
            [
                *("Mass", "0.375", "0.625 0.500 to 0.750", "1.000 1.000 to 1.000"),
                *("0.667 0.600 to 0.700", "0.971", "–"),
            ],
            ["Mass", "44", "33", "22", "1,111"],
        ]

    def test_a_label_without_both_classes_shows_no_number(self, page: Page) -> None:
        assert page.row("Hernia")[0][1] == "not estimable"
        assert page.row("Hernia")[1][1:4] == ["–", "–", "–"]

    def test_both_strategies_on_both_splits(self, full_report: Report, page: Page) -> None:
        rows = [*page.row("Feature extraction"), *page.row("Fine-tuning published")]
        assert [row[1] for row in rows] == ["validation", "test", "validation", "test"]
        auroc = full_report.metrics["fine_tuning"]["test"]["mean"]["auroc"]
        assert rows[3][2] == f"{auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f}"

    def test_the_posters_four_figures(self, page: Page) -> None:
        for caption in (
            "Feature extraction: accuracy",
            "Feature extraction: loss",
            "Fine-tuning: accuracy",
            "Fine-tuning: loss",
        ):
            assert caption in page.text
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        # After e epochs the loss is 0.2 + 0.5 / e.
        assert "Loss by epoch, 8 in all; in epoch 4, kept, 0.325 in training and 0.405 in validation" in descriptions
        assert "Loss by epoch, 8 in all; in epoch 8, kept, 0.263 in training and 0.343 in validation" in descriptions

    def test_which_epochs_were_kept_and_what_the_curves_are(self, full_report: Report, page: Page) -> None:
        assert "Training Kept: Feature extraction, epoch 4 of 8; Fine-tuning, epoch 8 of 8. Accuracy here" in page.text
        assert "at a score of 0.5, not at the threshold" in page.text
        assert "the training loss includes the L2 penalty; validation has neither" in page.text
        untrained = {"feature_extraction": 4, "fine_tuning": 0}
        page = Page(render_report(replace(full_report, kept_epochs=untrained)))
        assert "Fine-tuning, epoch 0, the state before training, of 8. Accuracy here" in page.text
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "Loss by epoch, 8 in all; kept is the state before training" in descriptions

    def test_validation_figures_are_told_to_be_too_good(self, full_report: Report, page: Page) -> None:
        assert "were chosen on the validation images, so the figures on these are too good" in page.text
        assert "The epochs were chosen on these images, so both figures are too good." in page.text
        assert full_report.random_baseline is not None
        elsewhere = replace(full_report, random_baseline={**full_report.random_baseline, "split": "test"})
        assert "both figures are too good" not in Page(render_report(elsewhere)).text

    def test_what_the_means_are_over(self, page: Page) -> None:
        assert "over the labels that can be estimated, accuracy over all that have a threshold;" in page.text

    def test_the_cut_off_curve_and_its_best_layers(self, full_report: Report, page: Page) -> None:
        assert page.row("conv5_block2_concat")[0][:3] == ["conv5_block2_concat", "576", "0.800 0.600 to 0.900"]
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "3 layers from the input on; the best is conv5_block2_concat with 0.800" in descriptions
        assert "Where to cut" not in Page(render_report(replace(full_report, cut_off_curve=[]))).text

    def test_of_equal_layers_the_deepest_is_the_best(self, full_report: Report) -> None:
        """Fails where page or marker names another layer than model_feature_layer=auto takes, the first of equals."""
        curve = full_report.cut_off_curve
        even = [{**point, "auroc": {**point["auroc"], "value": 0.7}} for point in curve]
        assert [point["layer"] for point in best_layers(even)] == ["relu", "conv5_block2_concat", "pool4_pool"]  # type: ignore[arg-type]
        page = Page(render_report(replace(full_report, cut_off_curve=even)))  # type: ignore[arg-type]
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "3 layers from the input on; the best is relu with 0.700" in descriptions
        (marked,) = [drawing for drawing in drawings(page) if "layer, from the input on" in drawing]
        assert [point["layer"] for point in curve if f">{point['layer']}<" in marked] == ["relu"]

    def test_a_curve_of_which_nothing_could_be_estimated(self, full_report: Report) -> None:
        """Fails where such a curve ends evaluation, after all training, or is passed over in silence."""
        nothing = {"value": None, "low": None, "high": None}
        curve = [{**point, "auroc": nothing} for point in full_report.cut_off_curve]
        page = Page(render_report(replace(full_report, cut_off_curve=curve)))  # type: ignore[arg-type]
        assert "Where to cut No layer could be judged" in page.text
        one = [*curve[:2], full_report.cut_off_curve[2]]
        page = Page(render_report(replace(full_report, cut_off_curve=one)))  # type: ignore[arg-type]
        assert "3 layers from the input on; the best is relu with 0.750" in [str(each["alt"]) for each in page.images()]

    def test_every_candidate_of_the_cut_off_search_and_the_one_published(self, full_report: Report, page: Page) -> None:
        assert page.row("conv5_block15_1_conv published") == [
            ["conv5_block15_1_conv published", "540,000", "5 of 8", "0.893", "0.250"]
        ]
        assert page.row("conv5_block14_1_conv")[0][3] == "0.881"
        assert page.row("conv5_block16_2_conv")[-1][1] == "299,393"
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "3 cut-offs from the input on; the best is conv5_block15_1_conv with 0.893" in descriptions

    @pytest.mark.parametrize("rows", [0, 1])
    def test_without_a_search_there_is_no_table_of_it(self, full_report: Report, rows: int) -> None:
        report = replace(full_report, cut_off_search=full_report.cut_off_search[:rows])
        assert "Cut-off search" not in Page(render_report(report)).text

    def test_pretrained_beside_random_weights(self, full_report: Report, page: Page) -> None:
        assert page.row("ImageNet")[0][1] == "0.871 0.832 to 0.904"
        assert page.row("random")[0][1] == "0.742 0.690 to 0.790"
        without = Page(render_report(replace(full_report, random_baseline=None)))
        assert not without.row("ImageNet")

    def test_counts_and_exclusions(self, full_report: Report) -> None:
        counts = [SplitCount("train", 86524, 25000, {"Mass": 4034}), SplitCount("test", 25596, 2797, {})]
        exclusions = [Exclusion("zero bytes", 12, [f"{i}.png" for i in range(12)]), Exclusion("RGBA", 1, ["x.png"])]
        shown = Page(render_report(replace(full_report, data_counts=counts, exclusions=exclusions)))
        assert shown.row("Images") == [["Images", "86,524", "25,596"]]
        assert shown.row("Patients") == [["Patients", "25,000", "2,797"]]
        assert shown.row("Mass")[-1] == ["Mass", "4,034", "0"]
        zero_bytes = shown.row("zero bytes")[0]
        assert zero_bytes[1] == "12"
        assert zero_bytes[2].startswith("0.png , 1.png")
        assert zero_bytes[2].endswith("9.png …")
        assert shown.row("RGBA") == [["RGBA", "1", "x.png"]]

    def test_settings_and_lineage(self, page: Page) -> None:
        assert page.row("learning_rate") == [["learning_rate", "0.0001"]]
        assert page.row("parent") == [["parent", "none"]]

    def test_notes_stand_in_the_verdict(self, page: Page) -> None:
        verdict_section = page.text.split("Verdict")[1].split("Both strategies")[0]
        assert "11 images are in the table twice" in verdict_section
        assert "not in the mean: Hernia" in verdict_section

    def test_a_published_strategy_without_metrics_is_refused(self, full_report: Report) -> None:
        with pytest.raises(ValueError, match="published must name a strategy with test metrics, got 'other'"):
            render_report(replace(full_report, published="other"))


class TestReadsWell:
    def test_not_for_diagnosis_stands_at_both_ends(self, page: Page) -> None:
        first, last = page.text.index("Not for diagnosis"), page.text.rindex("Not for diagnosis")
        assert first < page.text.index("Verdict")
        assert last > page.text.index("How to read the numbers")

    def test_headings_descend_without_gaps(self, page: Page) -> None:
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_language_and_alternative_texts(self, page: Page) -> None:
        assert ("html", {"lang": "en"}) in page.tags
        assert all(attributes.get("alt") for attributes in page.images())

    def test_strings_from_the_data_are_text(self, build_report: BuildReport) -> None:
        report = replace(
            build_report([HOSTILE, "Mass"]),
            title=HOSTILE,
            run_id=HOSTILE,
            exclusions=[Exclusion(HOSTILE, 1, [HOSTILE])],
            settings={HOSTILE: HOSTILE},
            lineage={HOSTILE: [HOSTILE]},
            notes=[HOSTILE],
        )
        shown = Page(render_report(report))
        assert "script" not in {tag for tag, _ in shown.tags}
        assert shown.text.count(HOSTILE) >= 12
        assert shown.row(HOSTILE)[0][1].startswith("0.")
