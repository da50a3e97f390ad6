"""Pictures that look nearly like one held out more, or like an earlier one of their split."""

from __future__ import annotations

import numpy as np
import pandas as pd

from radiograft.config.data_policy import NEAR_DUPLICATE, NEAR_DUPLICATE_ELSEWHERE
from radiograft.data.catalog import SPLITS
from radiograft.data.quality import near_duplicate_search


def flaws(rows: pd.DataFrame, hashes: np.ndarray, thumbnails: np.ndarray, *, leave: bool) -> dict[str, pd.Series[bool]]:
    """Which rows are so, by reason; those of the test split never are, for they stay whatever the policy.

    Args:
        hashes: uint64 [rows], in their order, as validation.looks makes them.
        thumbnails: uint8 [rows, side, side].
        leave: whether those leave; a picture that looks like no other but one that leaves is not flawed.
    """
    order = rows["split"].map(SPLITS[::-1].index).argsort(kind="stable").to_numpy()
    splits = rows["split"].to_numpy()[order]
    found = near_duplicate_search.repeats(hashes[order], thumbnails[order], leave & (splits != "test"))
    repeated = {later: earlier for later, earlier in found.items() if splits[later] != "test"}

    def marked(within: bool) -> pd.Series[bool]:
        places = [order[one] for one, other in repeated.items() if (splits[one] == splits[other]) == within]
        return pd.Series(np.isin(np.arange(len(rows)), places), index=rows.index)

    return {NEAR_DUPLICATE_ELSEWHERE: marked(within=False), NEAR_DUPLICATE: marked(within=True)}
