"""De-identification: replaces anything that may identify a patient before it is written or logged."""

from __future__ import annotations

import pandas as pd

from radiograft.data.sources.base import Source
from radiograft.storage.pseudonyms import SALT_VARIABLE, has_salt, pseudonymize, pseudonymous_uri

MAX_AGE = 89.0  # years; HIPAA's Safe Harbor (45 CFR 164.514) considers higher ages identifying
NO_SALT = (
    f"IDs are hashed without a salt because {SALT_VARIABLE} is not set: "
    "anyone can compute the hash of a guessed patient ID"
)


def deidentify(source: Source) -> Source:
    """Returns the source with hashed patient and image IDs, hashed file names, and ages above 89 set to 90."""

    def hash_ids(ids: pd.Series[str]) -> pd.Series[str]:
        return ids.map(pseudonymize, na_action="ignore").astype("string")

    folder = source.uri.rstrip("/")

    def hash_uris(uris: pd.Series[str]) -> pd.Series[str]:
        return uris.map(lambda uri: pseudonymous_uri(folder, uri), na_action="ignore").astype("string")

    rows = source.rows.assign(
        image_id=hash_ids(source.rows["image_id"]),
        patient_id=hash_ids(source.rows["patient_id"]),
        uri=hash_uris(source.rows["uri"]),
        age=source.rows["age"].where(~(source.rows["age"] > MAX_AGE), MAX_AGE + 1),
    )
    rows = rows.assign(
        **{name: hash_ids(rows[name]) for name in ("study_id", "lateral_id") if name in rows},
        **{name: hash_uris(rows[name]) for name in ("lateral",) if name in rows},
    )
    excluded = source.excluded.assign(image_id=hash_ids(source.excluded["image_id"]))
    if "uri" in excluded:
        excluded["uri"] = hash_uris(excluded["uri"])
    order = rows["image_id"].sort_values().index
    return source._replace(
        rows=rows.loc[order].reset_index(drop=True),
        findings=source.findings.loc[order].reset_index(drop=True),
        excluded=excluded,
        boxes=source.boxes.assign(image_id=hash_ids(source.boxes["image_id"])),
        notes=source.notes if has_salt() else (*source.notes, NO_SALT),
    )
