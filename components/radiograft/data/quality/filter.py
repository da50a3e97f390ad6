"""The sieve through which ingest and preprocess pass the data: what is left out, set aside to be looked at, or kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd

from radiograft.config.data_policy import FAIL, QUARANTINE, REPORT, DataPolicy, defect_of
from radiograft.data.catalog import exclusion, summarize_exclusions


@dataclasses.dataclass
class DataFilter:
    """What was found so far: frames of image_id, uri (missing for what only a table names) and reason."""

    policy: DataPolicy
    found: list[pd.DataFrame] = dataclasses.field(default_factory=list)

    def note(self, excluded: pd.DataFrame) -> None:
        """Takes what was set aside elsewhere: image_id, reason and, where it is known, uri."""
        self.found.append(excluded.reindex(columns=["image_id", "uri", "reason"]).astype("string"))

    def sift(self, rows: pd.DataFrame, flaws: Mapping[str, pd.Series[bool]]) -> pd.DataFrame:
        """The rows that stay, with their index.

        Args:
            flaws: flawed rows by reason, index as `rows`. A row is left out under the first reason that the policy does
                not merely report; under reasons that it does a row counts only while it stays.
        """
        kept = rows
        leaving = {reason: flawed for reason, flawed in flaws.items() if self.policy.treatment(reason) != REPORT}
        for reason, flawed in leaving.items():
            bad = flawed.reindex(kept.index).astype(bool)
            self._add(kept[bad], reason)
            kept = kept[~bad]
        for reason in flaws.keys() - leaving.keys():
            self._add(kept[flaws[reason].reindex(kept.index).astype(bool)], reason)
        return kept

    def _add(self, rows: pd.DataFrame, reason: str) -> None:
        self.note(exclusion(rows["image_id"], reason).assign(uri=rows["uri"].tolist()))

    def refuse(self) -> None:
        """Stops the run for what must not be there.

        Raises:
            ValueError: with each such reason, its count and a few ids.
        """
        groups = [group for group in summarize_exclusions(self._of(FAIL)) if group["count"]]
        if groups:
            told = "; ".join(
                f"{group['count']} ({defect_of(group['reason'])}: {group['reason']}): {', '.join(group['examples'])}"
                for group in groups
            )
            names = ",".join(sorted({f"{defect_of(group['reason'])}=drop" for group in groups}))
            raise ValueError(f"the data must be free of what data_policy lets fail, got {told}; repair the data, or set {names}")

    def excluded(self) -> pd.DataFrame:
        """image_id and reason of what was left out."""
        left_out = self._all()
        return left_out[self._treatment(left_out) != REPORT][["image_id", "reason"]].reset_index(drop=True)

    def quarantine(self) -> pd.DataFrame:
        """image_id, uri and reason of what was left out to be looked at."""
        return self._of(QUARANTINE)

    def suspects(self) -> pd.DataFrame:
        """image_id, uri and reason of what was kept although it may be defective."""
        return self._of(REPORT)

    def _of(self, treatment: str) -> pd.DataFrame:
        found = self._all()
        return found[self._treatment(found) == treatment].reset_index(drop=True)

    def _all(self) -> pd.DataFrame:
        nothing = exclusion([], "").assign(uri="").astype("string")
        return pd.concat([nothing[["image_id", "uri", "reason"]], *self.found], ignore_index=True)

    def _treatment(self, found: pd.DataFrame) -> pd.Series[str]:
        return found["reason"].map({reason: self.policy.treatment(reason) for reason in found["reason"].unique()})
