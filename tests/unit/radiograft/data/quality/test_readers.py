"""Agreement of readers: kappa against scikit-learn and Fleiss' own formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score  # type: ignore[import-untyped]

from radiograft.data.quality.readers import cohen_kappa, fleiss_kappa, measure_agreement

PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from([0.0, 1.0])), min_size=2, max_size=40)


@given(PAIRS)
def test_cohen_kappa_matches_scikit_learn_and_ignores_which_class_is_positive(pairs: list[tuple[float, float]]) -> None:
    first, second = np.array(pairs).T
    kappa = cohen_kappa(first, second)
    if kappa is None:
        assert len(np.unique(pairs)) == 1
        return
    assert kappa == pytest.approx(cohen_kappa_score(first, second))
    assert kappa == pytest.approx(cohen_kappa(1 - first, 1 - second))
    assert -1 <= kappa <= 1


@given(st.lists(st.integers(0, 4), min_size=2, max_size=40))
def test_fleiss_kappa_of_four_readers_matches_fleiss_1971(positives: list[int]) -> None:
    counts = np.array([positives, [4 - count for count in positives]]).T
    agreement = (counts * (counts - 1)).sum(axis=1) / 12
    chance = float(((counts.sum(axis=0) / counts.sum()) ** 2).sum())
    kappa = fleiss_kappa(positives, [4] * len(positives))
    if kappa is None:
        assert chance == 1
    else:
        assert kappa == pytest.approx((agreement.mean() - chance) / (1 - chance))


def agreement(*readings: tuple[str, str, float]) -> list[object]:
    found = measure_agreement(pd.DataFrame(readings, columns=["image_id", "reader", "Mass"]))
    return [found["images"], found["disagreements"], found["kappa"], found["statistic"]]


def test_measure_agreement_two_named_readers_have_cohens_kappa() -> None:
    """The order of the rows of an image does not matter: the second image lists the readers the other way round."""
    rows = [("a", "R1", 1.0), ("a", "R2", 0.0), ("b", "R2", 0.0), ("b", "R1", 1.0), ("c", "R1", 0.0), ("c", "R2", 0.0)]
    images, different, kappa, statistic = agreement(*rows)
    assert (images, different, statistic) == (3, 2, "Cohen's kappa")
    assert kappa == pytest.approx(cohen_kappa_score([1, 1, 0], [0, 0, 0]))


def test_measure_agreement_changing_readers_have_fleiss_kappa() -> None:
    rows = [("a", "R1", 1.0), ("a", "R2", 1.0), ("b", "R3", 0.0), ("b", "R1", 1.0), ("c", "R1", float("nan"))]
    # 3 of 4 readings are positive: 1 - (0 + 1/2) / (2 * 1 * 3/4 * 1/4)
    assert agreement(*rows) == [2, 1, pytest.approx(1 - 0.5 / 0.375), "Fleiss' kappa"]


def test_measure_agreement_without_two_readings_is_empty() -> None:
    assert agreement(("a", "R1", 1.0), ("b", "R1", 0.0))[:3] == [0, 0, None]
