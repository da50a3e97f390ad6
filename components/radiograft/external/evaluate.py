"""Evaluates a published version on another archive, with the thresholds and temperatures of the version."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pyarrow.lib import ArrowException

from radiograft.config import Evaluate, Ingest
from radiograft.config.data import MULTICLASS, MULTILABEL
from radiograft.config.patient_data import covariate_column
from radiograft.data.catalog import label_column, summarize_exclusions
from radiograft.evaluation import calibration, class_calibration, confounders, shortcuts, subgroups
from radiograft.evaluation.champion import SEEN_IMAGES_FILE
from radiograft.evaluation.results import compute_split_metrics, describe_classes
from radiograft.evaluation.subgroups import EvaluatedSplit
from radiograft.external.archive import OTHER_CLASS, Archive, SeenImages, read_archive
from radiograft.external.comparison import compare_aurocs, measure_robustness
from radiograft.external.prediction import ArchivePredictions, predict_archive
from radiograft.external.report import render_external_report
from radiograft.imaging.corruption_sets import DESIGN_SIZE
from radiograft.imaging.geometry import GRAY
from radiograft.metrics.class_decisions import ExclusiveClasses
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.registry import production
from radiograft.registry.analysis_types import Calibration
from radiograft.registry.external_results import SCHEMA_VERSION, ExternalResults, Robustness
from radiograft.registry.results import EvaluationResults, read_results
from radiograft.training import devices
from radiograft.utils import json_io

PREDICTIONS = "predictions.parquet"
VERSION_FILES = ("model.keras", "contract.json", "lineage.json", "metrics.json", PREDICTIONS, SEEN_IMAGES_FILE)


class ExternalRequest(NamedTuple):
    """What to evaluate.

    Attributes:
        model, version: the published version.
        name: name of the external set.
        ingest: format, source and policy of the archive. Whether its labels are exclusive follows from the version.
        evaluate: bootstrap samples and minimum number of patients.
        renamed: finding of the archive -> label of the version.
        official_test: use only the archive's own test split.
        corruption_set: also measure the robustness to these corruptions; empty for none.
    """

    model: str
    version: int
    name: str
    ingest: Ingest
    evaluate: Evaluate
    renamed: dict[str, str]
    official_test: bool
    corruption_set: str


class ExternalEvaluation(NamedTuple):
    """Content of metrics.json, and the report as HTML."""

    results: ExternalResults
    report: str


class _Version(NamedTuple):
    """The files of a version.

    Attributes:
        spec: specification with the thresholds.
        results: content of metrics.json.
        predictions: predictions of the published strategy on validation and test.
        seen: the images it was trained and validated on.
    """

    spec: ModelSpec
    results: EvaluationResults
    predictions: pd.DataFrame
    seen: SeenImages

    @classmethod
    def read(cls, folder: Path) -> _Version:
        results = read_results(folder)
        predictions = _read_table(folder / PREDICTIONS)
        source = str(json_io.parse_json_object((folder / "lineage.json").read_bytes(), "lineage.json")["source"])
        return cls(
            ModelSpec.read(folder),
            results,
            predictions[predictions["strategy"] == results["published"]],
            SeenImages(_read_table(folder / SEEN_IMAGES_FILE), source),
        )

    def split(self, split: str) -> pd.DataFrame:
        return self.predictions[self.predictions["split"] == split].reset_index(drop=True)

    def evaluated_labels(self, archive: Archive) -> tuple[str, ...]:
        """Returns the common labels, or all exclusive classes: their scores add up to 1 only together."""
        return self.spec.labels if self.spec.is_exclusive else tuple(archive.labels["common"])

    def internal_test(self, archive: Archive) -> pd.DataFrame:
        """Returns the predictions on test, of exclusive classes those of the images whose class the archive has too."""
        test, columns = self.split("test"), list(map(label_column, archive.labels["common"]))
        if not self.spec.is_exclusive or not archive.labels["version_only"]:
            return test
        test = test[test[columns].eq(1.0).any(axis="columns")].reset_index(drop=True)
        if test.empty:
            common = ", ".join(archive.labels["common"])
            raise ValueError(
                f"the version's test split must hold images of a class of the archive, got none of {common}"
            )
        return test

    def classes(self, settings: Evaluate) -> ExclusiveClasses | None:
        """Returns the description of exclusive classes, with the majority class of the version's training images."""
        return describe_classes(self.results["data"], self.spec.labels, settings) if self.spec.is_exclusive else None


