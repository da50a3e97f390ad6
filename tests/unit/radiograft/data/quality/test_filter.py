"""The data filter: the policy alone decides which rows are kept, and the others are recorded once."""

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
    """Returns rows, and which of them have each defect."""
    ids = [f"{number}.png" for number in range(len(flawed))]
    rows = pd.DataFrame({"image_id": ids, "uri": [f"gs://b/{name}" for name in ids]}, dtype="string")
    return rows, {reason: pd.Series([reason in reasons for reasons in flawed], dtype=bool) for reason in REASONS}


@given(flawed=flawed_rows, policy=policies)
def test_apply_excludes_by_policy_and_records_once(flawed: list[set[str]], policy: DataPolicy) -> None:
    rows, defects = frames(flawed)
    data_filter = DataFilter(policy)
    kept = data_filter.apply(rows, defects)
    data_filter.raise_on_failures()
    excluding = {reason for reason, name in REASONS.items() if getattr(policy, name) != "report"}
    bad = [f"{number}.png" for number, reasons in enumerate(flawed) if reasons & excluding]
    assert sorted(data_filter.excluded()["image_id"]) == sorted(bad)
    assert set(kept["image_id"]) == set(rows["image_id"]) - set(bad)
    suspects = [
        (f"{n}.png", reason) for n, reasons in enumerate(flawed) if not reasons & excluding for reason in reasons
    ]
    assert sorted(data_filter.flagged()[["image_id", "reason"]].itertuples(index=False, name=None)) == sorted(suspects)
    listed = data_filter.quarantine()
    assert all(policy.treatment(reason) == "quarantine" for reason in listed["reason"])
    assert set(listed["image_id"]) <= set(bad)
    assert listed["uri"].tolist() == [f"gs://b/{name}" for name in listed["image_id"]]


def test_raise_on_failures_fail_policy_raises_with_counts_and_examples() -> None:
    rows, defects = frames([{BLANK}, set(), {BLANK}, {INVERTED}])
    data_filter = DataFilter(DataPolicy(blank="fail", empty="fail"))
    data_filter.apply(rows, defects)
    data_filter.add_excluded(exclusion(["x.png"], "empty file"))
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        data_filter.raise_on_failures()
    assert str(error.value) == (
        "the data must have no defect that data_policy sets to `fail`, got 2 (blank: blank image: a single gray "
        "level): 0.png, 2.png; 1 (empty: empty file): x.png; repair the data, or set blank=drop,empty=drop"
    )
