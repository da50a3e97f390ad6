"""The promotion gate on generated predictions: minimum AUROC, margin, required labels, and invariants."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from radiograft.config.evaluation import parse_min_auroc
from radiograft.evaluation.promotion_gate import (
    Champion,
    GatePolicy,
    compare_by_delong,
    decide_promotion,
    explain_decision,
)
from radiograft.metrics.multilabel import evaluate_label
from radiograft.registry.result_types import GateDecision
from tests.helpers.samples import each_its_own_patient, frame, noisy_scores, scored_images

SAMPLES = 200


def predictions(gain: float, seed: int = 0, images: int = 600, **more: float) -> pd.DataFrame:
    """Returns predictions, two images per patient, for Mass and the labels in `more`; AUROCs rise with the gains."""
    generator = np.random.default_rng(99)
    patients = [f"p{number // 2:04d}" for number in range(images)]
    labels = {}
    for label, label_gain in {"Mass": gain, **more}.items():
        truth = (generator.random(images) < 0.3).astype(float)
        noise = np.random.default_rng(seed).normal(size=images)
        labels[label] = (truth.tolist(), (1 / (1 + np.exp(-(label_gain * truth - 1 + noise)))).tolist())
    return frame(patients, **labels)


def decide(
    challenger: pd.DataFrame,
    champion: Champion | pd.DataFrame | None,
    margin: float = 0.02,
    floors: str = "0.5",
    estimable: tuple[str, ...] | None = None,
) -> GateDecision:
    """Decides on the labels of the challenger's predictions; by default all of them are estimable."""
    labels = tuple(name.removeprefix("label:") for name in challenger if name.startswith("label:"))
    if isinstance(champion, pd.DataFrame):
        champion = Champion(7, champion)
    policy = GatePolicy(margin, parse_min_auroc(floors, labels), min_patients=5)
    return decide_promotion(challenger, champion, labels if estimable is None else estimable, policy, SAMPLES, seed=0)


def test_gate_first_model_needs_only_minimum_auroc() -> None:
    decision = decide(predictions(1.5), None, floors="0.8")
    assert decision["promote"]
    assert (decision["champion"], decision["delong"]) == (None, {})
    assert decision["labels"]["Mass"]["champion"] is None
    assert decision["labels"]["Mass"]["difference"] is None
    area = decision["labels"]["Mass"]["challenger"]
    reason = (
        f"the 95% interval of the AUROC for Mass must lie above 0.8, and is {area['low']:.3f} to {area['high']:.3f}"
    )
    assert decision["reasons"] == [reason, "no version is in production yet"]
    assert explain_decision(decision) == f"Approved for promotion: {reason}; no version is in production yet."


def test_gate_random_scores_are_rejected() -> None:
    decision = decide(predictions(0.0), None)
    assert not decision["promote"]
    (reason,) = decision["reasons"]
    assert reason.startswith("the 95% interval of the AUROC for Mass must lie above 0.5, and is 0.4")
    assert explain_decision(decision) == f"Not promoted: {reason}."


def test_gate_constant_scores_are_rejected() -> None:
    same = predictions(1.0).assign(**{"score:Mass": 0.5})
    decision = decide(same, None)
    estimate = decision["labels"]["Mass"]["challenger"]
    assert (estimate["value"], estimate["method"]) == (0.5, "Clopper-Pearson")
    assert estimate["low"] < 0.5 < estimate["high"]  # type: ignore[operator]
    (reason,) = decision["reasons"]
    assert reason == (
        f"the 95% interval of the AUROC for Mass must lie above 0.5, and is {estimate['low']:.3f} to "
        f"{estimate['high']:.3f}: a better model is needed"
    )


def test_gate_minimum_between_lower_bound_and_estimate_rejects() -> None:
    area = decide(predictions(1.0), None)["labels"]["Mass"]["challenger"]
    assert area["value"] is not None
    between = f"{area['value'] - 0.001:.6f}"
    decision = decide(predictions(1.0), None, floors=between)
    assert not decision["promote"]
    assert decision["reasons"][0].endswith("more test patients may narrow it")


