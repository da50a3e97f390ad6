"""`radiograft submit` creates pipeline, version, experiment and run on KFP, each once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.helpers.http_double import Fault
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.packages import TASKS
from tests.unit.radiograft_pipelines.conftest import IMAGE, Radiograft

URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
SUBMIT = ("submit", "--settings", "chestxray14", *URIS)
ANOTHER = "registry.example/trainer@sha256:" + "b" * 64


def test_submit_creates_pipeline_version_experiment_and_run(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(
        *SUBMIT,
        "--set",
        "seed=7",
        "--set",
        "dropout=0.4",
        "--service-account",
        "trainer",
        "--pipeline-root",
        "gs://a/root",
    )
    assert result.exit_code == 0, result.output
    (pipeline,) = kfp.pipelines.values()
    (version,) = kfp.versions.values()
    (experiment,) = kfp.experiments.values()
    (run,) = kfp.runs.values()
    assert pipeline.display_name == "radiograft-transfer-learning"
    assert pipeline.description.startswith("Transfer learning for medical images")
    assert re.fullmatch(r"0\.1\.0-[0-9a-f]{12}", version.name)
    assert experiment.display_name == "radiograft"
    assert run.experiment_id == experiment.experiment_id
    assert run.pipeline_version_reference.pipeline_version_id == version.pipeline_version_id
    assert (run.service_account, run.runtime_config.pipeline_root) == ("trainer", "gs://a/root")
    parameters = run.runtime_config.parameters
    assert parameters["data_source"] == "gs://data/nih"
    assert parameters["publish_registry"] == "gs://models/registry"
    assert (parameters["train_seed"], parameters["image_size"], parameters["settings"]) == ("7", "224", "")
    assert parameters["overrides"] == "model_dropout=0.4"
    assert f"{kfp.url}/#/runs/details/{run.run_id}" in result.output


def test_submit_same_content_is_uploaded_once(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT).exit_code == 0
    assert radiograft(*SUBMIT, "--set", "seed=1").exit_code == 0
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)
    assert radiograft(*SUBMIT, "--image", ANOTHER).exit_code == 0
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, 2, 3)


def test_submit_image_replaces_compiled_image(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT, "--image", ANOTHER).exit_code == 0
    (text,) = kfp.packages.values()
    assert text.count(f"image: {ANOTHER}") == len(TASKS["transfer_learning"])
    assert "radiograft/trainer:" not in text


def test_submit_other_model_uses_same_version(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """Fails if the package depends on the model: the UI's form would take the version of any model."""
    assert radiograft(*SUBMIT, "--set", "model_name=lungs").exit_code == 0
    assert radiograft(*SUBMIT, "--set", "model_name=hearts").exit_code == 0
    assert (len(kfp.versions), len(kfp.runs)) == (1, 2)


@pytest.mark.parametrize("image", ["a: b", "{x", "reg/x:1 # c", "reg/x@sha256:aa", "*", "x\n"])
def test_submit_invalid_image_raises(radiograft: Radiograft, kfp: KfpDouble, image: str) -> None:
    """Fails if any text replaces the compiled image: YAML would misread or truncate it."""
    result = radiograft(*SUBMIT, "--image", image)
    message = f"--image must be a reference such as registry/name:tag or name@sha256:..., got {image!r}"
    assert (result.exit_code, result.output) == (1, f"Error: {message}\n")
    assert kfp.requests == []


@pytest.mark.parametrize("image", ["trainer", "localhost:5000/a/b_c-d.e", f"r.example:5000/a:1.0@sha256:{'a' * 64}"])
def test_submit_valid_image_is_accepted(radiograft: Radiograft, kfp: KfpDouble, image: str) -> None:
    """Fails if `IMAGE` rejects a port, path, tag or digest."""
    assert radiograft(*SUBMIT, "--image", image).exit_code == 0
    (text,) = kfp.packages.values()
    assert text.count(f"image: {image}\n") == len(TASKS["transfer_learning"])


def test_submit_image_by_tag_warns(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*SUBMIT, "--image", "registry.example/trainer:1.0")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: the image registry.example/trainer:1.0 is not pinned by digest: "
        "its tag may later point to another image\n"
    )


