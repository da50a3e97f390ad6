"""Every parser of foreign bytes, tried with a few hundred hostile files each: it takes one, or says why not."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.fuzz import AT_ONCE
from tests.repository import ROOT

PARSERS = {
    "light": [
        *("csv", "csv.gz", "csv.zip", "parquet", "nih table", "nih list", "nih boxes", "chexpert", "tar.gz", "npz"),
        *("dicom", "dicom tree", "torch", "settings", "cluster"),
    ],
    "stored": ["artifact", "checksums", "drift sample"],
    "versions": ["manifest", "pointer", "claim", "metrics", "lineage"],
    "heavy": ["picture", "checkpoint", "finished shard", "keras", "contract"],
}


def fuzz(group: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.fuzz.fuzz", group, *options, "--folder", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("group", PARSERS)
def test_no_parser_breaks_the_law(group: str, tmp_path: Path) -> None:
    """Fails with UnsafeLoader in yaml_files.py, with storage.join's check of names taken out, with np.load in
    drift/sample.py, with pickle's own find_class in torch_checkpoint.py; without `except` there, in json_object.py,
    artifact.load or model_tables.py; without `_check` in drift/sample.py or artifact.py; where checksums.verify or
    checkpoints.unsealed compares nothing, claims._read checks no names, or registry.manifest no number."""
    done = fuzz(group, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    tallies = {tally["parser"]: tally for tally in map(json.loads, done.stdout.splitlines())}
    print(done.stdout)
    assert list(tallies) == PARSERS[group]
    assert {name: tally["broken"] for name, tally in tallies.items() if tally["broken"]} == {}
    for tally in tallies.values():
        assert tally["tried"] == tally["accepted"] + tally["refused"] == AT_ONCE
        assert tally["refused"] > 0
        assert tally["accepted"] > 0


NOTICED = {
    "foreign error": "broken.py raised ValueError: invalid literal",
    "other kind": "line.py raised KeyError: 'honest.bin is damaged'",
    "no message": "line.py raised ValueError: honest.bin",
    "no name": "line.py raised ValueError: a file is damaged",
    "memory": "MB, of 64 MB allowed",
    "command": "ran something: os.system",
    "pickle": "ran something: pickle.find_class",
    "outside": "left its folder: ",
    "written": "left its folder: /tmp/hostile-outside",
}


def test_each_break_of_the_law_is_noticed(tmp_path: Path) -> None:
    done = fuzz("broken", tmp_path, *NOTICED)
    told = {tally["parser"]: tally["broken"] for tally in map(json.loads, done.stdout.splitlines())}
    assert told.keys() == NOTICED.keys(), done.stderr[-3000:]
    for name, words in NOTICED.items():
        assert words in told[name]
        assert (tmp_path / f"{name}.broken").exists()


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
def test_what_hides_behind_bytes_in_a_row_is_found_by_the_lines_they_reach(tmp_path: Path) -> None:
    """Fails without "tests.fuzz.broken" in fuzz.INSTRUMENTED: then nothing leads from one byte to the next."""
    done = fuzz("broken", tmp_path, "hidden", "--by-coverage", "--seconds", "30", "--seed", "1")
    told = json.loads(done.stdout)
    assert told["broken"] == "ran something: os.system (b'true',)"
    assert told["tried"] == told["accepted"] + 1 > 1
    assert (tmp_path / "hidden.broken").read_bytes().startswith(b"RI")


@pytest.mark.parametrize(("name", "words"), [("hang", "Timeout (0:00:02)!"), ("death", "")])
def test_a_parser_that_hangs_or_dies_takes_its_process_along(name: str, words: str, tmp_path: Path) -> None:
    done = fuzz("broken", tmp_path, name, "--longest", "2")
    assert done.returncode != 0
    assert words in done.stderr
    assert done.stdout == ""
    assert (tmp_path / "last-input").read_bytes() != b"honest"
