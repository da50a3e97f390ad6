"""The publish stage: publishes the fine-tuned model as a numbered, immutable version of the registry.

Promotes the version to production if the promotion gate approved it. Does not import TensorFlow.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.config import Publish
from radiograft.models.spec import OOD_FILE, ModelSpec
from radiograft.registry import lineage, model_registry, production, tensorboard_logs, version_claims
from radiograft.registry import versions as registry
from radiograft.registry.model_registry_api import RegistrationError
from radiograft.registry.result_types import GateDecision
from radiograft.registry.results import EvaluationResults, read_results
from radiograft.reporting import model_card
from radiograft.storage import checksums

log = logging.getLogger(__name__)


class PublishInputs(NamedTuple):
    """Paths of the artifacts.

    Attributes:
        model: folder of the model, as `radiograft.models.artifact` writes it.
        evaluation: folder of the evaluation.
        report: HTML file.
    """

    model: Path
    evaluation: Path
    report: Path


class PublishResult(NamedTuple):
    """The published version.

    Attributes:
        version: version number.
        promoted: whether it was promoted to production.
        reason: why, or why not.
    """

    version: int
    promoted: bool
    reason: str

    @property
    def standing(self) -> str:
        """`production` or `candidate`."""
        return "production" if self.promoted else "candidate"

    def log_to(self, metrics: Any) -> None:
        """Logs to KFP's Metrics artifact, under names of `radiograft.registry.deciding_metrics`."""
        metrics.log_metric("version", self.version)
        metrics.log_metric("gate_promoted", int(self.promoted))


def run(
    settings: Publish, inputs: PublishInputs, run_id: str, output: Path, logs: tuple[Path, ...] = ()
) -> PublishResult:
    """Publishes the model with its evaluation, promotes it if approved, and removes the checkpoints of the run.

    Copies the TensorBoard logs to the registry and registers the version in the Model Registry, if one is set. The log
    warns if these fail; the version is published nevertheless.

    Args:
        settings: settings of the stage.
        inputs: artifacts of the earlier stages.
        run_id: id of the pipeline run. A retry of the same run completes the version of the first attempt.
        output: JSON file to write: the version, its URI, its standing, the URIs of its TensorBoard logs and of its
            entry in the Model Registry (null without one), and the lineage.
        logs: folders of TensorBoard logs, of as many tasks as have some.

    Raises:
        FileNotFoundError: an input file is missing.
        ValueError: metrics.json lacks the decision of the gate, or the report is not the one of the evaluation.
    """
    root, model = settings.publish_registry, settings.publish_model_name
    results = read_results(inputs.evaluation)
    checksums.verify_checksum_of_file(inputs.report, inputs.evaluation)
    claim = version_claims.claim_version(root, model, run_id)
    origin = lineage.collect_lineage(results["lineage"], claim)
    with tempfile.TemporaryDirectory() as folder:
        files = _collect_files(inputs, Path(folder), model, results, origin)
        metadata = {"model": model, "created": claim.created}
        uri = registry.write_version(root, model, claim.number, files, metadata)
    result = _promote_if_approved(settings, claim, results["gate"])
    log.info("published %s version %d at %s", model, claim.number, uri)
    log.info("%s: %s", result.standing, result.reason)
    content = {"model": model, "uri": uri, **result._asdict(), "standing": result.standing}
    content |= {"tensorboard": _copy_logs(root, model, claim, logs), "registered": _register(settings, claim)}
    content["lineage"] = origin
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=2))
    # Earlier stages keep theirs: one that is killed before its outputs are uploaded resumes from its checkpoints.
    storage.delete_tree(storage.join(root, registry.CHECKPOINTS, run_id))
    return result


