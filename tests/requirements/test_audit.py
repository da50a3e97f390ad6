"""`make audit`: known vulnerabilities of the locked versions, from a file."""

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
    """Runs a copy of the program beside a lock of three packages."""
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


def found(audit: Any, tmp_path: Path, *advisories: dict[str, Any]) -> list[str]:
    """The lines of hits."""
    (tmp_path / "osv.json").write_text(json.dumps(list(advisories)))
    done = audit(str(tmp_path / "osv.json"))
    *hits, last = done.stdout.splitlines()
    assert last == f"3 locked versions, {len(advisories)} advisories, {len(hits)} hits", done.stderr
    assert done.returncode == bool(hits)
    return list(hits)


def test_a_hit_names_lock_package_version_and_advisory(audit: Any, tmp_path: Path) -> None:
    hits = found(audit, tmp_path, advisory(events=[{"introduced": "0"}, {"fixed": "11.1"}]))
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
        ("Keras", [{"introduced": "0"}, {"fixed": "3.12"}], True),  # a candidate comes before its release
        ("numpy", [{"introduced": "2.10"}], False),  # numbers, not letters
    ],
)
def test_ranges_are_read_as_osv_says(
    audit: Any, tmp_path: Path, name: str, events: list[dict[str, str]], hit: bool
) -> None:
    assert bool(found(audit, tmp_path, advisory(name, events))) is hit


def test_versions_may_be_listed_and_withdrawn_or_other_advisories_do_not_count(audit: Any, tmp_path: Path) -> None:
    listed = {"package": {"ecosystem": "PyPI", "name": "numpy"}, "versions": ["2.4.0"]}
    elsewhere = {"package": {"ecosystem": "npm", "name": "numpy"}, "versions": ["2.4.0"]}
    everything = [{"introduced": "0"}]
    assert len(found(audit, tmp_path, {"id": "X-2", "affected": [listed]})) == 1
    assert found(audit, tmp_path, {"id": "X-2", "affected": [elsewhere]}) == []
    assert found(audit, tmp_path, advisory(events=everything, withdrawn="2026-01-01T00:00:00Z")) == []


def test_a_folder_and_osvs_archive_are_read_too(audit: Any, tmp_path: Path) -> None:
    text = json.dumps(advisory(events=[{"introduced": "0"}]))
    (tmp_path / "osv").mkdir()
    (tmp_path / "osv" / "X-1.json").write_text(text)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("X-1.json", text)
    for place in ("osv", "all.zip"):
        assert audit(str(tmp_path / place)).stdout.endswith("3 locked versions, 1 advisories, 1 hits\n")


def test_without_advisories_it_is_skipped_with_the_reason(audit: Any) -> None:
    done = audit()
    assert (done.returncode, done.stdout[:30]) == (0, "skipped: ADVISORIES is unset; ")


def test_every_lock_of_the_project_is_read() -> None:
    listing = "import sys; sys.path.insert(0, 'requirements'); import audit; print({pin.lock for pin in audit.pins()})"
    done = subprocess.run([sys.executable, "-c", listing], cwd=ROOT, capture_output=True, text=True, check=True)
    locks = {path.name for path in (ROOT / "requirements").glob("*.txt")} - {"overrides.txt"}
    assert {name for name in locks if name in done.stdout} == locks
