"""Registration in a Kubeflow Model Registry, on a double of its REST API."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result

from radiograft import storage
from radiograft.config import Publish
from radiograft.registry import model_registry_api
from radiograft.registry import versions as registry
from radiograft.registry.model_registry import Registration, read_registration, register_version
from radiograft.registry.model_registry_api import RegistrationError
from radiograft.stages.publish import task
from radiograft_pipelines.cli.main import main
from tests.helpers.http_double import Fault, serve
from tests.helpers.model_registry_double import API, ModelRegistryDouble
from tests.helpers.publish_inputs import write_inputs


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelRegistryDouble]:
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH", raising=False)
    with serve(ModelRegistryDouble()) as server:
        yield cast(ModelRegistryDouble, server)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A registry with version 1 of `chest`, which is not registered."""
    monkeypatch.setenv("RADIOGRAFT_COMMIT", "c0ffee")
    monkeypatch.setenv("RADIOGRAFT_RUNNING_IMAGE", "registry.example/trainer@sha256:00")
    root = str(tmp_path / "registry")
    _publish(root, tmp_path, "")
    return root


def _publish(root: str, folder: Path, url: str, run_id: str = "run-1", **gate: Any) -> task.PublishResult:
    settings = Publish(publish_registry=root, publish_model_name="chest", publish_model_registry=url)
    return task.run(settings, write_inputs(folder / "inputs", **gate), run_id, folder / "version")


def _output(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "version").read_text())
    return content


def test_register_version_holds_uri_metrics_lineage_and_run(root: str, double: ModelRegistryDouble) -> None:
    registration = register_version(f"{double.url}/", root, "chest", 1)
    assert registration == Registration(f"{double.url}/api/model_registry/v1alpha3/model_versions/2", "1", "2")
    ((model,), (version,), (artifact,)) = double.stored.values()
    assert (model["name"], model["owner"]) == ("chest", "radiograft")
    assert model["description"] == "Research only. Not for diagnosis."
    assert (version["name"], version["registeredModelId"], version["author"]) == ("1", "1", "radiograft")
    properties = version["customProperties"]
    values = {name: next(v for key, v in each.items() if key.endswith("_value")) for name, each in properties.items()}
    assert values.pop("created").endswith("+00:00")
    assert values.pop("code_version")
    assert values == {
        "auroc_test": 0.8,
        "auroc_test_low": pytest.approx(0.7),
        "auroc_test_high": pytest.approx(0.85),
        "accuracy_test": 0.72,
        "majority_test": 0.7,
        "gate_promoted": True,
        "run_id": "run-1",
        "data_source": "gs://hospital/films",
        "data_fingerprint": "4f" * 32,
        "code_commit": "c0ffee",
        "image": "registry.example/trainer@sha256:00",
        "model_backbone": "densenet121",
        "train_seed": "3",  # the API's form of an integer
    }
    assert properties["auroc_test"]["metadataType"] == "MetadataDoubleValue"
    assert (artifact["name"], artifact["uri"]) == ("chest", f"{root}/chest/1")
    assert (artifact["modelFormatName"], artifact["modelFormatVersion"]) == ("tensorflow", "2")
    assert [artifact[f"modelSource{end}"] for end in ("Kind", "Class", "Id")] == ["pipelines", "pipelinerun", "run-1"]


def test_register_version_again_changes_nothing(root: str, double: ModelRegistryDouble) -> None:
    first = register_version(double.url, root, "chest", 1)
    stored = json.dumps(double.stored)
    assert register_version(double.url, root, "chest", 1) == first
    assert json.dumps(double.stored) == stored


@pytest.mark.parametrize("path", ["registered_models", "model_versions", "model_versions/[0-9]+/artifacts"])
@pytest.mark.parametrize("lost", [False, True])
def test_register_version_after_failure_completes_what_is_missing(
    root: str, double: ModelRegistryDouble, path: str, lost: bool
) -> None:
    """Fails if a version without its artifact, or a response that was lost, keeps a version from being registered."""
    double.faults = [Fault("POST", f"{API}/{path}", 500, lost=lost)]
    with pytest.raises(RegistrationError, match=r"got HTTP 500: injected by the test$"):
        register_version(double.url, root, "chest", 1)
    assert read_registration(root, "chest", 1) is None
    register_version(double.url, root, "chest", 1)
    assert double.names() == {"model": ["chest"], "version": ["1"], "artifact": ["chest"]}
    assert read_registration(root, "chest", 1) is not None


def test_register_version_created_by_another_attempt_is_completed(root: str, double: ModelRegistryDouble) -> None:
    double.faults = [Fault("POST", f"{API}/model_versions", 409, lost=True)]
    assert register_version(double.url, root, "chest", 1).model_version_id == "2"
    assert double.names()["artifact"] == ["chest"]


def test_register_version_unavailable_for_a_moment_is_repeated(root: str, double: ModelRegistryDouble) -> None:
    double.faults = [Fault("GET", f"{API}/model_version", 503, times=2)]
    assert register_version(double.url, root, "chest", 1).model_version_id == "2"


def test_register_version_of_another_registry_is_not_replaced(
    root: str, double: ModelRegistryDouble, tmp_path: Path
) -> None:
    register_version(double.url, root, "chest", 1)
    other = str(tmp_path / "other-registry")
    _publish(other, tmp_path / "other", "", run_id="run-9")
    with pytest.raises(RegistrationError, match=r"has version 1 of chest from run run-1, got run run-9: "):
        register_version(double.url, other, "chest", 1)
    assert double.stored["artifact"][0]["uri"] == f"{root}/chest/1"
    assert read_registration(other, "chest", 1) is None


