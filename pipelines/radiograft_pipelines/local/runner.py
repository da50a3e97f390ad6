"""Runs the compiled pipeline on this machine: kfp.local without Docker, on the embedded object store."""

from __future__ import annotations

import contextlib
import datetime
import json
import secrets
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
from radiograft.data import change_detection
from radiograft.storage import checksums
from radiograft_pipelines.compile import COMPILED
from radiograft_pipelines.local.object_store import embedded_store, environment
from radiograft_pipelines.local.progress import Progress, show_progress
from radiograft_pipelines.settings import SEARCH, WHOLE, fill_defaults

JOB_ID = "{{$.pipeline_job_uuid}}"
RECORD = "run.json"
SUMMARY = "summary.json"  # written last: a run that has it is finished
LOG = "run.log"


class RunFailedError(RuntimeError):
    """A task failed; the message is its error, and where the log is."""


def new_run_id(pipeline: str, values: Mapping[str, Scalar], out: Path) -> str:
    """Notes which pipeline is to run with which values of the run form, and returns the new run's id."""
    run_id = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
    text = json.dumps({"pipeline": pipeline, "values": dict(values)}, indent=2)
    storage.write_bytes(str(out / run_id / RECORD), text.encode())
    return run_id


def run_pipeline(run_id: str, out: Path, console: Console) -> dict[str, Any]:
    """Runs what `new_run` noted and returns its summary; a run that was cut short goes on from its checkpoints, and one
    that is finished is left alone.

    Everything is kept below `out`: `store` (the object store with registry and artifacts, shared by all runs), a folder
    a run with log, artifacts, report, TensorBoard logs and summary.json, and `latest`, a link to the last good run that
    trained. The summary of one that found nothing to train on has `trained` false and the reason.

    Args:
        run_id: the name of the run's folder, or of a link to it.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError, TypeError: its run.json is damaged.
        RunFailedError: a task failed. Nothing was published then, and `latest` is unchanged.
        RuntimeError: the object store does not start, or anything else; the message is the error, and where its
            traceback is.
    """
    folder = out.absolute() / (out / run_id).resolve().name
    if not (folder / RECORD).is_file():
        raise FileNotFoundError(f"a run to resume must be a folder of {out} with {RECORD}, got {run_id!r}")
    if (folder / SUMMARY).is_file():
        console.print(f"run [bold]{folder.name}[/] is finished: nothing is run again", highlight=False)
        return dict(json.loads((folder / SUMMARY).read_text()))
    pipeline, values = _noted(folder / RECORD)
    console.print(f"run [bold]{folder.name}[/]: {values['model_backbone']} on {values['data_source']}", highlight=False)
    with embedded_store(out / "store"), _traced(folder / LOG):
        return _run(pipeline, values, folder, console)


@contextlib.contextmanager
def _traced(log: Path) -> Iterator[None]:
    """Keeps the traceback of what nobody foresaw, which the terminal gets in one line."""
    try:
        yield
    except RunFailedError:
        raise
    except Exception as error:
        with log.open("a") as file:
            traceback.print_exc(file=file)
        raise RuntimeError(f"{type(error).__name__}: {error}; the traceback is in {log}") from error


def _run(pipeline: str, values: Mapping[str, Scalar], folder: Path, console: Console) -> dict[str, Any]:
    with _scratch(), (folder / LOG).open("a", buffering=1) as log:
        shutil.rmtree(folder / "artifacts", ignore_errors=True)  # of an attempt that was cut short
        seconds = _execute(pipeline, values, folder, Progress(console, log))
        storage.upload_tree(folder / "artifacts", f"gs://{storage.EMBEDDED_BUCKET}/runs/{folder.name}")
    (root,) = (folder / "artifacts").iterdir()
    found = change_detection.read(root / "ingest" / "catalog")
    outcome = _summarize(root, folder, values) if found.train else {"reason": found.reason, "artifacts": str(root)}
    summary = {"run_id": folder.name, "trained": found.train, **outcome, "seconds": seconds}
    if found.train:
        _point(folder.parent / "latest", folder)
    storage.write_bytes(str(folder / SUMMARY), json.dumps(summary, indent=2).encode())
    return summary