def test_submit_cluster_profile_adapts_package(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("gpus: 0\nmax_memory: 4Gi\nnode_selector: {pool: cheap}\n")
    assert radiograft(*SUBMIT, "--cluster", str(file)).exit_code == 0
    (text,) = kfp.packages.values()
    containers = [
        executor["container"] for executor in next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values()
    ]
    assert [container["image"] for container in containers] == [IMAGE] * len(TASKS["transfer_learning"])
    assert {container["resources"].get("accelerator") for container in containers} == {None}
    assert {container["resources"]["resourceMemoryLimit"] for container in containers} == {"2Gi", "4Gi"}


def test_submit_invalid_cluster_profile_raises(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("gpu: 0\n")
    result = radiograft(*SUBMIT, "--cluster", str(file))
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {file} has no setting 'gpu'; did you mean 'gpus' or 'gpu_type'?\n",
    )
    assert kfp.requests == []


def test_submit_cutoff_search_creates_its_own_pipeline(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT, "--pipeline", "cutoff_search", "--experiment", "mine").exit_code == 0
    (run,) = kfp.runs.values()
    assert [pipeline.display_name for pipeline in kfp.pipelines.values()] == ["radiograft-cutoff-search"]
    assert [experiment.display_name for experiment in kfp.experiments.values()] == ["mine"]
    assert run.runtime_config.parameters["model_cut_off"] == "auto"


def test_submit_multi_user_creates_objects_in_namespace(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.multi_user = True
    assert radiograft(*SUBMIT, "--namespace", "alice").exit_code == 0
    assert [item.namespace for item in (*kfp.pipelines.values(), *kfp.experiments.values())] == ["alice", "alice"]


@pytest.mark.parametrize(
    ("path", "objects"),
    [
        ("runs", "runs"),
        ("experiments", "experiments"),
        ("pipelines", "pipelines"),
        ("pipelines/upload_version", "versions"),
    ],
)
def test_submit_lost_response_creates_objects_once(
    radiograft: Radiograft, kfp: KfpDouble, path: str, objects: str
) -> None:
    kfp.faults = [Fault("POST", f"/apis/v2beta1/{path}", 503, lost=True)]
    result = radiograft(*SUBMIT)
    assert result.exit_code == 0, result.output
    assert kfp.paths("POST").count(f"/apis/v2beta1/{path}") == 1
    assert len(getattr(kfp, objects)) == 1


def test_submit_server_not_ready_retries(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("GET", "/apis/v2beta1/healthz", 503), Fault("POST", "/apis/v2beta1/runs", 503, times=2)]
    assert radiograft(*SUBMIT).exit_code == 0
    assert kfp.paths("POST").count("/apis/v2beta1/runs") == 3
    assert len(kfp.runs) == 1


def test_submit_pipeline_created_concurrently_is_reused(radiograft: Radiograft, kfp: KfpDouble) -> None:
    # another client creates the pipeline between the search for it and its creation
    kfp.faults = [Fault("POST", "/apis/v2beta1/pipelines", 409, lost=True)]
    assert radiograft(*SUBMIT).exit_code == 0
    assert (len(kfp.pipelines), len(kfp.runs)) == (1, 1)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("source=/data/nih", "registry=gs://m/r"), "data_source must be in a bucket that the cluster can reach"),
        (("source=gs://d/nih", "registry=/registry"),
         "publish_registry must be in a bucket that the cluster can reach"),
        (("source=gs://d/nih",), "publish_registry must be in a bucket that the cluster can reach, such as gs://..."),
        (("source=gs://d/nih", "registry=gs://m/r", "weights=/w.h5"), "model_weights must be in a bucket"),
        (("source=gs://d/nih", "registry=gs://m/r", "size=250"), "image_size must be a multiple of 16, got 250"),
    ],
)  # fmt: skip
def test_submit_invalid_settings_raises(
    radiograft: Radiograft, kfp: KfpDouble, assignments: tuple[str, ...], message: str
) -> None:
    result = radiograft(
        "submit", "--settings", "chestxray14", *(part for assignment in assignments for part in ("--set", assignment))
    )
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {message}")
    assert kfp.paths("POST") == []


def test_submit_no_settings_raises(radiograft: Radiograft) -> None:
    result = radiograft("submit")
    assert (result.exit_code, result.output.count("--settings must be given")) == (1, 1)
