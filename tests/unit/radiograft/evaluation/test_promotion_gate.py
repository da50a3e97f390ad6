"""The gate's verdict on made predictions: floors, margin, labels that count, and the laws that it keeps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from radiograft.config.gate import parse_min_auroc
from radiograft.evaluation.model_comparison import compare_by_delong
from radiograft.evaluation.promotion_gate import Champion, GatePolicy, decide_promotion, explain_decision
from radiograft.metrics.multilabel import evaluate_label
from radiograft.registry.result_types import GateDecision
from tests.helpers.samples import each_its_own_patient, frame, noisy_scores, scored_images

SAMPLES = 200


def predictions(gain: float, seed: int = 0, images: int = 600, **more: float) -> pd.DataFrame:
    """Predictions for Mass whose AUROC grows with the gain, on two images a patient; `more` labels have gains too."""
    generator = np.random.default_rng(99)
    patients = [f"p{number // 2:04d}" for number in range(images)]
    labels = {}
    for label, each in {"Mass": gain, **more}.items():
        truth = (generator.random(images) < 0.3).astype(float)
        noise = np.random.default_rng(seed).normal(size=images)
        labels[label] = (truth.tolist(), (1 / (1 + np.exp(-(each * truth - 1 + noise)))).tolist())
    return frame(patients, **labels)


def verdict(
    challenger: pd.DataFrame,
    champion: Champion | pd.DataFrame | None,
    margin: float = 0.02,
    floors: str = "0.5",
    estimable: tuple[str, ...] | None = None,
) -> GateDecision:
    """The verdict over the labels of the challenger's predictions, of which all can be estimated unless told."""
    labels = tuple(name.removeprefix("label:") for name in challenger if name.startswith("label:"))
    if isinstance(champion, pd.DataFrame):
        champion = Champion(7, champion)
    rule = GatePolicy(margin, parse_min_auroc(floors, labels), fewest_patients=5)
    return decide_promotion(challenger, champion, labels if estimable is None else estimable, rule, SAMPLES, seed=0)


def test_the_first_model_needs_the_floors_alone() -> None:
    found = verdict(predictions(1.5), None, floors="0.8")
    assert found["promote"]
    assert (found["champion"], found["delong"]) == (None, {})
    assert found["labels"]["Mass"]["champion"] is None
    assert found["labels"]["Mass"]["difference"] is None
    area = found["labels"]["Mass"]["challenger"]
    reason = (
        f"the 95 % interval of the AUROC for Mass must lie above 0.8, and is {area['low']:.3f} to {area['high']:.3f}"
    )
    assert found["reasons"] == [reason, "no version is in production yet"]
    assert explain_decision(found) == f"Approved for promotion: {reason}; no version is in production yet."


def test_a_model_that_only_guesses_never_becomes_production() -> None:
    found = verdict(predictions(0.0), None)
    assert not found["promote"]
    (reason,) = found["reasons"]
    assert reason.startswith("the 95 % interval of the AUROC for Mass must lie above 0.5, and is 0.4")
    assert explain_decision(found) == f"Not promoted: {reason}."


