"""De-identification: what could say who a patient is, replaced before anything is written or logged."""

from __future__ import annotations

import pandas as pd

from radiograft.data.sources.base import Source
from radiograft.storage.pseudonyms import SALT_VARIABLE, has_salt, pseudonymize, pseudonymous_uri

MAX_AGE = 89.0  # years; HIPAA's Safe Harbor (45 CFR 164.514) takes higher ages for identifying
NO_SALT = (
    f"ids are hashed without a secret, for {SALT_VARIABLE} is unset: whoever guesses a patient's id can tell its hash"
)


def deidentify(source: Source) -> Source:
    """The source with ids of patients and images and the files' names as hashes, and ages above 89 as 90."""

    def hidden(ids: pd.Series[str]) -> pd.Series[str]:
        return ids.map(pseudonymize).astype("string")

    folder = source.uri.rstrip("/")
    rows = source.rows.assign(
        image_id=hidden(source.rows["image_id"]),
        patient_id=hidden(source.rows["patient_id"]),
        uri=source.rows["uri"].map(lambda uri: pseudonymous_uri(folder, uri)).astype("string"),
        age=source.rows["age"].where(~(source.rows["age"] > MAX_AGE), MAX_AGE + 1),
    )
    order = rows["image_id"].sort_values().index
    return source._replace(
        rows=rows.loc[order].reset_index(drop=True),
        findings=source.findings.loc[order].reset_index(drop=True),
        excluded=source.excluded.assign(image_id=hidden(source.excluded["image_id"])),
        boxes=source.boxes.assign(image_id=hidden(source.boxes["image_id"])),
        notes=source.notes if has_salt() else (*source.notes, NO_SALT),
    )
