"""URIs in settings and --registry: paths become absolute, gs:// and s3:// stay, other schemes are rejected."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from radiograft_pipelines.cli.main import main
from radiograft_pipelines.settings import absolute_uri, fill_defaults

NEEDED: dict[str, Any] = {"data_source": "/data", "publish_registry": "/registry"}


def test_fill_defaults_makes_local_paths_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = fill_defaults({"data_source": "nih", "publish_registry": "gs://bucket/registry", "model_weights": "w.h5"})
    assert values["data_source"] == f"{tmp_path}/nih"
    assert values["publish_registry"] == "gs://bucket/registry"
    assert values["model_weights"] == f"{tmp_path}/w.h5"
    assert [fill_defaults(NEEDED | {"model_weights": name})["model_weights"] for name in ("imagenet", "none")] == [
        "imagenet",
        "none",
    ]


@pytest.mark.parametrize("uri", ["hdfs://models/registry", "GS://models"])
def test_fill_defaults_unsupported_registry_raises(uri: str) -> None:
    """Fails if the URI is treated as a path below the working folder."""
    with pytest.raises(ValueError, match=f"^publish_registry must be a path, .*, got '{uri}'$"):
        fill_defaults(NEEDED | {"publish_registry": uri})


@pytest.mark.parametrize("uri", ["https://host/x", "ftp://x/y", "gs:/bucket/x", "GS://bucket/x", "s3:/bucket"])
@pytest.mark.parametrize("name", ["data_source", "publish_registry", "model_weights"])
def test_fill_defaults_unsupported_scheme_raises(name: str, uri: str) -> None:
    """Fails if `absolute_uri` treats it as a path: the run would write to ./gs:/bucket/x."""
    message = f"{name} must be a path, gs://BUCKET/... or s3://BUCKET/..., got {uri!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fill_defaults(NEEDED | {name: uri})


def test_fill_defaults_pacs_stays_and_its_table_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pacs = {"data_format": "dicom", "data_source": "dicomweb://pacs/dicom-web", "data_table_file": "labels.csv"}
    values = fill_defaults(NEEDED | pacs)
    assert values["data_source"] == "dicomweb://pacs/dicom-web"
    assert values["data_table_file"] == f"{tmp_path}/labels.csv"
    assert fill_defaults(NEEDED)["data_table_file"] == ""


def test_absolute_uri_path_with_colon_is_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if the pattern of a scheme lacks the slash or may match inside a path."""
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("--registry", "2026:11/a") == f"{tmp_path}/2026:11/a"
    assert absolute_uri("--registry", "a/b:/c") == f"{tmp_path}/a/b:/c"


def test_fill_defaults_expands_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells do not expand the tilde in `--set source=~/data`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fill_defaults(NEEDED | {"data_source": "~/data"})["data_source"] == f"{tmp_path}/data"


@pytest.mark.parametrize("uri", ["ftp://x/y", "gs:/bucket/registry"])
def test_models_unsupported_registry_scheme_fails(uri: str) -> None:
    """Fails if `open_registry` treats the URI as a path: it would look in a folder ./ftp:/x/y."""
    result = CliRunner().invoke(main, ["models", "list", "--registry", uri])
    message = f"--registry must be a path, gs://BUCKET/... or s3://BUCKET/..., got {uri!r}"
    assert (result.exit_code, result.output) == (1, f"Error: {message}\n")