def test_register_version_sends_the_token_that_is_named(
    root: str, double: ModelRegistryDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    double.token = "a-token"
    with pytest.raises(RegistrationError, match=r"registered_models\?pageSize=1, got HTTP 401: unauthorized$"):
        register_version(double.url, root, "chest", 1)
    (tmp_path / "token").write_text("a-token\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    assert register_version(double.url, root, "chest", 1).model_version_id == "2"


def test_register_version_service_account_token_is_not_sent_without_tls(
    root: str, double: ModelRegistryDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setattr(model_registry_api, "SERVICE_ACCOUNT_TOKEN", tmp_path / "token")
    register_version(double.url, root, "chest", 1)
    assert not any("Authorization" in request.headers for request in double.requests)


@pytest.mark.parametrize("version", ["v1", "v1alpha3"])
def test_register_version_uses_the_api_version_of_the_server(root: str, version: str) -> None:
    with serve(ModelRegistryDouble(version)) as double:
        link = register_version(double.url, root, "chest", 1).link
        assert link == f"{double.url}/api/model_registry/{version}/model_versions/2"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, "not found", "must be the URL of a Kubeflow Model Registry, but does not have its API"),
        (302, "<html>log in</html>", "registered_models?pageSize=1, got HTTP 302: Found"),
        (200, "<html>log in</html>", "is not a Kubeflow Model Registry: "),
        (200, {}, "must be the URL of a Kubeflow Model Registry, but does not have its API"),
        (200, {"id": 5}, "must return the registered_model chest with an id, got none"),
    ],
)
def test_register_version_another_service_raises(
    root: str, double: ModelRegistryDouble, status: int, body: Any, message: str
) -> None:
    double.faults = [Fault(method, ".*", status, times=9, body=body) for method in ("GET", "POST")]
    with pytest.raises(RegistrationError, match=f"^{double.url} .*{re.escape(message)}"):
        register_version(double.url, root, "chest", 1)


def test_register_version_missing_raises(root: str, double: ModelRegistryDouble) -> None:
    with pytest.raises(FileNotFoundError, match="chest has no version 7 "):
        register_version(double.url, root, "chest", 7)
    assert double.requests == []


def test_read_registration_malformed_raises(root: str) -> None:
    storage.write_bytes(f"{root}/chest/registrations/1.json", b'{"link": "http://x"}')
    with pytest.raises(
        ValueError, match=r"1\.json must contain link, registered_model_id, model_version_id: register "
    ):
        read_registration(root, "chest", 1)


def test_publish_registers_version_once(double: ModelRegistryDouble, place: str, tmp_path: Path) -> None:
    """In a folder and in buckets; a retry of the run registers nothing new."""
    for _ in range(2):
        assert _publish(place, tmp_path, double.url).version == 1
    assert double.names() == {"model": ["chest"], "version": ["1"], "artifact": ["chest"]}
    assert double.stored["artifact"][0]["uri"] == f"{place}/chest/1"
    assert _output(tmp_path)["registered"] == f"{double.url}/api/model_registry/v1alpha3/model_versions/2"
    assert registry.list_versions(place, "chest") == [1]
    assert registry.verify_version(place, "chest", 1)["version"] == 1


def test_publish_registration_fails_warns_and_publishes(
    double: ModelRegistryDouble, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    double.faults = [Fault("POST", f"{API}/model_versions", 500)]
    root = str(tmp_path / "registry")
    outcome = _publish(root, tmp_path, double.url)
    assert (outcome.version, outcome.promoted) == (1, True)
    assert _output(tmp_path)["registered"] is None
    (warning,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert warning == (
        f"version 1 is published, but not registered: {double.url} must accept POST "
        f"{double.url}/api/model_registry/v1alpha3/model_versions, got HTTP 500: injected by the test; to register it, "
        f"run `radiograft models register 1 --registry {root} --model chest --model-registry {double.url}`"
    )
    _publish(root, tmp_path, double.url)
    assert double.names()["version"] == ["1"]


def test_publish_model_registry_unreachable_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, closed = str(tmp_path / "registry"), "http://127.0.0.1:1"
    assert _publish(root, tmp_path, closed).promoted
    assert f"not registered: {closed} cannot be reached: " in caplog.text


def _models(command: str, root: str, *arguments: str) -> Result:
    options = ["--registry", root, "--model", "chest"]
    return CliRunner().invoke(main, ["models", command, *options, *arguments], catch_exceptions=False)


def test_models_register_prints_link_that_show_and_list_have(root: str, double: ModelRegistryDouble) -> None:
    link = f"{double.url}/api/model_registry/v1alpha3/model_versions/2"
    assert "registered: http" not in _models("show", root, "1").stdout
    for _ in range(2):
        result = _models("register", root, "1", "--model-registry", double.url)
        assert result.stdout == f"version 1 of chest is registered: {link}\n"
    assert f"\nregistered: {link}\n" in _models("show", root, "1").stdout
    head, row = _models("list", root).stdout.splitlines()
    assert (head.split()[-1], row.split()[-1]) == ("registered", "yes")


def test_models_register_without_url_names_option_and_variable(root: str) -> None:
    result = _models("register", root, "1")
    assert result.exit_code == 2
    assert "'--model-registry'" in result.stderr
    assert "RADIOGRAFT_MODEL_REGISTRY" in result.stderr


def test_models_register_error_is_one_message(root: str, double: ModelRegistryDouble) -> None:
    double.faults = [Fault("GET", ".*", 403, times=9)]
    result = _models("register", root, "1", "--model-registry", double.url)
    assert result.exit_code == 1
    assert result.stderr.endswith(", got HTTP 403: injected by the test\n")
    assert len(result.stderr.splitlines()) == 1
