"""Pictures that look nearly like one held out more, or like an earlier one of their split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from components.records import SPLITS
from components.validation import twins
from components.validation.looks import Look
from components.validation.policy import NEAR_DUPLICATE, NEAR_DUPLICATE_ELSEWHERE


def flaws(rows: pd.DataFrame, looks: Sequence[Look]) -> dict[str, pd.Series[bool]]:
    """Which rows are so, by reason; those of the test split never are, for they stay whatever the policy.

    Args:
        looks: of the rows, in their order.
    """
    order = rows["split"].map(SPLITS[::-1].index).argsort(kind="stable").to_list()
    splits, chosen = [rows["split"].iloc[place] for place in order], [looks[place] for place in order]
    hashes = np.array([look.hash for look in chosen], "uint64")
    found = twins.repeats(hashes, np.stack([look.thumbnail for look in chosen])) if chosen else {}
    repeated = {later: earlier for later, earlier in found.items() if splits[later] != "test"}

    def marked(within: bool) -> pd.Series[bool]:
        places = [order[one] for one, other in repeated.items() if (splits[one] == splits[other]) == within]
        return pd.Series(np.isin(np.arange(len(rows)), places), index=rows.index)

    return {NEAR_DUPLICATE_ELSEWHERE: marked(within=False), NEAR_DUPLICATE: marked(within=True)}
