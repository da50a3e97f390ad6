"""`radiograft submit`: pipeline, version, experiment and run on KFP, each made once."""

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


def test_a_run_is_made_of_the_pipeline_its_version_and_the_settings(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*SUBMIT, "--set", "seed=7", "--service-account", "trainer", "--pipeline-root", "gs://a/root")
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
    assert (parameters["train_seed"], parameters["image_size"], parameters["model_dropout"]) == (7, 224, 0.5)
    assert parameters["train_trigger"] == "always"  # who submits by hand wants it trained
    assert f"{kfp.url}/#/runs/details/{run.run_id}" in result.output


def test_the_same_content_is_never_uploaded_twice(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT).exit_code == 0
    assert radiograft(*SUBMIT, "--set", "seed=1").exit_code == 0
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)
    assert radiograft(*SUBMIT, "--image", ANOTHER).exit_code == 0
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.runs)) == (1, 2, 3)


def test_an_image_replaces_the_compiled_one_everywhere(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT, "--image", ANOTHER).exit_code == 0
    (text,) = kfp.packages.values()
    assert text.count(f"image: {ANOTHER}") == len(TASKS["transfer_learning"])
    assert "radiograft/trainer:" not in text


def test_pods_are_labeled_with_the_model(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT, "--set", "model_name=lungs").exit_code == 0
    (text,) = kfp.packages.values()
    _, platform = yaml.safe_load_all(text)
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert {pod["podMetadata"]["labels"]["radiograft/model"] for pod in pods} == {"lungs"}


@pytest.mark.parametrize("image", ["a: b", "{x", "reg/x:1 # c", "reg/x@sha256:aa", "*", "x\n"])
def test_an_image_that_is_no_reference_is_refused(radiograft: Radiograft, kfp: KfpDouble, image: str) -> None:
    """Fails where any text takes the place of the compiled image: YAML reads it as something else, or cuts it off."""
    result = radiograft(*SUBMIT, "--image", image)
    message = f"--image must be a reference such as registry/name:tag or name@sha256:..., got {image!r}"
    assert (result.exit_code, result.output) == (1, f"Error: {message}\n")
    assert kfp.requests == []


@pytest.mark.parametrize("image", ["trainer", "localhost:5000/a/b_c-d.e", f"r.example:5000/a:1.0@sha256:{'a' * 64}"])
def test_an_image_may_be_any_reference(radiograft: Radiograft, kfp: KfpDouble, image: str) -> None:
    """Fails where `IMAGE` lets no port, path, tag or digest through."""
    assert radiograft(*SUBMIT, "--image", image).exit_code == 0
    (text,) = kfp.packages.values()
    assert text.count(f"image: {image}\n") == len(TASKS["transfer_learning"])


def test_an_image_behind_a_tag_is_warned_of(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*SUBMIT, "--image", "registry.example/trainer:1.0")
    assert result.exit_code == 0
    assert result.stderr == (
        "warning: the image registry.example/trainer:1.0 is named by a tag, behind which another may come to stand\n"
    )


def test_the_package_is_fitted_to_the_cluster(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("gpus: 0\nmost_memory: 4Gi\nnode_selector: {pool: cheap}\n")
    assert radiograft(*SUBMIT, "--cluster", str(file)).exit_code == 0
    (text,) = kfp.packages.values()
    containers = [each["container"] for each in next(yaml.safe_load_all(text))["deploymentSpec"]["executors"].values()]
    assert [each["image"] for each in containers] == [IMAGE] * len(TASKS["transfer_learning"])
    assert {each["resources"].get("accelerator") for each in containers} == {None}
    assert {each["resources"]["resourceMemoryLimit"] for each in containers} == {"2Gi", "4Gi"}


def test_a_wrong_file_of_the_cluster_is_told(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("gpu: 0\n")
    result = radiograft(*SUBMIT, "--cluster", str(file))
    assert (result.exit_code, result.output) == (
        1,
        f"Error: {file} has no setting 'gpu'; did you mean 'gpus' or 'gpu_type'?\n",
    )
    assert kfp.requests == []


def test_the_search_is_a_pipeline_of_its_own(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert radiograft(*SUBMIT, "--pipeline", "cutoff_search", "--experiment", "mine").exit_code == 0
    (run,) = kfp.runs.values()
    assert [each.display_name for each in kfp.pipelines.values()] == ["radiograft-cutoff-search"]
    assert [each.display_name for each in kfp.experiments.values()] == ["mine"]
    assert run.runtime_config.parameters["model_cut_off"] == "auto"


def test_where_users_are_apart_all_is_made_in_the_namespace(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.multi_user = True
    assert radiograft(*SUBMIT, "--namespace", "alice").exit_code == 0
    assert [each.namespace for each in (*kfp.pipelines.values(), *kfp.experiments.values())] == ["alice", "alice"]


@pytest.mark.parametrize(
    ("lost", "kept"),
    [
        ("runs", "runs"),
        ("experiments", "experiments"),
        ("pipelines", "pipelines"),
        ("pipelines/upload_version", "versions"),
    ],
)
def test_an_answer_that_got_lost_makes_nothing_twice(
    radiograft: Radiograft, kfp: KfpDouble, lost: str, kept: str
) -> None:
    kfp.faults = [Fault("POST", f"/apis/v2beta1/{lost}", 503, lost=True)]
    result = radiograft(*SUBMIT)
    assert result.exit_code == 0, result.output
    assert kfp.paths("POST").count(f"/apis/v2beta1/{lost}") == 1
    assert len(getattr(kfp, kept)) == 1


def test_a_server_that_is_not_ready_is_asked_again(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("GET", "/apis/v2beta1/healthz", 503), Fault("POST", "/apis/v2beta1/runs", 503, times=2)]
    assert radiograft(*SUBMIT).exit_code == 0
    assert kfp.paths("POST").count("/apis/v2beta1/runs") == 3
    assert len(kfp.runs) == 1


def test_who_is_quicker_with_the_same_pipeline_wins(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("POST", "/apis/v2beta1/pipelines", 409, lost=True)]  # made by another between look and creation
    assert radiograft(*SUBMIT).exit_code == 0
    assert (len(kfp.pipelines), len(kfp.runs)) == (1, 1)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (("source=/data/nih", "registry=gs://m/r"), "data_source must be in a bucket that the cluster reaches"),
        (("source=gs://d/nih", "registry=/registry"), "publish_registry must be in a bucket that the cluster reaches"),
        (("source=gs://d/nih",), "publish_registry must be in a bucket that the cluster reaches, such as gs://..."),
        (("source=gs://d/nih", "registry=gs://m/r", "weights=/w.h5"), "model_weights must be in a bucket"),
        (("source=gs://d/nih", "registry=gs://m/r", "size=250"), "image_size must be a multiple of 32, got 250"),
    ],
)  # fmt: skip
def test_what_a_pod_could_not_use_is_refused(
    radiograft: Radiograft, kfp: KfpDouble, assignments: tuple[str, ...], message: str
) -> None:
    result = radiograft(
        "submit", "--settings", "chestxray14", *(part for each in assignments for part in ("--set", each))
    )
    assert result.exit_code == 1
    assert result.output.startswith(f"Error: {message}")
    assert kfp.paths("POST") == []


def test_settings_must_be_given(radiograft: Radiograft) -> None:
    result = radiograft("submit")
    assert (result.exit_code, result.output.count("--settings must be given")) == (1, 1)
