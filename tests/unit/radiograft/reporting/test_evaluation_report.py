"""The evaluation report: self-contained, complete, accessible, and with all text from the data escaped."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pytest

from radiograft.registry.training_types import ReducedCurvePoint
from radiograft.reporting.evaluation_report import Exclusion, Report, SplitCount, render_report
from radiograft.reporting.html import ReportSection
from radiograft.reporting.plots import best_layers, training_svg
from tests.helpers.report_page import Page
from tests.helpers.stages import Evaluated

BuildReport = Callable[[Sequence[str]], Report]
HOSTILE = "<script>alert(1)</script>"
IMAGE = "data:image/svg+xml;base64,"


@pytest.fixture(scope="module")
def page(full_report: Report) -> Page:
    return Page(render_report(full_report))


def report_sentences(html: str) -> list[str]:
    """Returns the sentences of five words and more in the paragraphs, list items, captions and definitions."""
    blocks = re.findall(
        r"<(p|li|dd|figcaption)\b[^>]*>(.*?)</\1>", re.sub(r"<nav.*?</nav>", "", html, flags=re.S), re.S
    )
    texts = [" ".join(re.sub("<[^>]+>", " ", text).split()) for _, text in blocks]
    sentences = [sentence for text in texts for sentence in re.split(r"(?<=[.!?;]) ", text)]
    return [sentence for sentence in sentences if len(sentence.split()) >= 5]


def plots(page: Page) -> list[str]:
    sources = [attributes["src"] or "" for attributes in page.images()]
    return [base64.b64decode(source.removeprefix(IMAGE)).decode() for source in sources if source.startswith(IMAGE)]


class TestSelfContained:
    def test_report_loads_no_external_resource(self, full_report: Report, page: Page) -> None:
        references = [
            value
            for _, attributes in page.tags
            for name, value in attributes.items()
            if name in {"src", "srcset", "href", "data", "action", "poster", "background"}
        ]
        images = [value for value in references if not (value or "").startswith("#")]
        assert len(images) == 13 + 4 + 1 + 1 + 1
        assert all(value and value.startswith("data:image/") for value in images)
        assert not re.search(r"https?://|@import|url\(", render_report(full_report))

    def test_report_runs_no_script(self, page: Page) -> None:
        tags = {tag for tag, _ in page.tags}
        assert tags.isdisjoint({"script", "iframe", "object", "embed", "link", "base", "form"})
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]

    def test_plots_load_and_run_nothing(self, page: Page) -> None:
        assert len(plots(page)) == 13 + 4 + 1 + 1
        for svg in plots(page):
            assert "<script" not in svg
            assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', svg))

    def test_render_report_is_deterministic(self, full_report: Report) -> None:
        assert render_report(full_report) == render_report(full_report)

    def test_report_oversized_contact_sheet_is_omitted_with_note(self, full_report: Report) -> None:
        html = render_report(replace(full_report, contact_sheet_png=bytes(5_000_000)))
        assert len(html) < 5_000_000
        assert "The contact sheet was omitted: 5.0 MB" in Page(html).text
        assert "data:image/png" not in html


class TestContent:
    def test_label_rows_show_metrics(self, full_report: Report) -> None:
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
                *("1,234 of 12,340", "5,000 1,001 positive", "0.750", "0.900"),
            ],
            [
                *("Mass", "0.375", "0.625 0.500 to 0.750", "1.000 1.000 to 1.000"),
                *("0.667 0.600 to 0.700", "0.971", "–"),
            ],
            ["Mass", "44", "33", "22", "1,111"],
        ]

    def test_label_of_one_class_is_not_estimable(self, page: Page) -> None:
        assert page.row("Hernia")[0][1] == "not estimable"
        assert page.row("Hernia")[1][1:4] == ["–", "–", "–"]

    def test_strategies_are_shown_on_both_splits(self, full_report: Report, page: Page) -> None:
        rows = [*page.row("Feature extraction"), *page.row("Fine-tuning published")]
        assert [row[1] for row in rows] == ["validation", "test", "validation", "test"]
        auroc = full_report.metrics["fine_tuning"]["test"]["mean"]["auroc"]
        assert rows[3][2] == f"{auroc['value']:.3f} {auroc['low']:.3f} to {auroc['high']:.3f}"

    def test_training_curves_are_described(self, page: Page) -> None:
        for caption in (
            "Feature extraction: accuracy",
            "Feature extraction: loss",
            "Fine-tuning: accuracy",
            "Fine-tuning: loss",
        ):
            assert caption in page.text
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        # After e epochs the loss is 0.2 + 0.5 / e.
        assert "Loss over 8 epochs; selected epoch 4: 0.325 in training, 0.405 in validation" in descriptions
        assert "Loss over 8 epochs; selected epoch 8: 0.263 in training, 0.343 in validation" in descriptions

    def test_training_section_shows_selected_epochs(self, full_report: Report, page: Page) -> None:
        assert (
            "Training Selected epochs: feature extraction, epoch 4 of 8; fine-tuning, epoch 8 of 8. Accuracy is"
            in page.text
        )
        assert "at a score of 0.5, not at the operating point" in page.text
        assert "the training loss includes the L2 penalty; validation includes neither" in page.text
        untrained = {"feature_extraction": 4, "fine_tuning": 0}
        page = Page(render_report(replace(full_report, kept_epochs=untrained)))
        assert "fine-tuning, none of 8 (the weights before training were kept). Accuracy is" in page.text
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "Loss over 8 epochs; the weights before training were kept" in descriptions

    def test_validation_results_are_marked_optimistic(self, full_report: Report, page: Page) -> None:
        assert "were selected on validation, so the validation results are optimistic" in page.text
        assert "The epochs were selected on these images, so both results are optimistic." in page.text
        assert full_report.random_baseline is not None
        elsewhere = replace(full_report, random_baseline={**full_report.random_baseline, "split": "test"})
        assert "both results are optimistic" not in Page(render_report(elsewhere)).text

    def test_means_state_their_labels(self, page: Page) -> None:
        assert "means over the estimable labels, accuracy over all labels with a threshold," in page.text

    def test_cut_off_curve_shows_best_layers(self, full_report: Report, page: Page) -> None:
        assert page.row("conv5_block2_concat")[0][:3] == ["conv5_block2_concat", "576", "0.800 0.600 to 0.900"]
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "3 layers from input to output; the best is conv5_block2_concat with 0.800" in descriptions
        assert "Cut-off curve" not in Page(render_report(replace(full_report, cut_off_curve=[]))).text

    def test_cut_off_curve_with_reductions_shows_second_curve_and_table(self, full_report: Report, page: Page) -> None:
        reduced = [
            ReducedCurvePoint(
                layer=point["layer"],
                method=method,
                components=components,
                penalty=0.1,
                auroc={"value": 0.61, "low": 0.5, "high": 0.7},
            )
            for point in full_report.cut_off_curve
            for method, components in (("pca", 64), ("lda", 14))
        ]
        shown = Page(render_report(replace(full_report, reduced_curve=reduced)))
        expected = ["576", "0.800 0.600 to 0.900", "64", "0.610 0.500 to 0.700", "14", "0.610 0.500 to 0.700"]
        assert ["conv5_block2_concat", *expected] in shown.row("conv5_block2_concat")
        assert "Reduced features of 3 layers" in shown.text
        (curve_svg,) = [svg for svg in plots(shown) if "layer (from input to output)" in svg]
        assert all(f">{name}<" in curve_svg for name in ("all channels", "PCA", "LDA"))
        assert "Reduced features" not in page.text

    def test_cut_off_curve_tied_layers_prefers_deepest(self, full_report: Report) -> None:
        """Fails if text or marker shows another layer than model_feature_layer=auto selects."""
        curve = full_report.cut_off_curve
        even = [{**point, "auroc": {**point["auroc"], "value": 0.7}} for point in curve]
        assert [point["layer"] for point in best_layers(even)] == ["relu", "conv5_block2_concat", "pool4_pool"]  # type: ignore[arg-type]
        page = Page(render_report(replace(full_report, cut_off_curve=even)))  # type: ignore[arg-type]
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "3 layers from input to output; the best is relu with 0.700" in descriptions
        (curve_svg,) = [svg for svg in plots(page) if "layer (from input to output)" in svg]
        assert [point["layer"] for point in curve if f">{point['layer']}<" in curve_svg] == ["relu"]

    def test_cut_off_curve_not_estimable_is_stated(self, full_report: Report) -> None:
        """Fails if such a curve aborts the evaluation after all training, or is omitted silently."""
        not_estimable = {"value": None, "low": None, "high": None}
        curve = [{**point, "auroc": not_estimable} for point in full_report.cut_off_curve]
        page = Page(render_report(replace(full_report, cut_off_curve=curve)))  # type: ignore[arg-type]
        assert "Cut-off curve: Not available" in page.text
        one_layer = [*curve[:2], full_report.cut_off_curve[2]]
        page = Page(render_report(replace(full_report, cut_off_curve=one_layer)))  # type: ignore[arg-type]
        assert "3 layers from input to output; the best is relu with 0.750" in [
            str(image["alt"]) for image in page.images()
        ]

    def test_cut_off_search_shows_all_trials(self, full_report: Report, page: Page) -> None:
        assert page.row("conv5_block15_1_conv published") == [
            ["conv5_block15_1_conv published", "540,000", "5 of 8", "0.893", "0.250"]
        ]
        assert page.row("conv5_block14_1_conv")[0][3] == "0.881"
        assert page.row("conv5_block16_2_conv")[-1][1] == "299,393"
        descriptions = [str(attributes["alt"]) for attributes in page.images()]
        assert "3 cut-offs from input to output; the best is conv5_block15_1_conv with 0.893" in descriptions

    @pytest.mark.parametrize("rows", [0, 1])
    def test_cut_off_search_fewer_than_two_trials_is_omitted(self, full_report: Report, rows: int) -> None:
        report = replace(full_report, cut_off_search=full_report.cut_off_search[:rows])
        assert "Cut-off search" not in Page(render_report(report)).text

    def test_random_baseline_is_shown(self, full_report: Report, page: Page) -> None:
        assert page.row("ImageNet")[0][1] == "0.871 0.832 to 0.904"
        assert page.row("Random")[0][1] == "0.742 0.690 to 0.790"
        without = Page(render_report(replace(full_report, random_baseline=None)))
        assert not without.row("ImageNet")

    def test_data_section_shows_counts_and_exclusions(self, full_report: Report) -> None:
        mass = {"positives": 4034, "negatives": 82_480, "unknown": 10, "positive_patients": 2001}
        pixels = {"min": 65_536, "median": 1_048_576, "max": 4_194_304}
        counts = [SplitCount("train", 86524, 25000, {"Mass": mass}, pixels), SplitCount("test", 25596, 2797, {})]
        exclusions = [Exclusion("zero bytes", 12, [f"{i}.png" for i in range(12)]), Exclusion("RGBA", 1, ["x.png"])]
        shown = Page(render_report(replace(full_report, data_counts=counts, exclusions=exclusions)))
        assert shown.row("Images") == [["Images", "86,524", "25,596"]]
        assert shown.row("Patients") == [["Patients", "25,000", "2,797"]]
        assert shown.row("Mass")[-1] == [
            "Mass",
            "4,034 positive 82,480 negative, 10 unknown 2,001 positive patients",
            "–",
        ]
        assert shown.row("Pixels of a file median, minimum to maximum")[0][1:] == ["1,048,576 65,536 to 4,194,304", "–"]
        zero_bytes = shown.row("zero bytes")[0]
        assert zero_bytes[1] == "12"
        assert zero_bytes[2].startswith("0.png , 1.png")
        assert zero_bytes[2].endswith("9.png …")
        assert shown.row("RGBA") == [["RGBA", "1", "x.png"]]

    def test_provenance_shows_settings_and_lineage(self, page: Page) -> None:
        assert "learning_rate 0.0001" in page.text
        assert "parent none" in page.text

    def test_summary_shows_notes(self, page: Page) -> None:
        summary = page.text.split(" Summary ")[2].split("Comparison of strategies")[0]
        assert "11 images occur twice in the table" in summary
        assert "with or without the label: Hernia" in summary

    def test_render_report_published_strategy_without_metrics_raises(self, full_report: Report) -> None:
        with pytest.raises(ValueError, match=r"published must be a strategy with test metrics, .* got 'other'"):
            render_report(replace(full_report, published="other"))


class TestReadability:
    def test_contents_link_to_all_sections(self, full_report: Report) -> None:
        html = render_report(full_report)
        titles = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', html)
        assert re.findall(r'<li><a href="#([^"]+)">(.*?)</a></li>', html) == titles
        assert [title for _, title in titles][:3] == ["Summary", "Comparison of strategies", "Results by label"]
        assert len({anchor for anchor, _ in titles}) == len(titles) == html.count("<h2")

    def test_notes_are_sentences_and_not_repeated(self, full_report: Report) -> None:
        notes = ["the images are synthetic", "The images are synthetic."]
        text = Page(render_report(replace(full_report, notes=notes))).text
        assert text.count("The images are synthetic.") == 1
        assert "the images are synthetic" not in text

    def test_no_sentence_occurs_twice(self, evaluation: Evaluated) -> None:
        sentences = Counter(report_sentences(evaluation.report.read_text()))
        assert len(sentences) > 50
        assert [sentence for sentence, count in sentences.items() if count > 1] == []

    def test_sections_without_content_are_one_line(self, full_report: Report) -> None:
        """Fails if a heading stands above nothing."""
        empty = [
            ReportSection("subgroups.html.j2", {"groups": []}),
            ReportSection("shortcuts.html.j2", {"found": []}),
            ReportSection("calibration.html.j2", {"labels": {}}),
            ReportSection("gate.html.j2", {"labels": {}}),
        ]
        html = render_report(replace(full_report, sections=empty, exclusions=[]))
        for title in (
            *("Subgroup analysis", "Shortcut analysis", "Calibration", "Comparison with the production model"),
            "Excluded",
        ):
            assert f'<p class="folded"><strong>{title}:</strong>' in html
            assert not re.search(rf"<h[23][^>]*>{title}<", html)

    def test_disclaimer_is_at_top_and_bottom(self, page: Page) -> None:
        first, last = page.text.index("Not for diagnosis"), page.text.rindex("Not for diagnosis")
        assert first < page.text.index("Summary")
        assert last > page.text.index("Definitions")

    def test_heading_levels_have_no_gaps(self, page: Page) -> None:
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))

    def test_language_and_alternative_texts_are_set(self, page: Page) -> None:
        assert ("html", {"lang": "en"}) in page.tags
        assert all(attributes.get("alt") for attributes in page.images())

    def test_hostile_text_is_escaped(self, build_report: BuildReport) -> None:
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


@pytest.mark.parametrize(("epochs", "ticks"), [(1, ["1"]), (2, ["1", "2"]), (8, ["2", "4", "6", "8"])])
def test_training_plot_has_whole_epochs(epochs: int, ticks: list[str]) -> None:
    """Fails if the axis of a single epoch reads 0.95 to 1.05."""
    history = [{"epoch": epoch + 1.0, "loss": 0.5, "val_loss": 0.25} for epoch in range(epochs)]
    assert re.findall(r">([0-9.]+)<", training_svg(history, "loss"))[: len(ticks)] == ticks
