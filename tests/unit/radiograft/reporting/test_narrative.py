"""Headline and cautions of the report, pinned word for word."""

from __future__ import annotations

import pandas as pd

from radiograft.metrics.multiclass import ExclusiveClasses
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.result_types import SplitMetrics
from radiograft.reporting import html
from tests.helpers.samples import class_frame

SCORES = (0.1, 0.4, 0.35, 0.8)


def metrics(truths: dict[str, list[float]], threshold: float, **mean: object) -> SplitMetrics:
    columns: dict[str, object] = {"image_id": list("wxyz"), "patient_id": list("abcd")}
    for name, truth in truths.items():
        columns |= {f"label:{name}": truth, f"score:{name}": SCORES}
    names = list(truths)
    result = evaluate_predictions(pd.DataFrame(columns), names, dict.fromkeys(names, threshold), 0, 0)
    result["mean"] |= mean  # type: ignore[typeddict-item]
    return result


def test_headline_one_label() -> None:
    test = metrics({"Mass": [0, 0, 1, 1]}, 0.7, auroc={"value": 0.75, "low": 0.5001, "high": 0.9})
    assert html.headline("fine_tuning", test) == (
        "Fine-tuning detects Mass with an AUROC of 0.750 (95% CI 0.500 to 0.900) on 4 test images from 4 patients. "
        "Its accuracy is 0.750; the majority-class baseline is 0.500."
    )
    assert html.cautions(test) == []


def test_headline_accuracy_at_baseline() -> None:
    test = metrics({"Mass": [0, 0, 1, 1]}, 0.375)
    assert html.headline("feature_extraction", test) == (
        "Feature extraction detects Mass with an AUROC of 0.750 (too few patients for a confidence interval) on 4 test "
        "images from 4 patients. Its accuracy of 0.500 does not exceed the majority-class baseline of 0.500."
    )


def test_headline_several_labels() -> None:
    test = metrics({"Mass": [0, 0, 1, 1], "Edema": [0, 0, 0, 1], "Hernia": [0, 0, 0, 0]}, 0.7)
    assert html.headline("fine_tuning", test).startswith(
        "Fine-tuning reaches a mean AUROC of 0.875 (too few patients for a confidence interval) over 2 of 3 labels on "
    )
    sentence = (
        "Not estimable and excluded from the mean, because validation or test has too few patients with or without the "
        "label: Hernia."
    )
    assert html.cautions(test) == [sentence]


def test_headline_nothing_estimable() -> None:
    test = metrics({"Mass": [0, 0, 0, 0]}, 0.5)
    assert html.headline("fine_tuning", test) == (
        "Fine-tuning has no estimable AUROC on the 4 test images from 4 patients: no label has enough patients of both "
        "classes in validation and test. Its accuracy of 0.750 does not exceed the majority-class baseline of 1.000."
    )


def test_cautions_accuracy_interval_includes_baseline() -> None:
    for low, warned in ((0.25, True), (0.5, True), (0.5001, False)):
        test = metrics({"Mass": [0, 0, 1, 1]}, 0.7, accuracy={"value": 0.75, "low": low, "high": 1.0})
        sentence = (
            f"The confidence interval of the accuracy ({low:.3f} to 1.000) includes the majority-class baseline of "
            "0.500: the advantage over the baseline may be due to chance."
        )
        assert html.cautions(test) == [sentence] * warned
    below = metrics({"Mass": [0, 0, 1, 1]}, 0.7, accuracy={"value": 0.5, "low": 0.25, "high": 0.75})
    assert html.cautions(below) == []  # stated in the headline


def test_cautions_auroc_interval_includes_chance() -> None:
    test = metrics({"Mass": [0, 0, 1, 1]}, 0.5, auroc={"value": 0.75, "low": 0.5, "high": 0.9})
    assert html.cautions(test) == [
        "The confidence interval of the AUROC includes 0.5: the result may be due to chance."
    ]


def exclusive(truth: list[int]) -> SplitMetrics:
    """Returns metrics of three classes; the predictions are nv, nv, mel and bcc."""
    scores = [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]]
    names = ("nv", "mel", "bcc")
    return evaluate_predictions(class_frame(names, truth, scores), names, {}, 0, 0, 1, ExclusiveClasses("nv"))


def test_headline_exclusive_classes() -> None:
    too_few = "(too few patients for a confidence interval)"
    assert html.headline("fine_tuning", exclusive([0, 1, 1, 2])) == (
        f"Fine-tuning predicts the class of 4 test images from 4 patients with an accuracy of 0.750 {too_few}. Always "
        f"predicting nv, the most frequent of 3 classes in training, has 0.250 {too_few}. The balanced accuracy is "
        f"0.833 {too_few}. The mean AUROC of one class against the rest is 0.958 {too_few} over 3 of 3 classes."
    )
    assert html.cautions(exclusive([0, 1, 1, 2])) == []


def test_headline_exclusive_classes_without_estimable_class() -> None:
    assert html.headline("fine_tuning", exclusive([0, 0, 0, 0])).endswith("No class has enough patients for an AUROC.")


def test_cautions_exclusive_classes_at_baseline() -> None:
    below, missing = html.cautions(exclusive([0, 0, 0, 2]))
    assert below == "The accuracy does not exceed the majority-class baseline."
    assert missing.endswith("validation or test has too few patients with or without the label: mel.")
