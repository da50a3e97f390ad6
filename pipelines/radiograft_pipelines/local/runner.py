"""Runs a compiled pipeline on this machine with kfp.local, without Docker, and the embedded object store."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from kfp import components as kfp_components
from kfp import local
from rich.console import Console

from radiograft import storage
from radiograft.config.base import Scalar
from radiograft.config.resolution import PIPELINES, RETRAINING, SUPER_RESOLUTION, fill_form
from radiograft.data import change_detection
from radiograft.registry.deciding_metrics import split_accuracy
from radiograft.registry.result_types import SplitMetrics
from radiograft.registry.results import read_results
from radiograft.storage import checksums
from radiograft_pipelines.cluster.package import COMPILED
from radiograft_pipelines.local.object_store import embedded_store, environment
from radiograft_pipelines.local.progress import LOG, Progress, RunFailedError, show_progress, unique_run_id
from radiograft_pipelines.local.task_server import task_server
from radiograft_pipelines.settings import fill_defaults

JOB_ID = "{{$.pipeline_job_uuid}}"
EXECUTOR = "python3 -m kfp.dsl.executor_main"
FORKED_EXECUTOR = "python3 -m radiograft_pipelines.local.task_client kfp.dsl.executor_main"
RECORD = "run.json"
SUMMARY = "summary.json"  # written last, so it marks a finished run


def new_run_id(pipeline: str, values: Mapping[str, Scalar], out: Path) -> str:
    """Records the pipeline and its parameters in a new run folder below `out`; returns the run's id."""
    run_id = unique_run_id()
    text = json.dumps({"pipeline": pipeline, "values": dict(values)}, indent=2)
    storage.write_bytes(str(out / run_id / RECORD), text.encode())
    return run_id


def run_pipeline(run_id: str, out: Path, console: Console) -> dict[str, Any]:
    """Runs or resumes a run that `new_run_id` recorded, and returns its summary.

    An interrupted run resumes from its checkpoints. A finished run is not run again.

    The folder `out` contains `store` (the object store with registry and artifacts, shared by all runs), one folder per
    run with log, artifacts, report, TensorBoard logs and summary.json, and `latest`, a link to the last successful run
    that trained. If ingest decided against training, `trained` in the summary is false and `reason` says why.

    Args:
        run_id: Name of the run's folder, or of a link to it.
        out: Folder of all runs.
        console: Console for the progress of the run.

    Raises:
        FileNotFoundError: There is no such run.
        ValueError, TypeError: Its run.json is malformed.
        RunFailedError: A task failed. Nothing was published, and `latest` is unchanged.
        RuntimeError: The object store did not start, or an unexpected error occurred. The message has the path of the
            traceback.
    """
    folder = out.absolute() / (out / run_id).resolve().name
    if not (folder / RECORD).is_file():
        raise FileNotFoundError(f"a run to resume must be a folder of {out} with {RECORD}, got {run_id!r}")
    if (folder / SUMMARY).is_file():
        console.print(f"run [bold]{folder.name}[/] is already finished", highlight=False)
        return dict(json.loads((folder / SUMMARY).read_text()))
    pipeline, values = _read_record(folder / RECORD)
    console.print(f"run [bold]{folder.name}[/]: {values['model_backbone']} on {values['data_source']}", highlight=False)
    with embedded_store(out / "store"), _log_unexpected_errors(folder / LOG):
        return _run(pipeline, values, folder, console)


@contextlib.contextmanager
def _log_unexpected_errors(log: Path) -> Iterator[None]:
    """Writes the traceback of an unexpected error to the log and raises a one-line error for the terminal."""
    try:
        yield
    except RunFailedError:
        raise
    except Exception as error:
        with log.open("a") as file:
            traceback.print_exc(file=file)
        raise RuntimeError(f"{type(error).__name__}: {error}; the traceback is in {log}") from error


def _run(pipeline: str, values: Mapping[str, Scalar], folder: Path, console: Console) -> dict[str, Any]:
    with _temporary_folder(), (folder / LOG).open("a", buffering=1) as log:
        shutil.rmtree(folder / "artifacts", ignore_errors=True)  # from an interrupted attempt
        with task_server(log):
            seconds = _execute(pipeline, values, folder, Progress(console, log))
        storage.upload_tree(folder / "artifacts", f"gs://{storage.EMBEDDED_BUCKET}/runs/{folder.name}")
    (root,) = (folder / "artifacts").iterdir()
    changes = change_detection.read(root / "ingest" / "catalog")
    trained = changes.changed or pipeline != RETRAINING
    summarize = _summarize_generator if pipeline == SUPER_RESOLUTION else _summarize
    outcome = summarize(root, folder, values) if trained else {"reason": changes.reason, "artifacts": str(root)}
    summary = {"run_id": folder.name, "trained": trained, **outcome, "seconds": seconds}
    if trained:
        _replace_link(folder.parent / "latest", folder)
    storage.write_bytes(str(folder / SUMMARY), json.dumps(summary, indent=2).encode())
    return summary


