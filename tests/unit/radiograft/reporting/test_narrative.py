"""The report's first sentence, word for word."""

from __future__ import annotations

import pandas as pd

from radiograft.metrics.multilabel import SplitMetrics, evaluate_predictions
from radiograft.reporting import narrative

SCORES = (0.1, 0.4, 0.35, 0.8)


def metrics(truths: dict[str, list[float]], threshold: float, **mean: object) -> SplitMetrics:
    columns: dict[str, object] = {"image_id": list("wxyz"), "patient_id": list("abcd")}
    for name, truth in truths.items():
        columns |= {f"label:{name}": truth, f"score:{name}": SCORES}
    names = list(truths)
    got = evaluate_predictions(pd.DataFrame(columns), names, dict.fromkeys(names, threshold), 0, 0)
    got["mean"] |= mean  # type: ignore[typeddict-item]
    return got


def test_one_label() -> None:
    test = metrics({"Mass": [0, 0, 1, 1]}, 0.7, auroc={"value": 0.75, "low": 0.5001, "high": 0.9})
    assert narrative.headline("fine_tuning", test) == (
        "Fine-tuning separates images with and without Mass at an AUROC of 0.750 (95 % interval 0.500 to "
        "0.900) on 4 test images of 4 patients; its accuracy is 0.750, where always giving the more "
        "frequent answer reaches 0.500."
    )
    assert narrative.cautions(test) == []


def test_accuracy_no_better_than_the_more_frequent_answer() -> None:
    test = metrics({"Mass": [0, 0, 1, 1]}, 0.375)
    assert narrative.headline("feature_extraction", test) == (
        "Feature extraction separates images with and without Mass at an AUROC of 0.750 (too few patients "
        "for an interval) on 4 test images of 4 patients; its accuracy of 0.500 is no better than the "
        "0.500 of always giving the more frequent answer."
    )


def test_several_labels() -> None:
    test = metrics({"Mass": [0, 0, 1, 1], "Edema": [0, 0, 0, 1], "Hernia": [0, 0, 0, 0]}, 0.7)
    assert narrative.headline("fine_tuning", test).startswith(
        "Fine-tuning reaches, over 2 of 3 labels, a mean AUROC of 0.875 "
    )
    assert narrative.cautions(test) == [
        "Not estimable, for want of patients with or without it in validation or test, and not in the mean: Hernia."
    ]


def test_nothing_estimable() -> None:
    test = metrics({"Mass": [0, 0, 0, 0]}, 0.5)
    assert narrative.headline("fine_tuning", test) == (
        "Fine-tuning has no AUROC that could be estimated on the 4 test images of 4 patients: no label has enough "
        "of both classes there and in validation; its accuracy of 0.750 is no better than the 1.000 of always giving "
        "the more frequent answer."
    )


def test_an_accuracy_whose_lead_may_be_chance() -> None:
    for low, told in ((0.25, True), (0.5, True), (0.5001, False)):
        test = metrics({"Mass": [0, 0, 1, 1]}, 0.7, accuracy={"value": 0.75, "low": low, "high": 1.0})
        sentence = (
            f"The interval of the accuracy, {low:.3f} to 1.000, reaches the 0.500 of always giving the more frequent "
            "answer: chance alone could explain its lead."
        )
        assert narrative.cautions(test) == [sentence] * told
    behind = metrics({"Mass": [0, 0, 1, 1]}, 0.7, accuracy={"value": 0.5, "low": 0.25, "high": 0.75})
    assert narrative.cautions(behind) == []  # which the headline tells


def test_an_interval_that_reaches_chance() -> None:
    test = metrics({"Mass": [0, 0, 1, 1]}, 0.5, auroc={"value": 0.75, "low": 0.5, "high": 0.9})
    assert narrative.cautions(test) == ["The interval of the AUROC reaches 0.5: chance alone could explain the result."]