def test_a_model_that_says_the_same_of_all_lies_on_the_floor_and_fails() -> None:
    same = predictions(1.0).assign(**{"score:Mass": 0.5})
    found = verdict(same, None)
    assert found["labels"]["Mass"]["challenger"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    (reason,) = found["reasons"]
    assert reason == (
        "the 95 % interval of the AUROC for Mass must lie above 0.5, and is 0.500 to 0.500: a better model is needed"
    )


def test_the_floor_is_held_against_the_lower_bound_not_the_estimate() -> None:
    area = verdict(predictions(1.0), None)["labels"]["Mass"]["challenger"]
    assert area["value"] is not None
    between = f"{area['value'] - 0.001:.6f}"
    found = verdict(predictions(1.0), None, floors=between)
    assert not found["promote"]
    assert found["reasons"][0].endswith("test images of more patients may show it")


@pytest.mark.parametrize(("challenger", "champion", "promoted"), [(1.5, 0.5, True), (0.5, 1.5, False)])
def test_a_better_model_is_promoted_and_a_worse_one_is_not(challenger: float, champion: float, promoted: bool) -> None:
    found = verdict(predictions(challenger), predictions(champion))
    assert found["promote"] is promoted
    difference = found["labels"]["Mass"]["difference"]
    assert difference is not None
    truth = predictions(challenger)["label:Mass"]
    areas = [roc_auc_score(truth, predictions(gain)["score:Mass"]) for gain in (challenger, champion)]
    assert difference["value"] == pytest.approx(areas[0] - areas[1])
    assert (difference["low"] > 0) is promoted  # type: ignore[operator]
    assert found["champion"] == 7
    start = "the 95 % interval of the AUROC for Mass minus version 7's must not reach below -0.02, and is "
    assert [reason.startswith(start) for reason in found["reasons"]] == ([False, True] if promoted else [True])
    assert found["reasons"][-1].endswith("a better model is needed") is not promoted


def test_a_difference_that_cannot_be_told_from_a_loss_is_refused() -> None:
    """Two equally good models with errors of their own on few patients: the interval reaches below the margin."""
    found = verdict(predictions(1.5, seed=1, images=120), predictions(1.5, seed=2, images=120), margin=0.02)
    wide = verdict(predictions(1.5, seed=1, images=120), predictions(1.5, seed=2, images=120), margin=0.5)
    difference = found["labels"]["Mass"]["difference"]
    assert difference is not None
    assert difference["low"] < -0.02 < difference["value"]  # type: ignore[operator]
    assert not found["promote"]
    assert found["reasons"][-1].endswith("test images of more patients may show it")
    assert wide["promote"]


def test_the_difference_is_measured_on_the_same_resamples() -> None:
    """Its interval is narrower than two intervals of models that err alike would make it."""
    found = verdict(predictions(1.0, seed=1), predictions(1.1, seed=1))["labels"]["Mass"]
    widths = {name: each["high"] - each["low"] for name, each in found.items()}  # type: ignore[index]
    assert widths["difference"] < widths["challenger"] / 4


def test_without_a_variance_the_difference_has_no_interval() -> None:
    """Fails where the gate's DeLong makes an interval of no width of a variance of 0 under unequal areas."""
    patients, truth = ["a", "b", "c", "d"], [0.0, 0.0, 1.0, 1.0]
    models = [frame(patients, Mass=(truth, scores)) for scores in ([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1])]
    assert compare_by_delong(models, "Mass") == {"value": 1, "low": None, "high": None}


def test_delong_agrees_with_the_bootstrap() -> None:
    models = predictions(1.5, seed=1), Champion(7, predictions(1.2, seed=2))
    found = decide_promotion(
        *models, ["Mass"], GatePolicy(0.02, parse_min_auroc("0.5", ["Mass"]), fewest_patients=5), samples=2000, seed=0
    )
    difference, delong = found["labels"]["Mass"]["difference"], found["delong"]["Mass"]
    assert difference is not None
    assert delong["value"] == pytest.approx(difference["value"])
    for bound in ("low", "high"):
        assert delong[bound] == pytest.approx(difference[bound], abs=0.01)  # type: ignore[literal-required]


def test_every_label_that_counts_must_pass() -> None:
    better, worse = predictions(1.0, Edema=1.0), predictions(1.5, Edema=0.0)
    found = verdict(better, worse)
    assert not found["promote"]
    (reason,) = found["reasons"]
    assert reason.startswith("the 95 % interval of the AUROC for Mass minus version 7's must not reach below -0.02")
    assert verdict(better, worse, floors="Edema=0.5")["promote"]  # Mass does not count
    assert set(verdict(better, worse, floors="Edema=0.5")["labels"]) == {"Mass", "Edema"}
    mean = found["mean"]
    assert mean is not None
    labels = [found["labels"][name]["challenger"]["value"] for name in ("Mass", "Edema")]
    assert mean["challenger"]["value"] == pytest.approx(np.mean(labels))


def test_of_several_labels_the_one_with_the_least_room_is_told_and_the_others_named() -> None:
    passed = verdict(predictions(2.0, Edema=1.0, Hernia=1.5), None)["reasons"][0]
    assert passed.startswith("the 95 % interval of the AUROC for Edema must lie above 0.5, and is ")
    assert passed.endswith(" (likewise Hernia, Mass)")
    failed = verdict(predictions(2.0, Edema=-0.5, Hernia=0.0), None)["reasons"]
    assert [reason.endswith(": a better model is needed (likewise Hernia)") for reason in failed] == [True]


def test_a_label_that_cannot_be_judged_is_passed_over_unless_it_was_named() -> None:
    both = predictions(2.0, Edema=1.0)
    assert verdict(both, None, estimable=("Mass",))["promote"]
    named = verdict(both, None, floors="Mass=0.5,Edema=0.5", estimable=("Mass",))
    assert not named["promote"]
    (reason,) = named["reasons"]
    assert reason == (
        "Edema is not estimable: that needs both classes in validation and at least 5 test patients with and 5 "
        "without it"
    )


def test_where_no_label_can_be_judged_the_model_stays_a_candidate() -> None:
    found = verdict(predictions(2.0, Edema=1.0), None, estimable=())
    assert not found["promote"]
    (reason,) = found["reasons"]
    assert reason.startswith("Mass, Edema are not estimable: that needs both classes in validation and at least 5 ")
    assert (found["labels"], found["mean"]) == ({}, None)


def test_one_patient_alone_gives_no_interval_to_judge_by() -> None:
    found = verdict(predictions(2.0).assign(patient_id="p1"), None)
    assert not found["promote"]
    assert found["reasons"] == ["the AUROC for Mass has no interval: test images of more patients may give one"]


def test_a_champion_that_could_not_be_compared_stays_and_all_reasons_are_told() -> None:
    found = verdict(predictions(0.0), Champion(3, None, "it is damaged"))
    assert not found["promote"]
    assert found["champion"] == 3
    assert found["reasons"][0] == "version 3, in production, could not be compared: it is damaged"
    assert found["reasons"][1].startswith("the 95 % interval of the AUROC for Mass must lie above 0.5")
    assert not verdict(predictions(2.0), Champion(3, None, "it is damaged"))["promote"]


def test_models_must_have_been_asked_about_the_same_images() -> None:
    with pytest.raises(ValueError, match="models must be compared on the same images"):
        verdict(predictions(1.0), predictions(1.0)[::-1])


def test_unknown_truths_are_left_out() -> None:
    whole = predictions(1.5)
    blank = whole.assign(**{"label:Mass": whole["label:Mass"].where(np.arange(len(whole)) % 2 == 0)})
    area = verdict(blank, None)["labels"]["Mass"]["challenger"]["value"]
    assert area == pytest.approx(roc_auc_score(whole["label:Mass"][::2], whole["score:Mass"][::2]))


@settings(max_examples=40, deadline=None)
@given(images=scored_images(), margin=st.floats(0, 0.5))
def test_a_model_is_never_inferior_to_itself(images: tuple[list[float], list[float]], margin: float) -> None:
    own = frame(each_its_own_patient(len(images[0])), Mass=images)
    against_itself, alone = (verdict(own, champion, margin, floors="0") for champion in (own, None))
    assert against_itself["promote"] == alone["promote"]
    for found in against_itself["labels"].values():
        assert found["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}


@settings(max_examples=40, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 50), st.integers(0, 50)),
    gains=st.tuples(st.floats(0, 2), st.floats(0, 2)),
    margins=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    floors=st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)),
)
def test_a_wider_margin_or_a_lower_floor_never_turns_a_promotion_down(
    seeds: tuple[int, int], gains: tuple[float, float], margins: tuple[float, float], floors: tuple[float, float]
) -> None:
    challenger, champion = (predictions(gain, seed, images=80) for gain, seed in zip(gains, seeds, strict=True))
    strict = verdict(challenger, champion, min(margins), f"{max(floors):.9f}")
    lenient = verdict(challenger, champion, max(margins), f"{min(floors):.9f}")
    assert strict["promote"] <= lenient["promote"]
    assert strict["labels"] == lenient["labels"]  # the figures know nothing of the rule


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000))
def test_swapping_the_models_turns_the_difference_round(seed: int) -> None:
    models = predictions(1.0, seed, images=80), predictions(1.3, seed + 1, images=80)
    one, other = verdict(*models)["labels"]["Mass"], verdict(*reversed(models))["labels"]["Mass"]
    assert one["challenger"] == other["champion"]
    assert one["difference"]["value"] == pytest.approx(-other["difference"]["value"])  # type: ignore[index,operator]
    assert one["difference"]["low"] == pytest.approx(-other["difference"]["high"])  # type: ignore[index,operator]


def test_the_intervals_are_those_of_the_report() -> None:
    truth, scores = noisy_scores(300)
    patients = [f"{number // 3}" for number in range(300)]
    mine = verdict(frame(patients, Mass=(truth.tolist(), scores.tolist())), None)["labels"]["Mass"]["challenger"]
    assert mine == evaluate_label(truth, scores, patients, 0.5, SAMPLES, 0)["auroc"]
