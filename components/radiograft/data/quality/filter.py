"""Applies the data policy: which images ingest and preprocess exclude, quarantine or keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd

from radiograft.config.data_policy import FAIL, QUARANTINE, REPORT, DataPolicy, defect_of
from radiograft.data.catalog import exclusion, summarize_exclusions


@dataclasses.dataclass
class DataFilter:
    """Applies a data policy and records what was found.

    Attributes:
        policy: how each kind of defect is handled.
        found: tables of image_id, uri (missing if only a table names the image) and reason.
    """

    policy: DataPolicy
    found: list[pd.DataFrame] = dataclasses.field(default_factory=list)

    def add_excluded(self, excluded: pd.DataFrame) -> None:
        """Records what was excluded elsewhere: image_id, reason and, if known, uri."""
        self.found.append(excluded.reindex(columns=["image_id", "uri", "reason"]).astype("string"))

    def apply(self, rows: pd.DataFrame, flaws: Mapping[str, pd.Series[bool]]) -> pd.DataFrame:
        """Returns the rows that are kept, with their index, and records the others.

        Args:
            rows: image_id and uri.
            flaws: which rows are defective, by reason, indexed as `rows`. A row is excluded for its first reason whose
                policy is not `report`. Reasons with that policy are recorded only for rows that are kept.
        """
        kept = rows
        excluding = {reason: flawed for reason, flawed in flaws.items() if self.policy.treatment(reason) != REPORT}
        for reason, flawed in excluding.items():
            bad = flawed.reindex(kept.index).astype(bool)
            self._record(kept[bad], reason)
            kept = kept[~bad]
        for reason in flaws.keys() - excluding.keys():
            self._record(kept[flaws[reason].reindex(kept.index).astype(bool)], reason)
        return kept

    def _record(self, rows: pd.DataFrame, reason: str) -> None:
        self.add_excluded(exclusion(rows["image_id"], reason).assign(uri=rows["uri"].tolist()))

    def raise_on_failures(self) -> None:
        """Raises if any defect with the policy `fail` was found.

        Raises:
            ValueError: lists each such reason with its count and a few image IDs.
        """
        groups = [group for group in summarize_exclusions(self._with_policy(FAIL)) if group["count"]]
        if groups:
            defects = "; ".join(
                f"{group['count']} ({defect_of(group['reason'])}: {group['reason']}): {', '.join(group['examples'])}"
                for group in groups
            )
            names = ",".join(sorted({f"{defect_of(group['reason'])}=drop" for group in groups}))
            raise ValueError(
                f"the data must have no defect that data_policy sets to `fail`, got {defects}; repair the data, or set "
                f"{names}"
            )

    def excluded(self) -> pd.DataFrame:
        """Returns image_id and reason of what was excluded."""
        found = self._all()
        return found[self._policies(found) != REPORT][["image_id", "reason"]].reset_index(drop=True)

    def quarantine(self) -> pd.DataFrame:
        """Returns image_id, uri and reason of what was excluded for review."""
        return self._with_policy(QUARANTINE)

    def flagged(self) -> pd.DataFrame:
        """Returns image_id, uri and reason of what was kept although it may be defective."""
        return self._with_policy(REPORT)

    def _with_policy(self, policy: str) -> pd.DataFrame:
        found = self._all()
        return found[self._policies(found) == policy].reset_index(drop=True)

    def _all(self) -> pd.DataFrame:
        empty = exclusion([], "").assign(uri="").astype("string")
        return pd.concat([empty[["image_id", "uri", "reason"]], *self.found], ignore_index=True)

    def _policies(self, found: pd.DataFrame) -> pd.Series[str]:
        return found["reason"].map({reason: self.policy.treatment(reason) for reason in found["reason"].unique()})
