"""Places that a user gives, in settings and as --registry: a path, gs:// or s3://, and nothing taken for a path."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from radiograft_pipelines.cli.main import main
from radiograft_pipelines.settings import absolute_uri, fill_defaults

NEEDED: dict[str, Any] = {"data_source": "/data", "publish_registry": "/registry"}


def test_local_paths_become_absolute_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = fill_defaults({"data_source": "nih", "publish_registry": "gs://bucket/registry", "model_weights": "w.h5"})
    assert values["data_source"] == f"{tmp_path}/nih"
    assert values["publish_registry"] == "gs://bucket/registry"
    assert values["model_weights"] == f"{tmp_path}/w.h5"
    assert [fill_defaults(NEEDED | {"model_weights": name})["model_weights"] for name in ("imagenet", "none")] == [
        "imagenet",
        "none",
    ]


@pytest.mark.parametrize("place", ["hdfs://models/registry", "GS://models"])
def test_a_place_of_another_kind_is_no_local_path(place: str) -> None:
    """Fails where it is made absolute, as if it lay below the working folder."""
    with pytest.raises(ValueError, match=f"^publish_registry must be a path, .*, got '{place}'$"):
        fill_defaults(NEEDED | {"publish_registry": place})


@pytest.mark.parametrize("place", ["https://host/x", "ftp://x/y", "gs:/bucket/x", "GS://bucket/x", "s3:/bucket"])
@pytest.mark.parametrize("name", ["data_source", "publish_registry", "model_weights"])
def test_another_scheme_is_no_folder_of_this_machine(name: str, place: str) -> None:
    """Fails where `located` makes everything absolute that names no bucket: the run writes to ./gs:/bucket/x then."""
    message = f"{name} must be a path, gs://BUCKET/... or s3://BUCKET/..., got {place!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        fill_defaults(NEEDED | {name: place})


def test_a_colon_alone_makes_no_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where `SCHEME` lacks its slash or may stand anywhere in a path."""
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("--registry", "2026:11/a") == f"{tmp_path}/2026:11/a"
    assert absolute_uri("--registry", "a/b:/c") == f"{tmp_path}/a/b:/c"


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where `located` lacks expanduser: a shell leaves `--set source=~/data` as it is."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fill_defaults(NEEDED | {"data_source": "~/data"})["data_source"] == f"{tmp_path}/data"


@pytest.mark.parametrize("place", ["ftp://x/y", "gs:/bucket/registry"])
def test_a_registry_that_is_no_place_is_refused(place: str) -> None:
    """Fails where `shelved` takes --registry as it is: it would be looked for in a folder ./ftp:/x/y."""
    result = CliRunner().invoke(main, ["models", "list", "--registry", place])
    message = f"--registry must be a path, gs://BUCKET/... or s3://BUCKET/..., got {place!r}"
    assert (result.exit_code, result.output) == (1, f"Error: {message}\n")
