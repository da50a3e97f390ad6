"""Patient data that a model must not read, because they are known only after the diagnosis."""

from __future__ import annotations

import re
from collections.abc import Sequence

STANDARD_COLUMNS = ("age", "sex", "view")  # every catalog has them
IMAGE_INPUTS = ("image_bytes", "lateral_bytes")  # other inputs of the served model
COVARIATE = "covariate:"  # prefix of the catalog's columns of further patient data
# Words in the names of columns, in lower case with spaces between words.
KNOWN_LATER = (
    "outcome", "survival", "survived", "death", "died", "deceased", "mortality", "icu", "intubated", "intubation",
    "extubated", "ventilated", "discharge", "discharged", "length of stay", "los", "offset", "treatment", "therapy",
    "needed supplemental", "diagnosis", "finding", "findings", "pcr", "report", "prognosis",
)  # fmt: skip


def covariate_column(name: str) -> str:
    """Returns the name of the column of patient data: `age`, `sex` and `view` are columns of every catalog.

    Example:
        >>> covariate_column("age"), covariate_column("temperature")
        ('age', 'covariate:temperature')
    """
    return name if name in STANDARD_COLUMNS else f"{COVARIATE}{name}"


def known_later(name: str) -> str | None:
    """Returns the word in a column's name that says that it is known only after the diagnosis, or None.

    Example:
        >>> known_later("went_icu"), known_later("temperature")
        ('icu', None)
    """
    words = " ".join(re.findall(r"[a-z]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", name).lower()))
    return next((word for word in KNOWN_LATER if f" {word} " in f" {words} "), None)


def check_covariate_names(names: Sequence[str], insisted: Sequence[str]) -> None:
    """Rejects columns that are known only after the diagnosis.

    Raises:
        ValueError: a name contains one of KNOWN_LATER and is not insisted on, or is a column of every catalog.
    """
    for name in names:
        if name in STANDARD_COLUMNS:
            raise ValueError(f"data_covariates must not name {name}, which is always read, got it beside others")
        word = known_later(name)
        if word and name not in insisted:
            raise ValueError(
                f"data_covariates must be known before the diagnosis, got {name!r}, whose name contains {word!r}: "
                f"leave it out, or set data_covariates_insist={name}"
            )


def served_name(name: str) -> str:
    """Returns the name of an input of the SavedModel: lower case, with `_` for all but letters and digits.

    Example:
        >>> served_name("Body temperature (C)")
        'body_temperature_c'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
