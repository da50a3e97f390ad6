"""`radiograft evaluate`: names of external sets and invalid input; the evaluation itself is an integration test."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from radiograft_pipelines.cli.evaluate import default_name
from radiograft_pipelines.cli.main import main


@pytest.mark.parametrize(
    ("source", "data_format", "name"),
    [
        ("/data/chestxray14", "chestxray14", "chestxray14"),
        ("/data/pneumoniamnist.npz", "medmnist", "pneumoniamnist"),
        ("/data/covid views/metadata.csv", "table", "covid-views"),
        ("gs://hospital/films/", "folders", "films"),
    ],
)
def test_default_name_is_that_of_folder_or_file(source: str, data_format: str, name: str) -> None:
    assert default_name(source, data_format) == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--name", "a/b"), "--name must be 1 to 63 characters from A-Z a-z 0-9 _ -"),
        (("--report", "a.json"), "--report must not end in .json"),
        (("--set", "data_label=Mass"), "unknown setting 'data_label'; did you mean 'data_labels'"),
        (("--corruptions", "fog"), "'fog' is not one of"),
        ((), "chest-radiograph has no version 3"),
        (("--no-record",), "chest-radiograph has no version 3"),
    ],
)
def test_evaluate_invalid_input_is_rejected(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    place = ("--registry", str(tmp_path), "--version", "3", "--source", "/data")
    result = CliRunner().invoke(main, ["evaluate", *place, *options])
    assert result.exit_code in (1, 2)
    assert message in result.output
