"""Patient data as a further input of a network: how raw values become numbers. Without TensorFlow.

A value is standardized or one-hot encoded behind a flag that says whether it is known. Zeros stand for a missing value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd

from radiograft.config.patient_data import served_name

PATIENT_INPUT = "patient"  # of the network
MAX_DEVIATIONS = 5.0  # an age of 400 years, or another unit, must not dominate the prediction
MAX_CATEGORIES = 32
MISSING_CATEGORY = ""


@dataclasses.dataclass(frozen=True)
class Covariate:
    """One column of patient data.

    Attributes:
        name: of the column, such as `age`.
        mean, deviation: of a number, over the known values of training.
        categories: values of a category that occur in training, in lower case; empty if the column holds numbers.
    """

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    categories: tuple[str, ...] = ()

    @property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers."""
        return not self.categories

    @property
    def width(self) -> int:
        """Number of columns after encoding, besides the flag."""
        return max(1, len(self.categories))

    @property
    def served_name(self) -> str:
        """Name of the input of the SavedModel."""
        return served_name(self.name)

    @classmethod
    def fit(cls, name: str, values: pd.Series[Any]) -> Self:
        """Returns the encoding of a column.

        Args:
            name: of the column.
            values: of the training images; numbers, or text for categories. Missing values are NA.

        Raises:
            ValueError: no value is known, or there are too many categories.

        Example:
            >>> Covariate.fit("age", pd.Series([40.0, 60.0, None])).encode([70.0, float("nan")]).tolist()
            [[1.0, 2.0], [0.0, 0.0]]
            >>> Covariate.fit("sex", pd.Series(["M", "F", "M"])).encode(["F", ""]).tolist()
            [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
        """
        known = values.dropna()
        if known.empty:
            raise ValueError(f"model_patient_data must name columns with known values in training, got {name!r}")
        if pd.api.types.is_numeric_dtype(known):
            numbers = known.to_numpy("float64")
            return cls(name, float(numbers.mean()), float(numbers.std()) or 1.0)
        categories = tuple(sorted({fold_category(text) for text in known.unique()}))
        if len(categories) > MAX_CATEGORIES:
            raise ValueError(
                f"model_patient_data must name numbers, or text with at most {MAX_CATEGORIES} different values, "
                f"got {name!r} with {len(categories)}"
            )
        return cls(name, categories=categories)

    def encode(self, values: Sequence[float] | Sequence[str] | pd.Series[Any]) -> np.ndarray:
        """Returns float32 [n, 1 + width]: a 1 if the value is known, then the standardized number or one-hot category.

        Args:
            values: raw values. NaN, NA, the empty text and a category that training does not have are missing.
        """
        column = pd.Series(values)
        if self.is_numeric:
            numbers = column.to_numpy("float64", na_value=np.nan)
            known = np.isfinite(numbers)
            scaled = np.clip((numbers - self.mean) / self.deviation, -MAX_DEVIATIONS, MAX_DEVIATIONS)
            return np.stack([known, np.where(known, scaled, 0.0)], axis=1).astype("float32")
        folded = column.astype("object").where(column.notna(), MISSING_CATEGORY).map(fold_category).to_numpy()
        one_hot = folded[:, None] == np.array(self.categories, dtype=object)
        return np.concatenate([one_hot.any(axis=1, keepdims=True), one_hot], axis=1).astype("float32")

    def example(self, number: int) -> float | str:
        """Returns a plausible value, another one for the next number."""
        if self.is_numeric:
            return self.mean + self.deviation * (number % 3 - 1)
        return self.categories[number % len(self.categories)]


def fold_category(text: str) -> str:
    """Returns a category without differences of case and of white space at its ends."""
    return str(text).strip().lower()


def input_shape(covariates: Sequence[Covariate]) -> tuple[int, int]:
    """Returns the shape of the network's input for one image: the largest 1 + width, and the number of covariates."""
    return 1 + max(covariate.width for covariate in covariates), len(covariates)


def encode_covariates(
    covariates: Sequence[Covariate], values: Mapping[str, Sequence[Any] | pd.Series[Any]]
) -> np.ndarray:
    """Returns the network's input, float32 [n, 1 + largest width, covariates]; narrow columns are padded with zeros.

    Args:
        covariates: encodings.
        values: raw values by name, see `Covariate.encode`.
    """
    rows = input_shape(covariates)[0]
    columns = [covariate.encode(values[covariate.name]) for covariate in covariates]
    return np.stack([np.pad(column, ((0, 0), (0, rows - column.shape[1]))) for column in columns], axis=2)


def parse_values(covariates: Sequence[Covariate], given: Mapping[str, str]) -> dict[str, float | str]:
    """Returns the raw value of each covariate of one image; NaN or "" if it is missing.

    Args:
        covariates: encodings.
        given: text by name of the covariate; an empty text is a missing value.

    Raises:
        ValueError: a name is unknown, a number is malformed, or training does not have the category.

    Example:
        >>> parse_values((Covariate("age", 50.0, 20.0), Covariate("sex", categories=("f", "m"))), {"sex": "F"})
        {'age': nan, 'sex': 'f'}
    """
    names = [covariate.name for covariate in covariates]
    for name in given:
        if name not in names:
            listed = f"must be one of {', '.join(names)}" if names else "must be empty for this model, which has none"
            raise ValueError(f"patient data {listed}, got {name!r}")
    return {covariate.name: _parse_value(covariate, given.get(covariate.name, "")) for covariate in covariates}


def _parse_value(covariate: Covariate, text: str) -> float | str:
    if not covariate.is_numeric:
        folded = fold_category(text)
        if folded and folded not in covariate.categories:
            listed = ", ".join(covariate.categories)
            raise ValueError(f"{covariate.name} must be one of {listed}, or empty if unknown, got {text!r}")
        return folded
    try:
        value = float(text or "nan")
    except ValueError:
        raise ValueError(f"{covariate.name} must be a number, or empty if unknown, got {text!r}") from None
    return value


def covariates_from_json(stored: Sequence[Mapping[str, Any]]) -> tuple[Covariate, ...]:
    """Returns what `dataclasses.asdict` converted."""
    return tuple(Covariate(**{**each, "categories": tuple(each["categories"])}) for each in stored)
