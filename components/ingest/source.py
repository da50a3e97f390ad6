"""What ingest asks of every reader, whatever the layout of its data set: pictures, findings, and what was set aside."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from components.settings_fields import nearest


class Source(NamedTuple):
    """A data set as its reader found it. A reader takes where the data lie and what else it needs, and gives this.

    Attributes:
        uri: where the pictures lie.
        rows: image_id, uri, md5, bytes, patient_id, view, age (years), sex, official; in order of image_id, which is
            unique. What the data set does not tell is missing. `official` is the data set's own split: `train_val` (of
            which ingest draws the validation patients), `train`, `validation`, `test`, or missing.
        findings: one column a finding that the data set knows, 1.0 present and 0.0 absent, index as `rows`. A picture
            that is stated to show none has 1.0 in `No Finding` alone.
        excluded: image_id and reason of what was set aside.
        notes: what limits figures on this data set, a sentence each.
    """

    uri: str
    rows: pd.DataFrame
    findings: pd.DataFrame
    excluded: pd.DataFrame
    notes: tuple[str, ...] = ()


def check_known(labels: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a label that the data set does not know.

    Raises:
        ValueError: with the nearest names.
    """
    for label in labels:
        if label not in set(known):
            raise ValueError(
                f"data_labels must be findings of the data set ({', '.join(sorted(known))}), got {label!r}"
                + nearest(label, known)
            )