def evaluate_version(folder: Path, request: ExternalRequest) -> ExternalEvaluation:
    """Evaluates a version on an archive. Nothing is fitted on the archive.

    Args:
        folder: folder with VERSION_FILES.
        request: archive and options.

    Raises:
        FileNotFoundError: the source is missing.
        ValueError: a file of the version is malformed, or the archive cannot be used (see `read_archive`).
        RuntimeError: GPUs were requested and are missing.
    """
    version, seed = _Version.read(folder), request.evaluate.train_seed
    if version.spec.is_numeric:
        raise ValueError(
            f"version {request.version} must predict labels to be evaluated on another archive, got the numbers "
            f"{', '.join(version.spec.labels)} (data_task=regression): compare its predictions from `radiograft models "
            "predict` with the true values"
        )
    task = MULTICLASS if version.spec.is_exclusive else MULTILABEL
    request = request._replace(ingest=dataclasses.replace(request.ingest, data_task=task))
    devices.make_reproducible(seed)
    archive = read_archive(
        request.ingest, version.spec.labels, request.renamed, version.seen, official_test=request.official_test
    )
    strategy = devices.distribution_strategy()
    with strategy.scope():
        predictor = Predictor(artifact.load_model(folder), strategy)
    predicted = predict_archive(
        archive.rows,
        version.evaluated_labels(archive),
        version.spec,
        predictor,
        request.ingest.policy(),
        request.corruption_set,
        seed,
    )
    results = _compute_results(request, version, archive, predicted)
    return ExternalEvaluation(results, render_external_report(results, archive, predicted))


def _compute_results(
    request: ExternalRequest, version: _Version, archive: Archive, predicted: ArchivePredictions
) -> ExternalResults:
    settings, labels = request.evaluate, version.evaluated_labels(archive)
    classes, test = version.classes(settings), version.internal_test(archive)
    samples, seed = settings.evaluate_bootstrap_samples, settings.train_seed
    thresholds = {label: value for label, value in (version.spec.thresholds or {}).items() if label in labels}
    metrics = compute_split_metrics(settings, predicted.predictions, labels, thresholds, classes)
    internal = compute_split_metrics(settings, test, labels, thresholds, classes)
    estimable = metrics["mean"]["labels"]
    on_both = [label for label in estimable if label in internal["mean"]["labels"]]
    rows = predicted.rows.assign(uri="") if request.ingest.data_format == "folders" else predicted.rows
    evaluated = EvaluatedSplit(predicted.predictions, rows, thresholds, labels, classes)
    found_shortcuts = shortcuts.find_shortcuts(rows, evaluated, estimable)
    found_confounders = confounders.find_confounders(rows, labels)
    return {
        "schema_version": SCHEMA_VERSION,
        "model": request.model,
        "version": request.version,
        "name": request.name,
        "created": production.utc_now(),
        "source": archive.source,
        "fingerprint": archive.fingerprint,
        "settings": _settings(request),
        "labels": archive.labels,
        "overlap": archive.overlap,
        "thresholds": thresholds,
        "metrics": metrics,
        "internal": internal,
        "comparison": compare_aurocs(test, predicted.predictions, on_both, samples, seed),
        "calibration": _calibrate(version, predicted, estimable),
        "subgroups": subgroups.evaluate_subgroups(evaluated, settings),
        "shortcuts": found_shortcuts,
        "confounders": found_confounders,
        "robustness": _measure_robustness(request, predicted, estimable),
        "excluded": summarize_exclusions(pd.concat([archive.excluded, predicted.excluded])),  # type: ignore[typeddict-item]
        "warnings": [
            *_warnings(request, version, archive, predicted),
            *shortcuts.shortcut_warnings(found_shortcuts, "the external set"),
            *confounders.confounder_warnings(found_confounders, "the external set"),
        ],
    }


