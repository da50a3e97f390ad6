"""Publish: puts the fine-tuned model into the registry as a numbered, immutable version, and into production where the
gate of the evaluation says so. Needs no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import logging
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.config import Publish
from radiograft.models.spec import ModelSpec
from radiograft.registry import lineage, production, version_claims
from radiograft.registry import versions as registry
from radiograft.registry.result_types import GateDecision
from radiograft.registry.results import EvaluationResults, read_results
from radiograft.reporting import model_card
from radiograft.storage import checksums

log = logging.getLogger(__name__)


class PublishInputs(NamedTuple):
    """The model's folder (radiograft.models.artifact), the evaluation's folder and the report's file."""

    model: Path
    evaluation: Path
    report: Path


class PublishResult(NamedTuple):
    """The version's number, whether it is in production now or a candidate, and why."""

    version: int
    promoted: bool
    reason: str

    @property
    def standing(self) -> str:
        """`production` or `candidate`."""
        return "production" if self.promoted else "candidate"

    def log_to(self, metrics: Any) -> None:
        """Logs to KFP's Metrics artifact."""
        metrics.log_metric("version", self.version)
        metrics.log_metric("promoted", int(self.promoted))


def run(settings: Publish, inputs: PublishInputs, run_id: str, output: Path) -> PublishResult:
    """Publishes the model with its evaluation, carries out the gate's verdict and removes the run's checkpoints.

    Args:
        run_id: the pipeline run's id; a second attempt of the same run completes the version of the first.
        output: file that will hold the version, its URI, its standing and the lineage as JSON.

    Raises:
        FileNotFoundError: a file is gone.
        ValueError: the evaluation holds no verdict of the gate, or the report is not the one it wrote.
    """
    place, model = settings.publish_registry, settings.publish_model_name
    results = read_results(inputs.evaluation)
    checksums.verify_checksum_of_file(inputs.report, inputs.evaluation)
    claim = version_claims.claim_version(place, model, run_id)
    origin = lineage.collect_lineage(results["lineage"], claim)
    with tempfile.TemporaryDirectory() as folder:
        files = _files(inputs, Path(folder), model, results, origin)
        facts = {"model": model, "created": claim.created}
        uri = registry.write_version(place, model, claim.number, files, facts)
    outcome = _carry_out(place, model, claim, results["gate"])
    log.info("published %s version %d at %s", model, claim.number, uri)
    log.info("%s: %s", outcome.standing, outcome.reason)
    found = {"model": model, "uri": uri, **outcome._asdict(), "standing": outcome.standing, "lineage": origin}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=2))
    # Not before: until a stage's outputs are uploaded, a kill may cost all that it did.
    storage.delete_tree(storage.join(place, registry.CHECKPOINTS, run_id))
    return outcome


def _carry_out(place: str, model: str, claim: version_claims.Claim, verdict: GateDecision) -> PublishResult:
    """Moves production to the version where the gate let it pass, unless production is no longer what the gate saw."""
    reason = "; ".join(verdict["reasons"])
    if not verdict["promote"]:
        return PublishResult(claim.number, False, reason)
    current = production.read_production(place, model)
    if _promoted(current, claim):
        return PublishResult(claim.number, True, reason)  # an earlier attempt of this run did it
    try:
        if (current.version if current else None) != verdict["champion"]:
            raise production.conflict_error(current, verdict["champion"])
        production.promote(place, model, claim.number, current, run_id=claim.run_id, reason=reason)
    except production.ConflictError as conflict:
        if not _promoted(
            production.read_production(place, model), claim
        ):  # by another attempt of this run, at the same time
            return PublishResult(claim.number, False, f"{conflict}; run the pipeline again")
    return PublishResult(claim.number, True, reason)


def _promoted(current: production.Production | None, claim: version_claims.Claim) -> bool:
    return current is not None and any(change.run_id == claim.run_id for change in current.history)


def _files(
    inputs: PublishInputs, folder: Path, model: str, results: EvaluationResults, origin: dict[str, Any]
) -> dict[str, Path]:
    """The version's files by name: the SavedModel at its root, all else below `assets.extra`.

    Args:
        folder: where those that do not exist yet are written.
    """
    spec = dataclasses.replace(ModelSpec.read(inputs.model), thresholds=results["thresholds"][results["published"]])
    spec.write(folder)
    (folder / "lineage.json").write_text(json.dumps(origin, indent=2))
    card = model_card.render_model_card(model, results, spec, origin)
    (folder / "model_card.md").write_text(card, encoding="utf-8")
    extra = {
        "model.keras": inputs.model / "model.keras",
        "history.json": inputs.model / "history.json",
        "report.html": inputs.report,
        **{path.name: path for path in folder.iterdir()},
        **_tree(inputs.evaluation),
    }
    return _tree(inputs.model / "saved_model") | {
        f"{registry.EXTRA_ASSETS}/{name}": path for name, path in extra.items()
    }


def _tree(folder: Path) -> dict[str, Path]:
    """All files below a folder by their names in it, without lists of checksums: the version has one of its own."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(checksums.NAME))
    return {path.relative_to(folder).as_posix(): path for path in files}