def _promote_if_approved(settings: Publish, claim: version_claims.Claim, decision: GateDecision) -> PublishResult:
    """Promotes the version if the gate approved it and the production version is still the one it was compared with.

    If `gate_external` is set, the version stays a candidate: it has no external evaluation yet.
    """
    root, model = settings.publish_registry, settings.publish_model_name
    reason = "; ".join(decision["reasons"])
    if not decision["promote"]:
        return PublishResult(claim.number, False, reason)
    if settings.gate_external:
        return PublishResult(claim.number, False, _describe_external_gate(settings, claim.number))
    current = production.read_production(root, model)
    if _was_promoted(current, claim):
        return PublishResult(claim.number, True, reason)  # by an earlier attempt of this run
    try:
        if (current.version if current else None) != decision["champion"]:
            raise production.conflict_error(current, decision["champion"])
        production.promote(root, model, claim.number, current, run_id=claim.run_id, reason=reason)
    except production.ConflictError as conflict:
        # Another attempt of this run may have promoted it at the same time.
        if not _was_promoted(production.read_production(root, model), claim):
            return PublishResult(claim.number, False, f"{conflict}; run the pipeline again")
    return PublishResult(claim.number, True, reason)


def _describe_external_gate(settings: Publish, number: int) -> str:
    place = f"--registry {settings.publish_registry} --model {settings.publish_model_name}"
    return (
        f"the gate approved it, and gate_external requires {settings.gate_external}: run `radiograft evaluate {place} "
        f"--version {number} --name NAME --source ...` for {', '.join(settings.external_minimums())}, then "
        f"`radiograft models promote {number} {place}`"
    )


def _copy_logs(root: str, model: str, claim: version_claims.Claim, folders: tuple[Path, ...]) -> str | None:
    """Copies the TensorBoard logs to the registry and returns their URI, None if there are none or it failed."""
    try:
        return tensorboard_logs.write_logs(root, model, claim, folders) if folders else None
    except OSError as error:
        log.warning("TensorBoard logs are not copied: %s; those of the tasks remain in the run's artifacts", error)
        return None


def _register(settings: Publish, claim: version_claims.Claim) -> str | None:
    """Registers the version in the Model Registry and returns its link, None without one or if it failed."""
    url, root, model = settings.publish_model_registry, settings.publish_registry, settings.publish_model_name
    if not url:
        return None
    try:
        link = model_registry.register_version(url, root, model, claim.number).link
    except (RegistrationError, OSError, ValueError) as error:
        command = f"radiograft models register {claim.number} --registry {root} --model {model} --model-registry {url}"
        log.warning(
            "version %s is published, but not registered: %s; to register it, run `%s`", claim.number, error, command
        )
        return None
    log.info("registered version %s: %s", claim.number, link)
    return link


def _was_promoted(current: production.Production | None, claim: version_claims.Claim) -> bool:
    return current is not None and any(change.run_id == claim.run_id for change in current.history)


def _collect_files(
    inputs: PublishInputs, folder: Path, model: str, results: EvaluationResults, origin: dict[str, Any]
) -> dict[str, Path]:
    """Returns the files of the version by name: the SavedModel at its root, all others below `assets.extra`.

    Args:
        inputs: artifacts of the earlier stages.
        folder: folder to which generated files are written.
        model: name of the model.
        results: content of metrics.json.
        origin: lineage of the version.
    """
    spec = ModelSpec.read(inputs.model)
    # Of exclusive classes, the one with the highest probability is predicted, and numbers have no decision.
    if not (spec.is_exclusive or spec.is_numeric):
        spec = dataclasses.replace(spec, thresholds=results["thresholds"][results["published"]])
    spec.write(folder)
    (folder / "lineage.json").write_text(json.dumps(origin, indent=2))
    card = model_card.render_model_card(model, results, spec, origin)
    (folder / "model_card.md").write_text(card, encoding="utf-8")
    extra = {
        "model.keras": inputs.model / "model.keras",
        "history.json": inputs.model / "history.json",
        **({OOD_FILE: inputs.model / OOD_FILE} if spec.ood_threshold is not None else {}),
        "report.html": inputs.report,
        **{path.name: path for path in folder.iterdir()},
        **_list_files(inputs.evaluation),
    }
    return _list_files(inputs.model / "saved_model") | {
        f"{registry.EXTRA_ASSETS}/{name}": path for name, path in extra.items()
    }


def _list_files(folder: Path) -> dict[str, Path]:
    """Returns the files below a folder by relative name, without checksum files: the version has its own."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(checksums.NAME))
    return {path.relative_to(folder).as_posix(): path for path in files}
