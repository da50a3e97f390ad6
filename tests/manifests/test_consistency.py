"""The manifests fit what else is ours: the compiled packages, the images, the command that mirrors the registry."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from radiograft.serving import sync
from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile
from radiograft_pipelines.compile import COMPILED
from radiograft_pipelines.dags.cutoff_search import CANDIDATES_AT_ONCE
from radiograft_pipelines.dags.tasks import GPUS, USER
from tests.helpers.packages import TASKS, tasks
from tests.manifests import schemas
from tests.manifests.policies import selects
from tests.manifests.rendered import FOLDERS, MANIFESTS, pod_spec, render, rendered, the
from tests.repository import ROOT

CLUSTER_FILES = sorted([*MANIFESTS.glob("overlays/*/cluster.yaml"), ROOT / "tests" / "cluster" / "cluster.yaml"])


def test_every_candidate_of_the_search_has_its_gpus() -> None:
    quota = the(render("base"), "ResourceQuota", "radiograft-gpus")["spec"]["hard"]
    assert quota == {"requests.nvidia.com/gpu": str(CANDIDATES_AT_ONCE * GPUS)}


def test_the_tasks_read_the_config_map() -> None:
    task = tasks("transfer_learning")["fine-tune"].pod
    assert the(render("base"), "ConfigMap", task["configMapAsEnv"][0]["configMapName"])
    given = the(render("in-cluster-store"), "ConfigMap", "radiograft")["data"]
    assert {key["configMapKey"] for key in task["configMapAsEnv"][0]["keyToEnv"]} == {"AWS_ENDPOINT_URL", "AWS_REGION"}
    assert {"AWS_ENDPOINT_URL", "AWS_REGION"} <= given.keys()


@pytest.mark.parametrize("package", TASKS)
def test_network_policies_hold_for_the_tasks(package: str) -> None:
    policies = [each for each in render("base") if each["kind"] == "NetworkPolicy"]
    for task in tasks(package).values():
        labels = task.pod["podMetadata"]["labels"] | {"pipeline/runid": "5d8b"}
        holding = [each["metadata"]["name"] for each in policies if selects(each["spec"]["podSelector"], labels)]
        assert holding == ["radiograft-calls", "radiograft-runs"]


@pytest.mark.parametrize("name", FOLDERS)
def test_all_pods_run_as_the_images_user(name: str) -> None:
    users = {spec["securityContext"]["runAsUser"] for each in render(name) if (spec := pod_spec(each))}
    assert users == {USER}


def test_the_mirror_takes_its_arguments(tmp_path: Path) -> None:
    pod = pod_spec(the(render("base"), "Deployment", "radiograft-serving"))
    assert pod is not None
    container = next(each for each in pod["containers"] if each["name"] == "mirror")
    for each in (container, *pod["initContainers"]):
        python, option, module, *arguments = each["args"]
        assert (python, option, module) == ("python3", "-m", sync.__name__)
        known = {"$(REGISTRY)": "registry", "$(MODEL)": "chest", "/models": str(tmp_path)}
        context = sync.main.make_context("mirror", [known.get(argument, argument) for argument in arguments])
        assert context.params["folder"] == tmp_path
    probe = container["livenessProbe"]["exec"]["command"]
    assert f"/models/{sync.HEARTBEAT_FILE} " in probe[-1]


@pytest.mark.parametrize("path", CLUSTER_FILES, ids=lambda path: path.parent.name)
def test_a_cluster_file_fits_its_overlay(path: Path) -> None:
    cluster = ClusterProfile.read(path)
    text = apply_profile((COMPILED / "transfer_learning.yaml").read_text(), cluster)
    assert f"secretName: {cluster.secret}" in text


def test_the_tests_on_a_cluster_apply_the_overlay_without_what_serves() -> None:
    applied = rendered(ROOT / "tests" / "cluster")
    assert [error for document in applied for error in schemas.errors(document)] == []
    overlay = render("in-cluster-store")
    for name in ("radiograft-serving", "radiograft-tensorboard"):
        assert the(applied, "Deployment", name)["spec"]["replicas"] == 0
        the(overlay, "Deployment", name)["spec"]["replicas"] = 0
    assert applied == overlay


def test_there_are_cluster_files() -> None:
    assert [path.parent.name for path in CLUSTER_FILES] == ["gke", "in-cluster-store", "cluster"]


def test_the_heartbeat_is_heard_by_a_shell(tmp_path: Path) -> None:
    """The liveness probe's command, run as Kubernetes would."""
    pod: Any = pod_spec(the(render("base"), "Deployment", "radiograft-serving"))
    (probe,) = (each["livenessProbe"]["exec"]["command"] for each in pod["containers"] if each["name"] == "mirror")
    command = [part.replace("/models", str(tmp_path)) for part in probe]
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    (tmp_path / sync.HEARTBEAT_FILE).touch()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