def _read_record(path: Path) -> tuple[str, dict[str, Scalar]]:
    """Reads the pipeline and its parameters that `new_run_id` recorded."""
    constraint = f"{path} must contain the pipeline and the values of a run"
    try:
        record = json.loads(path.read_text())
        pipeline, values = record["pipeline"], record["values"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{constraint}; it is malformed ({error}), so start a new run") from None
    if pipeline not in PIPELINES or not isinstance(values, dict):
        raise ValueError(f"{constraint}, got {pipeline!r} with {type(values).__name__}; start a new run")
    return pipeline, fill_defaults(values)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    """Gives the tasks a temporary folder, and removes the files that KFP's launcher and killed tasks leave there."""
    with (
        tempfile.TemporaryDirectory(prefix="radiograft-run-", ignore_cleanup_errors=True) as folder,
        environment("TMPDIR", folder),
    ):
        yield


def _execute(name: str, values: Mapping[str, Scalar], folder: Path, progress: Progress) -> dict[str, float]:
    """Runs the DAG with its artifacts below `folder`/artifacts; returns the seconds per stage."""
    package = (COMPILED / f"{name}.yaml").read_text()
    pipeline = kfp_components.load_component_from_text(_adapt_package(package, folder.name))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "artifacts"))
    try:
        with warnings.catch_warnings(), show_progress(progress):
            warnings.simplefilter("ignore")
            pipeline(**fill_form(values))
    except RuntimeError as error:
        raise RunFailedError(f"{progress.failure() or error}\n\nfull log: {folder / LOG}") from error
    return progress.seconds


def _adapt_package(package: str, run_id: str) -> str:
    """Adapts a compiled package to a local run.

    Removes what only pods need: the platform document, environment variables and retries. Replaces the placeholder of
    the run id, for which kfp.local would use a short random number, and starts tasks through the task server.
    """
    spec = next(yaml.safe_load_all(package.replace(JOB_ID, run_id)))
    for executor in spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        container.pop("env", None)
        container["command"] = [part.replace(EXECUTOR, FORKED_EXECUTOR) for part in container["command"]]
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    return yaml.safe_dump(spec)


def _summarize(root: Path, folder: Path, values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Copies the reports and TensorBoard logs to the run's folder and returns the summary of the artifacts."""
    shutil.copy(root / "evaluate" / "report", folder / "report.html")
    shutil.copy(root / "collect-shards" / "data_report", folder / "data.html")
    logs = root / "evaluate" / "tensorboard"
    without = shutil.ignore_patterns(checksums.NAME)
    shutil.copytree(logs, folder / "tensorboard", dirs_exist_ok=True, ignore=without)
    if (search := root / "choose-settings" / "search").is_dir():
        shutil.copytree(search, folder / "search", dirs_exist_ok=True, ignore=without)
    version = json.loads((root / "publish" / "version").read_text())
    results = read_results(root / "evaluate" / "evaluation")
    strategies = results["metrics"]
    return {
        "model": version["model"],
        "version": version["version"],
        "version_uri": version["uri"],
        "standing": version["standing"],
        "reason": version["reason"],
        "registry": values["publish_registry"],
        "metrics": _flatten_splits(strategies[results["published"]]),
        "feature_extraction": _flatten_splits(strategies["feature_extraction"]),
        "random_baseline": results["random_baseline"],
        "cut_off_search": results["cut_off_search"],
        "data_fingerprint": results["lineage"]["fingerprint"],
        "report": str(folder / "report.html"),
        "data_report": str(folder / "data.html"),
        "tensorboard": str(folder / "tensorboard"),
        "search": str(folder / "search") if search.is_dir() else "",
        "artifacts": str(root),
    }


def _summarize_generator(root: Path, folder: Path, values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Copies the reports of a super-resolution run to its folder and returns the summary of the artifacts."""
    shutil.copy(root / "evaluate-super-resolution" / "report", folder / "report.html")
    shutil.copy(root / "collect-shards" / "data_report", folder / "data.html")
    version = json.loads((root / "publish-super-resolution" / "version").read_text())
    evaluation = root / "evaluate-super-resolution" / "evaluation"
    results = json.loads((evaluation / "super_resolution_metrics.json").read_text())
    return {
        "model": version["model"],
        "version": version["version"],
        "version_uri": version["uri"],
        "registry": values["publish_registry"],
        "super_resolution": results,
        "report": str(folder / "report.html"),
        "data_report": str(folder / "data.html"),
        "artifacts": str(root),
    }


def _flatten_splits(splits: Mapping[str, SplitMetrics]) -> dict[str, Any]:
    return {split: _flatten_metrics(metrics) for split, metrics in splits.items()}


def _flatten_metrics(metrics: SplitMetrics) -> dict[str, Any]:
    """Returns the mean metrics of a split as plain numbers, with their intervals and the counts.

    If the targets are numbers, these are R² and the errors of each target.
    """
    if "regression" in metrics:
        return _flatten_targets(metrics)
    mean = metrics["mean"]
    accuracy, majority = split_accuracy(metrics)
    estimates = {"auroc": mean["auroc"], "average_precision": mean["average_precision"], "accuracy": accuracy}
    return {
        **{name: estimate["value"] for name, estimate in estimates.items()},
        **{f"{name}_interval": [estimate["low"], estimate["high"]] for name, estimate in estimates.items()},
        "majority_accuracy": majority["value"],
        "n_images": metrics["n_images"],
        "n_patients": metrics["n_patients"],
        "labels_not_estimable": [label for label in metrics["labels"] if label not in mean["labels"]],
    }


def _flatten_targets(metrics: SplitMetrics) -> dict[str, Any]:
    r2, targets = metrics["regression"]["r2"], metrics["regression"]["targets"]
    return {
        "r2": r2["value"],
        "r2_interval": [r2["low"], r2["high"]],
        "mae": {name: target["mae"]["value"] for name, target in targets.items()},
        "mae_interval": {name: [target["mae"]["low"], target["mae"]["high"]] for name, target in targets.items()},
        "baseline_mae": {name: target["baseline_mae"]["value"] for name, target in targets.items()},
        "n_images": metrics["n_images"],
        "n_patients": metrics["n_patients"],
        "targets_not_estimable": [name for name in targets if name not in metrics["regression"]["estimable"]],
    }


def _replace_link(link: Path, target: Path) -> None:
    """Replaces a symbolic link atomically."""
    draft = link.with_name(f".{link.name}-{target.name}")
    draft.symlink_to(target.name)
    draft.replace(link)