@pytest.mark.parametrize(("challenger", "champion", "promoted"), [(1.5, 0.5, True), (0.5, 1.5, False)])
def test_gate_promotes_better_and_rejects_worse_model(challenger: float, champion: float, promoted: bool) -> None:
    decision = decide(predictions(challenger), predictions(champion))
    assert decision["promote"] is promoted
    difference = decision["labels"]["Mass"]["difference"]
    assert difference is not None
    truth = predictions(challenger)["label:Mass"]
    areas = [roc_auc_score(truth, predictions(gain)["score:Mass"]) for gain in (challenger, champion)]
    assert difference["value"] == pytest.approx(areas[0] - areas[1])
    assert (difference["low"] > 0) is promoted  # type: ignore[operator]
    assert decision["champion"] == 7
    start = "the 95% interval of the AUROC for Mass minus version 7's must not reach below -0.02, and is "
    assert [reason.startswith(start) for reason in decision["reasons"]] == ([False, True] if promoted else [True])
    assert decision["reasons"][-1].endswith("a better model is needed") is not promoted


def test_gate_inconclusive_difference_is_rejected() -> None:
    """Two equally good models with independent errors on few patients: the interval reaches below the margin."""
    decision = decide(predictions(1.5, seed=1, images=120), predictions(1.5, seed=2, images=120), margin=0.02)
    wide = decide(predictions(1.5, seed=1, images=120), predictions(1.5, seed=2, images=120), margin=0.5)
    difference = decision["labels"]["Mass"]["difference"]
    assert difference is not None
    assert difference["low"] < -0.02 < difference["value"]  # type: ignore[operator]
    assert not decision["promote"]
    assert decision["reasons"][-1].endswith("more test patients may narrow it")
    assert wide["promote"]


def test_gate_difference_uses_paired_resamples() -> None:
    """The errors of the models are correlated, so the paired interval must be much narrower than each model's."""
    decision = decide(predictions(1.0, seed=1), predictions(1.1, seed=1))["labels"]["Mass"]
    widths = {name: each["high"] - each["low"] for name, each in decision.items()}  # type: ignore[index]
    assert widths["difference"] < widths["challenger"] / 4


def test_compare_by_delong_zero_variance_has_exact_interval() -> None:
    """Fails if a variance of 0 with different AUROCs gives an interval of zero width."""
    patients, truth = ["a", "b", "c", "d"], [0.0, 0.0, 1.0, 1.0]
    models = [frame(patients, Mass=(truth, scores)) for scores in ([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1])]
    estimate = compare_by_delong(models, "Mass")
    assert (estimate["value"], estimate["high"], estimate["method"]) == (1, 1, "Newcombe")
    assert estimate["low"] == pytest.approx(1 - 2**0.5 * (1 - 0.025**0.5))


def test_gate_two_perfect_models_on_few_patients_are_not_known_to_be_equal() -> None:
    """Fails if a difference that no resample changes counts as certain: 20 patients cannot exclude a loss of 0.02."""
    truth = [0.0] * 10 + [1.0] * 10
    patients = each_its_own_patient(20)
    one, other = (
        frame(patients, Mass=(truth, scores))
        for scores in ([number / 40 for number in range(20)], [0.1] * 10 + [0.9] * 10)
    )
    decision = decide(one, other, margin=0.02)
    difference = decision["labels"]["Mass"]["difference"]
    assert difference is not None
    assert difference["value"] == 0.0
    assert difference["low"] == pytest.approx(0.025**0.1 - 1)
    assert not decision["promote"]
    assert decision["reasons"][-1].endswith("more test patients may narrow it")
    assert decide(one, one, margin=0.0)["promote"]


