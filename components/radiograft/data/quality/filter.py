"""Applies the data policy: which images ingest and preprocess exclude, quarantine or keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd

from radiograft.config.data_policy import FAIL, QUARANTINE, REPORT, DataPolicy, defect_of
from radiograft.data.catalog import exclusion, summarize_exclusions


@dataclasses.dataclass
class DataFilter:
    """Applies a data policy and records the defective images.

    Attributes:
        policy: how each kind of defect is handled.
        records: tables of image_id, uri (missing if only a table names the image) and reason.
    """

    policy: DataPolicy
    records: list[pd.DataFrame] = dataclasses.field(default_factory=list)

    def add_excluded(self, excluded: pd.DataFrame) -> None:
        """Records what was excluded elsewhere: image_id, reason and, if known, uri."""
        self.records.append(excluded.reindex(columns=["image_id", "uri", "reason"]).astype("string"))

    def apply(self, rows: pd.DataFrame, defects: Mapping[str, pd.Series[bool]]) -> pd.DataFrame:
        """Returns the rows that are kept, with their index, and records the others.

        Args:
            rows: image_id and uri.
            defects: which rows are defective, by reason, indexed as `rows`. A row is excluded for its first reason
                whose policy is not `report`. Reasons with that policy are recorded only for rows that are kept.
        """
        kept = rows
        excluding = {reason: mask for reason, mask in defects.items() if self.policy.treatment(reason) != REPORT}
        for reason, mask in excluding.items():
            bad = mask.reindex(kept.index).astype(bool)
            self._record(kept[bad], reason)
            kept = kept[~bad]
        for reason in defects.keys() - excluding.keys():
            self._record(kept[defects[reason].reindex(kept.index).astype(bool)], reason)
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
        records = self._all()
        return records[self._policies(records) != REPORT][["image_id", "reason"]].reset_index(drop=True)

    def quarantine(self) -> pd.DataFrame:
        """Returns image_id, uri and reason of what was excluded for review."""
        return self._with_policy(QUARANTINE)

    def flagged(self) -> pd.DataFrame:
        """Returns image_id, uri and reason of what was kept although it may be defective."""
        return self._with_policy(REPORT)

    def _with_policy(self, policy: str) -> pd.DataFrame:
        records = self._all()
        return records[self._policies(records) == policy].reset_index(drop=True)

    def _all(self) -> pd.DataFrame:
        empty = exclusion([], "").assign(uri="").astype("string")
        return pd.concat([empty[["image_id", "uri", "reason"]], *self.records], ignore_index=True)

    def _policies(self, records: pd.DataFrame) -> pd.Series[str]:
        return records["reason"].map({reason: self.policy.treatment(reason) for reason in records["reason"].unique()})
