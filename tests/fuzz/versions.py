"""Parsers of registry files, which anyone with write access to the bucket, or an older release, may have written."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import click

from radiograft.config import Ingest
from radiograft.data import change_detection
from radiograft.data.quality import summary
from radiograft.registry import production, version_claims
from radiograft.registry import versions as registry
from radiograft.reporting import model_card
from radiograft.serving import sync
from radiograft.stages.ingest import task as ingest
from radiograft_pipelines.cli.main import main
from tests.fuzz.contract import Parser
from tests.fuzz.mutations import Seeds, of_json
from tests.helpers.nih_source import nih_files, put
from tests.helpers.publish_inputs import METRICS, SPEC
from tests.helpers.versions import form

LINEAGE = METRICS["lineage"] | {"run_id": "r", "created": "2026-01-01T00:00:00+00:00", "parent": None, "seeds": {}}
LINEAGE |= {"code": {"version": "1", "commit": None}, "packages": {"keras": "3"}, "image": None}
METRICS_NAME, LINEAGE_NAME, CARD_NAME = (
    f"{registry.EXTRA_ASSETS}/{name}" for name in ("metrics.json", "lineage.json", "model_card.md")
)
FILES = {
    "saved_model.pb": b"",
    METRICS_NAME: json.dumps(METRICS).encode(),
    LINEAGE_NAME: json.dumps(LINEAGE).encode(),
    CARD_NAME: model_card.render_model_card(
        "m", METRICS, dataclasses.replace(SPEC, thresholds={"Pneumonia": 0.5}), LINEAGE
    ).encode(),
}
with tempfile.TemporaryDirectory() as _source:
    CATALOG = ingest.build_catalog(Ingest.of(form(put(nih_files(), _source), "/registry")))
CHANGE = {"version": 1, "time": "2026-01-01T00:00:00+00:00", "run_id": "r", "reason": "x", "rollback": False}
POINTER = json.dumps({"version": 1, "history": [CHANGE, CHANGE]}).encode()
CLAIM = json.dumps({"number": 1, "run_id": "r", "created": "2026", "parent": None}).encode()
ESCAPE = b'"files": {"../../../../canary": {"sha256": "0", "bytes": 0}, '


def _manifest(files: Mapping[str, bytes]) -> bytes:
    checks = {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} for name, content in files.items()
    }
    return json.dumps({"version": 1, "created": "2026-01-01T00:00:00+00:00", "files": checks}).encode()


def _with_digest(content: bytes) -> bytes:
    """Adds the manifest's own SHA-256, which an attacker can compute too."""
    try:
        return registry.with_own_digest(dict(json.loads(content)))
    except (ValueError, TypeError, RecursionError):
        return content


def _registry(name: str, *uses: Callable[[str, Path], object]) -> Callable[[bytes, Path], bool]:
    """Returns a function that uses a registry of one version, with one file replaced and checksums corrected."""

    def read(content: bytes, folder: Path) -> bool:
        files = FILES | ({name: content} if name in FILES else {})
        others = {"production.json": POINTER, "claims/1.json": CLAIM, "1/manifest.json": _with_digest(_manifest(files))}
        contents = {f"1/{path}": file for path, file in files.items()} | others
        put({f"registry/m/{path}": file for path, file in contents.items()}, str(folder))
        if name not in FILES:
            (folder / "registry" / "m" / name).write_bytes(content)
        for use in uses:
            use(f"{folder}/registry", folder)
        return True

    return read


def _models(*arguments: str) -> Callable[[str, Path], None]:
    """Returns a function that runs `radiograft models` and raises the cause of its one-line message."""

    def use(place: str, folder: Path) -> None:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                main(["models", *arguments, "--registry", place, "--model", "m"], standalone_mode=False)
        except click.ClickException as error:
            raise error.__cause__ or error from None

    return use


def _verify(place: str, _: Path) -> None:
    assert registry.verify_version(place, "m", 1)["version"] == 1


def _sync(place: str, folder: Path) -> None:
    (folder / "served").mkdir()
    sync.sync_models(place, "m", folder / "served")


def _rollback(place: str, _: Path) -> None:
    production.rollback(place, "m", reason="fuzz")


def _detect_changes(place: str, folder: Path) -> None:
    """Compares the data with the production version as ingest and the data report do; must never fail."""
    run_form = form("/data", place) | {"publish_registry": place, "publish_model_name": "m"}
    changes = change_detection.detect_changes(run_form, CATALOG, folder, "another run")
    summary.compare_with_previous(changes.earlier, CATALOG.summary())


READERS = (_detect_changes, _models("list"), _models("diff", "1", "1"), _models("show", "1"))
PARSERS = {
    "manifest": Parser(
        [
            *of_json(_manifest(FILES), _with_digest),
            Seeds([_manifest(FILES).replace(b'"files": {', ESCAPE)], _with_digest),
            Seeds([_with_digest(_manifest(FILES))]),
        ],
        _registry("1/manifest.json", _verify, _sync, *READERS),
    ),
    "pointer": Parser(of_json(POINTER), _registry("production.json", *READERS, _sync, _rollback)),
    "claim": Parser(
        of_json(CLAIM),
        _registry("claims/1.json", lambda place, _: version_claims.claim_version(place, "m", "r")),
        required_text="claims/1.json",
    ),
    "metrics": Parser(of_json(FILES[METRICS_NAME]), _registry(METRICS_NAME, *READERS), required_text="metrics.json"),
    "lineage": Parser(of_json(FILES[LINEAGE_NAME]), _registry(LINEAGE_NAME, *READERS), required_text="lineage.json"),
}
