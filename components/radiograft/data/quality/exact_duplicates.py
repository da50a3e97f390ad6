"""Byte-identical pictures: which one of them stays, so that nothing is trained on that is measured elsewhere."""

from __future__ import annotations

import pandas as pd

HELD_OUT_MOST = ("test", "validation", "train")


def defects(rows: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """Which rows repeat another one, by reason, from `md5`, `split` and `official`.

    Of equal pictures the one in the split held out most stays, and there the first. An official test split stays whole,
    because others' figures are measured on all of it.
    """
    order = rows["split"].map(HELD_OUT_MOST.index).sort_values(kind="stable").index
    ordered = rows.loc[order]
    repeated = ordered["md5"].duplicated() & ~_officially_tests(ordered)
    elsewhere = ordered.groupby("md5")["split"].transform("first") != ordered["split"]
    return {
        "byte-identical to a picture of a split held out": (repeated & elsewhere).reindex(rows.index),
        "byte-identical to an earlier picture": (repeated & ~elsewhere).reindex(rows.index),
    }


def notes(rows: pd.DataFrame) -> tuple[str, ...]:
    """What is to be said of the repeats that stay, a sentence or none."""
    count = int(rows["md5"][_officially_tests(rows)].duplicated().sum())
    return (f"{count} pictures of the official test split repeat others of it byte for byte and stay",) * (count > 0)


def _officially_tests(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["official"].eq("test").fillna(False).astype(bool)
