"""Patient data alone: a logistic regression on them, the baseline of networks that read them beside the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from radiograft.config.data import MULTILABEL, REGRESSION
from radiograft.config.patient_data import covariate_column
from radiograft.data.catalog import has_both_classes, label_class, label_column
from radiograft.metrics.multilabel import auroc
from radiograft.models.covariates import Covariate

MAX_AUROC = 0.95  # of one covariate alone on training; above, it is the label in disguise
MAX_R2 = 0.98  # squared correlation of one covariate with a number on training
MAX_STEPS, TOLERANCE = 5000, 1e-6  # at scikit-learn's own tolerance AUROCs on NIH's table are off by up to 0.005
MIN_POSITIVES = 10  # images; with fewer, and with fewer negatives, chance alone may separate them


class PatientDataModel(NamedTuple):
    """A logistic regression for each label.

    Attributes:
        covariates: encodings of the columns.
        models: scikit-learn estimator by label; labels without both classes in training have none.
    """

    covariates: tuple[Covariate, ...]
    models: Mapping[str, Any]

    def predict(self, rows: pd.DataFrame, label: str) -> np.ndarray:
        """Returns the probability of a label for catalog rows, float64 [n]; 0.5 if training lacks a class."""
        if label not in self.models:
            return np.full(len(rows), 0.5)
        probabilities: np.ndarray = self.models[label].predict_proba(_design(self.covariates, rows))[:, 1]
        return probabilities


def fit_patient_data(train: pd.DataFrame, labels: Sequence[str], covariates: Sequence[Covariate]) -> PatientDataModel:
    """Fits the logistic regressions on catalog rows: value and square of a number, one-hot categories, missing flags.

    Images whose label is unknown are left out of the regression of that label.
    """
    from sklearn.linear_model import LogisticRegression  # takes a second, which most runs do not need

    inputs, models = _design(covariates, train), {}
    for label in labels:
        truth = label_class(train, label).to_numpy("float64")
        known = ~np.isnan(truth)
        if has_both_classes(truth):
            models[label] = LogisticRegression(max_iter=MAX_STEPS, tol=TOLERANCE).fit(inputs[known], truth[known])
    return PatientDataModel(tuple(covariates), models)


def check_disguised_labels(
    train: pd.DataFrame,
    labels: Sequence[str],
    names: Sequence[str],
    insisted: Sequence[str],
    task: str = MULTILABEL,
) -> None:
    """Rejects a covariate that alone predicts a label on the training images: it is the label in disguise.

    A number is given away by another one that correlates with it almost perfectly.

    Args:
        train: catalog rows of the training images.
        labels: names of the labels.
        names: the covariates, see `covariate_column`.
        insisted: covariates that are not checked.
        task: what the labels are, one of `radiograft.config.data.TASKS`.

    Raises:
        ValueError: the AUROC of a covariate alone exceeds MAX_AUROC, its squared correlation with a number exceeds
            MAX_R2, or as `Covariate.fit`.
    """
    if task == REGRESSION:
        _check_disguised_numbers(train, labels, [name for name in names if name not in insisted])
        return
    for name in names:
        if name in insisted or train[covariate_column(name)].isna().all():
            continue
        alone = fit_patient_data(train, labels, [Covariate.fit(name, train[covariate_column(name)])])
        for label in labels:
            truth = label_class(train, label).to_numpy("float64")
            known = ~np.isnan(truth)
            if min((truth == 1).sum(), (truth == 0).sum()) < MIN_POSITIVES:
                continue
            area = auroc(truth[known], alone.predict(train, label)[known])
            if area > MAX_AUROC:
                raise ValueError(
                    f"{name} must not give {label} away: alone it reaches an AUROC of {area:.3f} on training, more "
                    f"than {MAX_AUROC}; leave it out, or set data_covariates_insist={name}"
                )


def _check_disguised_numbers(train: pd.DataFrame, targets: Sequence[str], names: Sequence[str]) -> None:
    for name in names:
        values = train[covariate_column(name)]
        for target in targets if pd.api.types.is_numeric_dtype(values) else ():
            truth = train[label_column(target)]
            known = truth.notna() & values.notna()
            one, other = (column[known].to_numpy("float64") for column in (values, truth))
            if known.sum() < 2 * MIN_POSITIVES or np.ptp(one) == 0 or np.ptp(other) == 0:
                continue
            if (explained := float(np.corrcoef(one, other)[0, 1] ** 2)) > MAX_R2:
                raise ValueError(
                    f"{name} must not give {target} away: alone it explains {explained:.3f} of its variance on "
                    f"training, more than {MAX_R2}; leave it out, or set data_covariates_insist={name}"
                )


def _design(covariates: Sequence[Covariate], rows: pd.DataFrame) -> np.ndarray:
    columns = []
    for covariate in covariates:
        encoded = covariate.encode(rows[covariate_column(covariate.name)]).astype("float64")
        columns += [1 - encoded[:, :1], encoded[:, 1:]]
        columns += [encoded[:, 1:] ** 2] if covariate.is_numeric else []
    return np.concatenate(columns, axis=1)