def _noted(record: Path) -> tuple[str, dict[str, Scalar]]:
    """The pipeline and the values that `new_run` wrote down."""
    wanted = f"{record} must hold the pipeline and the values of a run"
    try:
        noted = json.loads(record.read_text())
        pipeline, values = noted["pipeline"], noted["values"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{wanted}; it is damaged ({error}), so start a new run") from None
    if pipeline not in (WHOLE, SEARCH) or not isinstance(values, dict):
        raise ValueError(f"{wanted}, got {pipeline!r} with {type(values).__name__}; start a new run")
    return pipeline, fill_defaults(values)


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """A folder for temporary files of the tasks, in which KFP's launcher and a task that is killed leave some."""
    with (
        tempfile.TemporaryDirectory(prefix="radiograft-run-", ignore_cleanup_errors=True) as folder,
        environment("TMPDIR", folder),
    ):
        yield


def _execute(name: str, values: Mapping[str, Scalar], folder: Path, progress: Progress) -> dict[str, float]:
    """Runs the DAG, artifacts below `folder`/artifacts, and returns seconds a stage."""
    package = (COMPILED / f"{name}.yaml").read_text()
    pipeline = kfp_components.load_component_from_text(_for_this_machine(package, folder.name))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "artifacts"))
    try:
        with warnings.catch_warnings(), show_progress(progress):
            warnings.simplefilter("ignore")
            pipeline(**values)
    except RuntimeError as error:
        raise RunFailedError(f"{progress.failure() or error}\n\nthe whole log is in {folder / LOG}") from error
    return progress.seconds


def _for_this_machine(package: str, run_id: str) -> str:
    """A compiled package without what is meant for pods: the platform document, variables such as HOME and the promise
    of GPUs, and retries after minutes of waiting. kfp.local would draw a short random number as run id; it gets the
    name of the run's folder."""
    spec = next(yaml.safe_load_all(package.replace(JOB_ID, run_id)))
    for executor in spec["deploymentSpec"]["executors"].values():
        executor["container"].pop("env", None)
    for component in (spec["root"], *spec["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task.pop("retryPolicy", None)
    return yaml.safe_dump(spec)


def _summarize(root: Path, folder: Path, values: Mapping[str, Scalar]) -> dict[str, Any]:
    """Collects from the artifacts what a user looks for; copies both reports and TensorBoard logs to the folder."""
    shutil.copy(root / "evaluate" / "report", folder / "report.html")
    shutil.copy(root / "collect-shards" / "data_report", folder / "data.html")
    _collect_logs(root, folder / "tensorboard")
    version = json.loads((root / "publish" / "version").read_text())
    facts = json.loads((root / "evaluate" / "evaluation" / "metrics.json").read_text())
    return {
        "model": version["model"],
        "version": version["version"],
        "version_uri": version["uri"],
        "standing": version["standing"],
        "reason": version["reason"],
        "registry": values["publish_registry"],
        "metrics": {split: _flatten(found) for split, found in facts["metrics"][facts["published"]].items()},
        "feature_extraction": {
            split: _flatten(found) for split, found in facts["metrics"]["feature_extraction"].items()
        },
        "random_baseline": facts["random_baseline"],
        "cut_off_search": facts["cut_off_search"],
        "data_fingerprint": facts["lineage"]["fingerprint"],
        "report": str(folder / "report.html"),
        "data_report": str(folder / "data.html"),
        "tensorboard": str(folder / "tensorboard"),
        "artifacts": str(root),
    }


def _collect_logs(root: Path, target: Path) -> None:
    """Copies every task's TensorBoard logs to one folder, those of a loop's tasks by the cut-off they began from."""
    for logs in root.glob("*/logs"):
        shutil.copytree(logs, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(checksums.NAME))
    for tried in root.glob("*/fine-tune/logs/fine_tuning"):
        contract = json.loads((tried.parents[1] / "model" / "contract.json").read_text())
        shutil.copytree(tried, target / tried.name / contract["cut_off"], dirs_exist_ok=True)


def _flatten(found: Mapping[str, Any]) -> dict[str, Any]:
    """Mean figures of a split as plain numbers, intervals beside them, counts."""
    mean = found["mean"]
    measures = ("auroc", "average_precision", "accuracy")
    return {
        **{name: mean[name]["value"] for name in measures},
        **{f"{name}_interval": [mean[name]["low"], mean[name]["high"]] for name in measures},
        "majority_accuracy": mean["majority_accuracy"],
        "n_images": found["n_images"],
        "n_patients": found["n_patients"],
        "labels_not_estimable": [label for label in found["labels"] if label not in mean["labels"]],
    }


def _point(link: Path, target: Path) -> None:
    """Replaces a symbolic link in one step."""
    draft = link.with_name(f".{link.name}-{target.name}")
    draft.symlink_to(target.name)
    draft.replace(link)
