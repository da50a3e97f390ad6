"""Fuzzes every parser of untrusted files with a few hundred inputs: each accepts a file or raises a clear error."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz import EXAMPLES_PER_SEED
from tests.repository import ROOT

PARSERS = {
    "fast_parsers": [
        *("csv", "csv.gz", "csv.zip", "parquet", "nih table", "nih list", "nih boxes", "chexpert", "tar.gz", "zip"),
        *("npz", "dicom", "dicom tree", "torch", "torch module", "safetensors", "numpy pickle", "keras weights"),
        *("settings", "cluster"),
    ],
    "stored": ["artifact", "checksums", "drift sample"],
    "versions": ["manifest", "pointer", "claim", "metrics", "lineage"],
    "slow_parsers": ["image", "checkpoint", "finished shard", "keras", "contract"],
}


def fuzz(group: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.fuzz", group, *options, "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", PARSERS)
def test_parsers_fulfill_contract(group: str, tmp_path: Path) -> None:
    """Fails with any of many mutations.

    Examples: yaml.UnsafeLoader for settings, storage.join without its check of names, np.load in drift/reference.py,
    pickle's own find_class in torch_pickle.py, no `except` there, in json_io.py or in artifact.load_model, no `_check`
    in drift/reference.py or artifact.py, and checksums.verify_checksums, checkpoints.verify_digest,
    version_claims._read or versions.read_manifest without their checks.
    """
    result = fuzz(group, tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    tallies = {tally["parser"]: tally for tally in map(json.loads, result.stdout.splitlines())}
    print(result.stdout)
    assert list(tallies) == PARSERS[group]
    assert {name: tally["broken"] for name, tally in tallies.items() if tally["broken"]} == {}
    for tally in tallies.values():
        assert tally["tried"] == tally["accepted"] + tally["refused"] == EXAMPLES_PER_SEED
        assert tally["refused"] > 0
        assert tally["accepted"] > 0


VIOLATIONS = {
    "foreign error": "broken.py raised ValueError: invalid literal",
    "other kind": "line.py raised KeyError: 'valid.bin is damaged'",
    "no message": "line.py raised ValueError: valid.bin",
    "no name": "line.py raised ValueError: a file is damaged",
    "memory": "MB, of 64 MB allowed",
    "command": "executed os.system",
    "pickle": "executed pickle.find_class",
    "outside": "left its folder: ",
    "written": "left its folder: /tmp/fuzz-outside",
}


def test_monitor_detects_each_violation(tmp_path: Path) -> None:
    result = fuzz("broken", tmp_path, *VIOLATIONS)
    violations = {tally["parser"]: tally["broken"] for tally in map(json.loads, result.stdout.splitlines())}
    assert violations.keys() == VIOLATIONS.keys(), result.stderr[-3000:]
    for name, text in VIOLATIONS.items():
        assert text in violations[name]
        assert (tmp_path / f"{name}.broken").exists()


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
def test_libfuzzer_finds_violation_behind_two_bytes(tmp_path: Path) -> None:
    """Fails without "tests.fuzz.broken" in fuzz.INSTRUMENTED, since coverage then does not reveal the first byte."""
    result = fuzz("broken", tmp_path, "hidden", "--by-coverage", "--seconds", "30", "--seed", "1")
    tally = json.loads(result.stdout)
    assert tally["broken"] == "executed os.system (b'true',)"
    assert tally["tried"] == tally["accepted"] + 1 > 1
    assert (tmp_path / "hidden.broken").read_bytes().startswith(b"RI")


@pytest.mark.parametrize(("name", "text"), [("hang", "Timeout (0:00:02)!"), ("death", "")])
def test_parser_that_hangs_or_dies_ends_its_process(name: str, text: str, tmp_path: Path) -> None:
    result = fuzz("broken", tmp_path, name, "--max-seconds", "2")
    assert result.returncode != 0
    assert text in result.stderr
    assert result.stdout == ""
    assert (tmp_path / "last-input").read_bytes() != b"valid"
