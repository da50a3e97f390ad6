"""The sieve: every row stays or is told why not, and the policy alone decides which."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.config.data_policy import BLANK, COLOR, INVERTED, DataPolicy
from radiograft.data.catalog import exclusion
from radiograft.data.quality.filter import DataFilter

REASONS = {BLANK: "blank", COLOR: "color", INVERTED: "inverted", "empty file": "empty"}
flawed_rows = st.lists(st.sets(st.sampled_from(sorted(REASONS))), max_size=12)
policies = st.builds(
    DataPolicy,
    blank=st.sampled_from(["drop", "quarantine"]),
    color=st.sampled_from(["report", "drop", "quarantine"]),
    inverted=st.sampled_from(["report", "drop", "quarantine"]),
    empty=st.sampled_from(["drop", "quarantine"]),
)


def frames(flawed: list[set[str]]) -> tuple[pd.DataFrame, dict[str, pd.Series]]:
    """Rows, and which of them have which flaw."""
    ids = [f"{number}.png" for number in range(len(flawed))]
    rows = pd.DataFrame({"image_id": ids, "uri": [f"gs://b/{name}" for name in ids]}, dtype="string")
    return rows, {reason: pd.Series([reason in each for each in flawed], dtype=bool) for reason in REASONS}


@given(flawed=flawed_rows, policy=policies)
def test_good_rows_stay_bad_ones_go_and_each_is_counted_once(flawed: list[set[str]], policy: DataPolicy) -> None:
    rows, flaws = frames(flawed)
    sieve = DataFilter(policy)
    kept = sieve.sift(rows, flaws)
    sieve.refuse()
    leaving = {reason for reason, name in REASONS.items() if getattr(policy, name) != "report"}
    bad = [f"{number}.png" for number, reasons in enumerate(flawed) if reasons & leaving]
    assert sorted(sieve.excluded()["image_id"]) == sorted(bad)
    assert set(kept["image_id"]) == set(rows["image_id"]) - set(bad)
    stay = [(f"{n}.png", reason) for n, reasons in enumerate(flawed) if not reasons & leaving for reason in reasons]
    assert sorted(sieve.suspects()[["image_id", "reason"]].itertuples(index=False, name=None)) == sorted(stay)
    listed = sieve.quarantine()
    assert all(policy.treatment(reason) == "quarantine" for reason in listed["reason"])
    assert set(listed["image_id"]) <= set(bad)
    assert listed["uri"].tolist() == [f"gs://b/{name}" for name in listed["image_id"]]


def test_what_must_not_be_there_stops_the_run_with_count_and_examples() -> None:
    rows, flaws = frames([{BLANK}, set(), {BLANK}, {INVERTED}])
    sieve = DataFilter(DataPolicy(blank="fail", empty="fail"))
    sieve.sift(rows, flaws)
    sieve.note(exclusion(["x.png"], "empty file"))
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        sieve.refuse()
    assert str(error.value) == (
        "the data must be free of what data_policy lets fail, got 2 (blank: blank image: a single gray level): 0.png, "
        "2.png; 1 (empty: empty file): x.png; repair the data, or set blank=drop,empty=drop"
    )
