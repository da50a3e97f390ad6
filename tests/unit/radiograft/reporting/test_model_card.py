"""Model card: headings only for non-empty sections, metrics with intervals, escaped untrusted text."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from radiograft.metrics.class_decisions import ExclusiveClasses
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.models.spec import ModelSpec
from radiograft.reporting import model_card
from tests.helpers.publish_inputs import METRICS, SPEC
from tests.helpers.samples import class_frame

LINEAGE: dict[str, Any] = {
    "run_id": "run-1",
    "created": "2026-11-23T08:59:23+00:00",
    "parent": 2,
    "image": None,
    "code": {"version": "0.1.0", "commit": "c0ffee"},
    "packages": {"keras": "3.15.1"},
    **METRICS["lineage"],
}


def _card(spec: ModelSpec = SPEC, lineage: dict[str, Any] = LINEAGE, **metrics: Any) -> str:
    return model_card.render_model_card("chest", METRICS | metrics, spec, lineage)


def _headings(card: str) -> list[str]:
    return re.findall(r"^## (.*)$", card, re.MULTILINE)


def test_model_card_headings() -> None:
    assert _headings(_card()) == [
        "Model details",
        "Intended use",
        "Data",
        "Training",
        "Results on test, with 95% confidence intervals [29, 35, 36]",
        "Promotion decision",
        "Caveats [38]",
    ]


def test_model_card_metrics_have_intervals_and_counts() -> None:
    card = _card()
    row = "| Pneumonia | 12 of 40 | 0.800 (0.700 to 0.850) | 0.700 (0.600 to 0.750) | 0.900 (0.800 to 0.950) | "
    assert row + "0.600 (0.500 to 0.650) | 0.7500 |" in card
    assert "40 images from 30 patients." in card
    assert "| train | 1,200 | 900 | 300 |" in card
    assert "- Excluded [8, 33]: 2 empty file\n" in card
    assert "- Software [23]: radiograft 0.1.0 (commit c0ffee), keras 3.15.1\n" in card
    assert "- Production version at the time: version 2\n" in card


def test_model_card_not_estimable_has_no_number() -> None:
    not_estimable = {"value": None, "low": None, "high": None}
    measured = METRICS["metrics"]["fine_tuning"]["test"]
    label = measured["labels"]["Pneumonia"] | {"auroc": not_estimable, "threshold": None}
    test = measured | {"labels": {"Pneumonia": label}}
    row = next(line for line in _card(metrics={"fine_tuning": {"test": test}}).splitlines() if "| 12 of 40 |" in line)
    assert row.startswith("| Pneumonia | 12 of 40 | not estimable | 0.700 ")
    assert row.endswith(" | - |")


def test_model_card_unknown_facts_are_omitted() -> None:
    data = METRICS["data"] | {"notes": [], "excluded": [], "converted": {}}
    lineage = LINEAGE | {"parent": None, "code": {"version": "0.1.0", "commit": None}}
    card = _card(lineage=lineage, data=data)
    assert "Caveats [38]" not in _headings(card)
    for words in ("Excluded", "Converted", "Container image:", "Production version", "commit", "None"):
        assert words not in card


def _group(**changed: Any) -> dict[str, Any]:
    contrast = {
        "group": {"value": 0.7, "low": 0.6, "high": 0.8},
        "difference": {"value": -0.05, "low": -0.2, "high": 0.1},
    }
    return {
        "variable": "sex",
        "group": "F",
        "n_images": 20,
        "n_patients": 15,
        "mean": {"auroc": contrast},
    } | changed


def test_model_card_lists_subgroups_and_shortcuts() -> None:
    not_compared = _group(group="M", mean={})
    warning = "View alone predicts nearly as well as the model, or better: Mass on validation with an AUROC of 0.83"
    card = _card(subgroups=[_group(), not_compared], judged_on="test", warnings=[warning])
    assert "## Factors [30, 34]\n\nMeasured on test.\n" in card
    assert "| sex: F | 20 (15) | 0.700 (0.600 to 0.800) | -0.050 (-0.200 to 0.100) |" in card
    assert "sex: M" not in card
    assert f"- each image counts as a patient\n- {warning}\n" in card


def test_model_card_validation_subgroups_are_marked_optimistic() -> None:
    card = _card(subgroups=[_group()], judged_on="validation")
    sentence = "Epoch and thresholds were selected on these images, so these results are optimistic."
    assert f"Measured on validation. {sentence}\n" in card


def test_model_card_shows_selected_epoch() -> None:
    """Fails if a model that no epoch improved appears as fine-tuned."""
    assert "- Selected epoch [26]: 3\n" in _card()
    untrained = _card(kept_epochs={"feature_extraction": 5, "fine_tuning": 0})
    assert "- Selected epoch [26]: 0 (the weights before fine-tuning)\n" in untrained


def test_model_card_not_promoted_lists_reasons() -> None:
    card = _card(gate={"promote": False, "reasons": ["worse on Mass", "and on Nodule"], "champion": 2})
    assert "Not promoted:\n\n- worse on Mass\n- and on Nodule\n" in card


def _text(markdown: str) -> tuple[str, set[str]]:
    """Returns the visible text and the types of its inline elements."""
    inline = [child for token in MarkdownIt().parse(markdown) for child in token.children or []]
    return "".join(child.content for child in inline), {child.type for child in inline}


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.sampled_from(" <>&|*_`[]()!#~\\")))
def test_plain_text_renders_literally(text: str) -> None:
    visible, kinds = _text(f"Label: {model_card.plain_text(text)}")
    assert visible == f"Label: {' '.join(text.split())}".strip()
    assert kinds <= {"text", "text_special"}


def test_model_card_names_the_network_that_enlarged_the_images() -> None:
    enlarged_by = {"uri": "/registry/super-resolution/3", "scale": 2, "sha256": "ab12"}
    text, _ = _text(_card(data={**METRICS["data"], "image_enlarged_by": enlarged_by}))
    assert "images were enlarged by a network, 2 times: their detail is an estimate" in text
    assert "/registry/super-resolution/3, manifest ab12" in text
    assert "enlarged" not in _text(_card())[0]


def test_model_card_hostile_label_stays_in_its_cell() -> None:
    measured = METRICS["metrics"]["fine_tuning"]["test"]
    label = "Mass | <script>alert(1)</script>\n# heading"
    card = _card(metrics={"fine_tuning": {"test": measured | {"labels": {label: measured["labels"]["Pneumonia"]}}}})
    html = MarkdownIt().enable("table").render(card)
    assert "<td>Mass | &lt;script&gt;alert(1)&lt;/script&gt; # heading</td>" in html
    assert "<script>" not in html


def test_model_card_of_exclusive_classes_shows_baselines_and_confusion_matrix() -> None:
    names, scores = ("nv", "mel"), [[0.9, 0.1], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6]]
    frame = class_frame(names, [0, 0, 1, 1], scores)
    test = evaluate_predictions(frame, names, {}, 0, 0, 1, ExclusiveClasses("mel"))
    card = _card(metrics={"fine_tuning": {"test": test}})
    assert "4 images from 4 patients. The class with the highest score is predicted;" in card
    assert "| Accuracy | 0.750 | 0.500: always mel, the most frequent class in training |" in card
    assert "| Balanced accuracy | 0.750 | 0.500: always one class |" in card
    assert "| true class | predicted nv | predicted mel |\n|---|---|---|\n| nv | 2 | 0 |\n| mel | 1 | 1 |" in card
    assert "kappa" not in card