def test_gate_delong_agrees_with_bootstrap() -> None:
    models = predictions(1.5, seed=1), Champion(7, predictions(1.2, seed=2))
    decision = decide_promotion(
        *models, ["Mass"], GatePolicy(0.02, parse_min_auroc("0.5", ["Mass"]), min_patients=5), samples=2000, seed=0
    )
    difference, delong = decision["labels"]["Mass"]["difference"], decision["delong"]["Mass"]
    assert difference is not None
    assert delong["value"] == pytest.approx(difference["value"])
    for bound in ("low", "high"):
        assert delong[bound] == pytest.approx(difference[bound], abs=0.01)  # type: ignore[literal-required]


def test_gate_every_label_with_minimum_must_pass() -> None:
    better, worse = predictions(1.0, Edema=1.0), predictions(1.5, Edema=0.0)
    decision = decide(better, worse)
    assert not decision["promote"]
    (reason,) = decision["reasons"]
    assert reason.startswith("the 95% interval of the AUROC for Mass minus version 7's must not reach below -0.02")
    assert decide(better, worse, floors="Edema=0.5")["promote"]  # Mass has no minimum
    assert set(decide(better, worse, floors="Edema=0.5")["labels"]) == {"Mass", "Edema"}
    mean = decision["mean"]
    assert mean is not None
    labels = [decision["labels"][name]["challenger"]["value"] for name in ("Mass", "Edema")]
    assert mean["challenger"]["value"] == pytest.approx(np.mean(labels))


def test_gate_reason_describes_worst_label_and_names_others() -> None:
    passed = decide(predictions(2.0, Edema=1.0, Hernia=1.5), None)["reasons"][0]
    assert passed.startswith("the 95% interval of the AUROC for Edema must lie above 0.5, and is ")
    assert passed.endswith(" (also Hernia, Mass)")
    failed = decide(predictions(2.0, Edema=-0.5, Hernia=0.0), None)["reasons"]
    assert [reason.endswith(": a better model is needed (also Hernia)") for reason in failed] == [True]


def test_gate_label_not_estimable_is_skipped_unless_named() -> None:
    both = predictions(2.0, Edema=1.0)
    assert decide(both, None, estimable=("Mass",))["promote"]
    named = decide(both, None, floors="Mass=0.5,Edema=0.5", estimable=("Mass",))
    assert not named["promote"]
    (reason,) = named["reasons"]
    assert reason == (
        "Edema is not estimable: validation must have both classes, and test at least 5 patients with and 5 without "
        "the label"
    )


def test_gate_no_estimable_label_rejects() -> None:
    decision = decide(predictions(2.0, Edema=1.0), None, estimable=())
    assert not decision["promote"]
    (reason,) = decision["reasons"]
    assert reason.startswith("Mass, Edema are not estimable: validation must have both classes, and test at least 5 ")
    assert (decision["labels"], decision["mean"]) == ({}, None)


def test_gate_single_patient_has_no_interval_and_rejects() -> None:
    decision = decide(predictions(2.0).assign(patient_id="p1"), None)
    assert not decision["promote"]
    assert decision["reasons"] == ["the AUROC for Mass has no confidence interval: more test patients are needed"]


def test_gate_champion_not_comparable_rejects_with_all_reasons() -> None:
    decision = decide(predictions(0.0), Champion(3, None, "it is corrupt"))
    assert not decision["promote"]
    assert decision["champion"] == 3
    assert decision["reasons"][0] == "production version 3 could not be compared: it is corrupt"
    assert decision["reasons"][1].startswith("the 95% interval of the AUROC for Mass must lie above 0.5")
    assert not decide(predictions(2.0), Champion(3, None, "it is corrupt"))["promote"]


def test_gate_models_on_other_images_raises() -> None:
    with pytest.raises(ValueError, match="models must be compared on the same images"):
        decide(predictions(1.0), predictions(1.0)[::-1])


def test_gate_unknown_truth_is_ignored() -> None:
    whole = predictions(1.5)
    blank = whole.assign(**{"label:Mass": whole["label:Mass"].where(np.arange(len(whole)) % 2 == 0)})
    area = decide(blank, None)["labels"]["Mass"]["challenger"]["value"]
    assert area == pytest.approx(roc_auc_score(whole["label:Mass"][::2], whole["score:Mass"][::2]))