def _measure_robustness(
    request: ExternalRequest, predicted: ArchivePredictions, estimable: Sequence[str]
) -> Robustness | None:
    if not predicted.corrupted or not estimable:
        return None
    samples, seed = request.evaluate.evaluate_bootstrap_samples, request.evaluate.train_seed
    return measure_robustness(
        request.corruption_set, predicted.predictions, predicted.corrupted, estimable, samples, seed
    )


def _calibrate(version: _Version, predicted: ArchivePredictions, estimable: list[str]) -> Calibration:
    parts = version.split("validation"), predicted.predictions
    if version.spec.is_exclusive:
        return class_calibration.calibrate_classes(*parts, version.spec.labels, estimable)
    return calibration.calibrate(*parts, estimable)


def _warnings(
    request: ExternalRequest, version: _Version, archive: Archive, predicted: ArchivePredictions
) -> list[str]:
    warnings = [*archive.notes, *missing_input_warnings(version.spec, predicted.rows)]
    if archive.source == version.seen.source:
        warnings.append("the archive is the version's own data source: internal and external images may be the same")
    if archive.labels["version_only"]:
        missing = ", ".join(archive.labels["version_only"])
        warnings.append(
            f"the archive has no images of {missing}: they stay among the classes that can be predicted, with the "
            "probabilities as they are, and the internal metrics are those of test images of the other classes"
            if version.spec.is_exclusive
            else f"not evaluated, because the archive has no such finding: {missing}"
        )
    if unknown := int(archive.excluded["reason"].eq(OTHER_CLASS).sum()):
        warnings.append(f"{unknown:,} images {OTHER_CLASS} were left out")
    if any(archive.overlap.values()):
        warnings.append(
            f"{archive.overlap['seen_images']:,} images that the version has seen in training or validation and "
            f"{archive.overlap['other_images_of_seen_patients']:,} other images of seen patients were left out"
        )
    if request.corruption_set and version.spec.image_size != DESIGN_SIZE:
        warnings.append(
            f"the severities of the corruptions were chosen for {DESIGN_SIZE} pixels, and the model sees "
            f"{version.spec.image_size}"
        )
    target = "grayscale" if version.spec.channels == GRAY else "RGB"
    modes = [f"{count:,} images were {mode} and were converted to {target}" for mode, count in predicted.modes.items()]
    return [*warnings, *modes]


def missing_input_warnings(spec: ModelSpec, rows: pd.DataFrame) -> list[str]:
    """Returns a warning for the inputs of a version that an archive does not provide.

    Args:
        spec: specification of the version.
        rows: catalog rows of the archive.
    """
    columns = {each.name: covariate_column(each.name) for each in spec.covariates}
    lacking = [name for name, column in columns.items() if column not in rows or rows[column].isna().all()]
    warnings = ["the version was predicted without lateral images, because archives are read image by image"]
    return (warnings if spec.lateral else []) + (
        [f"the version was predicted without patient data that the archive lacks: {', '.join(lacking)}"]
        if lacking
        else []
    )


def _settings(request: ExternalRequest) -> dict[str, bool | int | float | str]:
    ingest = {name: value for name, value in vars(request.ingest).items() if name.startswith("data_")}
    used = ("evaluate_bootstrap_samples", "evaluate_min_patients", "train_seed")
    evaluate = {name: value for name, value in vars(request.evaluate).items() if name in used}
    return {**ingest, **evaluate, "official_test": request.official_test, "corruptions": request.corruption_set}


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ArrowException) as error:
        raise ValueError(f"{path.name} of the version must be a Parquet file: {error}") from error
