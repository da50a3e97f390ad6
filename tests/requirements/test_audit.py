"""`make audit`: known vulnerabilities of the locked versions."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.repository import ROOT

LOCK = "numpy==2.4.0 \\\n    --hash=sha256:00\nPillow==11.0.1 ; python_version > '3'\nkeras==3.12rc1\n"


@pytest.fixture
def audit(tmp_path: Path) -> Any:
    """Runs a copy of the program with a lock file of three packages."""
    (tmp_path / "audit.py").write_text((ROOT / "requirements" / "audit.py").read_text())
    (tmp_path / "cpu.txt").write_text(LOCK)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(tmp_path / "audit.py"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def advisory(name: str = "pillow", events: list[dict[str, str]] | None = None, **fields: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": name}
    affected = {"package": package, "ranges": [{"type": "ECOSYSTEM", "events": events or []}]}
    return {"id": "X-1", "summary": "reads beyond its end", "affected": [affected], **fields}


def audit_hits(audit: Any, tmp_path: Path, *advisories: dict[str, Any]) -> list[str]:
    """Returns the lines of the hits."""
    (tmp_path / "osv.json").write_text(json.dumps(list(advisories)))
    done = audit(str(tmp_path / "osv.json"))
    *hits, last = done.stdout.splitlines()
    assert last == f"3 locked versions, {len(advisories)} advisories, {len(hits)} hits", done.stderr
    assert done.returncode == bool(hits)
    return list(hits)


def test_audit_hit_names_lock_package_version_and_advisory(audit: Any, tmp_path: Path) -> None:
    hits = audit_hits(audit, tmp_path, advisory(events=[{"introduced": "0"}, {"fixed": "11.1"}]))
    assert hits == ["cpu.txt: pillow 11.0.1: X-1 reads beyond its end"]


@pytest.mark.parametrize(
    ("name", "events", "hit"),
    [
        ("pillow", [{"introduced": "11.0.1"}, {"fixed": "11.1"}], True),
        ("pillow", [{"introduced": "0"}, {"fixed": "11.0.1"}], False),
        ("pillow", [{"introduced": "0"}, {"last_affected": "11.0.1"}], True),
        ("pillow", [{"introduced": "0"}, {"last_affected": "11.0.0"}], False),
        ("pillow", [{"introduced": "11.0.2"}], False),
        ("pillow", [{"introduced": "9"}, {"fixed": "10"}, {"introduced": "11"}, {"fixed": "12"}], True),
        ("pillow", [{"introduced": "9"}, {"fixed": "10"}, {"introduced": "12"}], False),
        ("PIL_low", [{"introduced": "0"}], False),
        ("Keras", [{"introduced": "0"}, {"fixed": "3.12"}], True),  # a release candidate precedes its release
        ("numpy", [{"introduced": "2.10"}], False),  # compared as numbers, not as text
    ],
)
def test_audit_evaluates_ranges_as_osv(
    audit: Any, tmp_path: Path, name: str, events: list[dict[str, str]], hit: bool
) -> None:
    assert bool(audit_hits(audit, tmp_path, advisory(name, events))) is hit


def test_audit_listed_version_hits_but_withdrawn_or_other_ecosystem_does_not(audit: Any, tmp_path: Path) -> None:
    listed = {"package": {"ecosystem": "PyPI", "name": "numpy"}, "versions": ["2.4.0"]}
    elsewhere = {"package": {"ecosystem": "npm", "name": "numpy"}, "versions": ["2.4.0"]}
    everything = [{"introduced": "0"}]
    assert len(audit_hits(audit, tmp_path, {"id": "X-2", "affected": [listed]})) == 1
    assert audit_hits(audit, tmp_path, {"id": "X-2", "affected": [elsewhere]}) == []
    assert audit_hits(audit, tmp_path, advisory(events=everything, withdrawn="2026-01-01T00:00:00Z")) == []


def test_audit_reads_folder_and_zip(audit: Any, tmp_path: Path) -> None:
    text = json.dumps(advisory(events=[{"introduced": "0"}]))
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "X-1.json").write_text(text)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("X-1.json", text)
    for name in ("osv", "all.zip"):
        assert audit(str(tmp_path / name)).stdout.endswith("3 locked versions, 1 advisories, 1 hits\n")


def test_audit_without_advisories_is_skipped(audit: Any) -> None:
    done = audit()
    assert (done.returncode, done.stdout[:30]) == (0, "skipped: ADVISORIES is unset; ")


def test_pins_cover_all_lock_files() -> None:
    listing = "import sys; sys.path.insert(0, 'requirements'); import audit; print({pin.lock for pin in audit.pins()})"
    done = subprocess.run([sys.executable, "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True)
    locks = {path.name for path in (ROOT / "requirements").glob("*.txt")} - {"overrides.txt"}
    assert {name for name in locks if name in done.stdout} == locks