@settings(max_examples=40, deadline=None)
@given(images=scored_images(), margin=st.floats(0, 0.5))
def test_gate_model_is_not_inferior_to_itself(images: tuple[list[float], list[float]], margin: float) -> None:
    own = frame(each_its_own_patient(len(images[0])), Mass=images)
    against_itself, alone = (decide(own, champion, margin, floors="0") for champion in (own, None))
    assert against_itself["promote"] == alone["promote"]
    for decision in against_itself["labels"].values():
        assert decision["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "method": "identical"}


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    gains=st.tuples(st.floats(0, 2), st.floats(0, 2)),
    margins=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    floors=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
)
def test_gate_lenient_policy_promotes_whatever_strict_policy_promotes(
    seeds: tuple[int, int], gains: tuple[float, float], margins: tuple[float, float], floors: tuple[float, float]
) -> None:
    challenger, champion = (predictions(gain, seed, images=80) for gain, seed in zip(gains, seeds, strict=True))
    strict = decide(challenger, champion, min(margins), f"{max(floors):.9f}")
    lenient = decide(challenger, champion, max(margins), f"{min(floors):.9f}")
    assert strict["promote"] <= lenient["promote"]
    assert strict["labels"] == lenient["labels"]  # the policy does not affect the metrics


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_gate_swapped_models_negate_difference(seed: int) -> None:
    models = predictions(1.0, seed, images=80), predictions(1.3, seed + 1, images=80)
    one, other = decide(*models)["labels"]["Mass"], decide(*reversed(models))["labels"]["Mass"]
    assert one["challenger"] == other["champion"]
    assert one["difference"]["value"] == pytest.approx(-other["difference"]["value"])  # type: ignore[index,operator]
    assert one["difference"]["low"] == pytest.approx(-other["difference"]["high"])  # type: ignore[index,operator]


def test_gate_intervals_equal_those_of_report() -> None:
    truth, scores = noisy_scores(300)
    patients = [f"{number // 3}" for number in range(300)]
    mine = decide(frame(patients, Mass=(truth.tolist(), scores.tolist())), None)["labels"]["Mass"]["challenger"]
    assert mine == evaluate_label(truth, scores, patients, 0.5, SAMPLES, 0)["auroc"]


def test_gate_minimum_of_mean_does_not_apply_to_single_labels() -> None:
    """A label at chance passes if the mean over labels is high enough."""
    model = predictions(2.0, Edema=0.0)
    passed = decide(model, None, "mean=0.6", ("Mass", "Edema"))
    assert passed["promote"]
    assert passed["mean_floor"] == 0.6
    assert passed["mean"] is not None
    assert passed["reasons"][0].startswith("the 95% interval of the mean AUROC must lie above 0.6, and is ")
    assert not decide(model, None, "0.6", ("Mass", "Edema"))["promote"]
    failed = decide(model, None, "mean=0.9", ("Mass", "Edema"))
    assert failed["reasons"] == [
        "the 95% interval of the mean AUROC must lie above 0.9, and is "
        f"{failed['mean']['challenger']['low']:.3f} to {failed['mean']['challenger']['high']:.3f}: a better model is needed"
    ]


def test_gate_minimum_of_mean_rejects_lower_mean_than_champion() -> None:
    found = decide(predictions(1.0, Edema=1.0), Champion(4, predictions(2.0, Edema=2.0)), "mean=0.5", ("Mass", "Edema"))
    assert not found["promote"]
    (reason,) = found["reasons"]
    assert reason.startswith("the 95% interval of the mean AUROC minus version 4's must not reach below -")


def test_gate_minimum_of_mean_without_estimable_label_rejects() -> None:
    found = decide(predictions(2.0), None, "mean=0.5", ("Mass",), estimable=())
    assert not found["promote"]
    assert found["reasons"] == ["no label has a confidence interval of its AUROC, so the mean has none"]


def test_gate_without_minimum_of_mean_has_no_mean_floor() -> None:
    assert "mean_floor" not in decide(predictions(2.0), None, "0.5", ("Mass",))
