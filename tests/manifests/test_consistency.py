"""The manifests match the compiled packages, the images and the serving synchronization."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from radiograft.serving import sync
from radiograft_pipelines.cluster.package import COMPILED
from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile
from radiograft_pipelines.dags.tasks import GPUS, MAX_PARALLEL_CANDIDATES, USER
from tests.helpers.packages import TASKS, tasks
from tests.manifests import schemas
from tests.manifests.policies import selects
from tests.manifests.rendered import FOLDERS, MANIFESTS, pod_spec, render, rendered, the
from tests.repository import ROOT

CLUSTER_PROFILES = sorted([*MANIFESTS.glob("overlays/*/cluster.yaml"), ROOT / "tests" / "cluster" / "cluster.yaml"])


def test_quota_admits_all_concurrent_trials() -> None:
    quota = the(render("base"), "ResourceQuota", "radiograft-gpus")["spec"]["hard"]
    assert quota == {"requests.nvidia.com/gpu": str(MAX_PARALLEL_CANDIDATES * GPUS)}


def test_config_map_has_keys_of_tasks() -> None:
    task = tasks("transfer_learning")["fine-tune"].pod
    assert the(render("base"), "ConfigMap", task["configMapAsEnv"][0]["configMapName"])
    data = the(render("in-cluster-store"), "ConfigMap", "radiograft")["data"]
    assert {key["configMapKey"] for key in task["configMapAsEnv"][0]["keyToEnv"]} == {"AWS_ENDPOINT_URL", "AWS_REGION"}
    assert {"AWS_ENDPOINT_URL", "AWS_REGION"} <= data.keys()


@pytest.mark.parametrize("package", TASKS)
def test_network_policies_select_tasks(package: str) -> None:
    policies = [each for each in render("base") if each["kind"] == "NetworkPolicy"]
    for task in tasks(package).values():
        labels = task.pod["podMetadata"]["labels"] | {"pipeline/runid": "5d8b"}
        selecting = [each["metadata"]["name"] for each in policies if selects(each["spec"]["podSelector"], labels)]
        assert selecting == ["radiograft-calls", "radiograft-runs"]


@pytest.mark.parametrize("name", FOLDERS)
def test_pods_run_as_user_of_image(name: str) -> None:
    users = {spec["securityContext"]["runAsUser"] for each in render(name) if (spec := pod_spec(each))}
    assert users == {USER}


def test_sync_arguments_are_accepted(tmp_path: Path) -> None:
    pod = pod_spec(the(render("base"), "Deployment", "radiograft-serving"))
    assert pod is not None
    container = next(each for each in pod["containers"] if each["name"] == "mirror")
    for each in (container, *pod["initContainers"]):
        python, option, module, *arguments = each["args"]
        assert (python, option, module) == ("python3", "-m", sync.__name__)
        values = {"$(REGISTRY)": "registry", "$(MODEL)": "chest", "/models": str(tmp_path)}
        context = sync.main.make_context("mirror", [values.get(argument, argument) for argument in arguments])
        assert context.params["folder"] == tmp_path
    probe = container["livenessProbe"]["exec"]["command"]
    assert f"/models/{sync.HEARTBEAT_FILE} " in probe[-1]


@pytest.mark.parametrize("path", CLUSTER_PROFILES, ids=lambda path: path.parent.name)
def test_cluster_profile_is_valid(path: Path) -> None:
    cluster = ClusterProfile.read(path)
    text = apply_profile((COMPILED / "transfer_learning.yaml").read_text(), cluster)
    assert f"secretName: {cluster.secret}" in text


@pytest.mark.parametrize("name", FOLDERS)
def test_tensorboard_reads_logs_below_registry(name: str) -> None:
    """`publish` copies the logs there, one readable name per run."""
    documents = render(name)
    registry = the(documents, "ConfigMap", "radiograft")["data"]["REGISTRY"]
    deployed = [each for each in documents if each["metadata"]["name"] == "radiograft-tensorboard"]
    if name == "kubeflow":
        assert deployed == []
        assert the(documents, "Tensorboard", "radiograft")["spec"] == {"logspath": f"{registry}/_tensorboard"}
    else:
        (container,) = the(documents, "Deployment", "radiograft-tensorboard")["spec"]["template"]["spec"]["containers"]
        assert container["args"][1].replace("$(REGISTRY)", registry) == f"--logdir={registry}/_tensorboard"


def test_serving_fits_beside_runs_and_kserve_scales_by_a_whole_cpu() -> None:
    """Fails if two replicas occupy a small node, or if KServe's percentage counts from the lowered request."""
    base = pod_spec(the(render("base"), "Deployment", "radiograft-serving"))
    kserve = pod_spec(the(render("kserve"), "InferenceService", "radiograft"))
    requests = [pod["containers"][0]["resources"]["requests"] for pod in (base, kserve) if pod]
    assert requests == [{"cpu": "250m", "memory": "1Gi"}, {"cpu": "1", "memory": "1Gi"}]


def test_cluster_tests_apply_overlay_without_serving() -> None:
    applied = rendered(ROOT / "tests" / "cluster")
    assert [error for document in applied for error in schemas.errors(document)] == []
    overlay = render("in-cluster-store")
    for name in ("radiograft-serving", "radiograft-tensorboard"):
        assert the(applied, "Deployment", name)["spec"]["replicas"] == 0
        the(overlay, "Deployment", name)["spec"]["replicas"] = 0
    assert applied == overlay


def test_cluster_profiles_are_complete() -> None:
    assert [path.parent.name for path in CLUSTER_PROFILES] == ["gke", "in-cluster-store", "cluster"]


def test_sync_liveness_probe_checks_heartbeat(tmp_path: Path) -> None:
    """Runs the command of the liveness probe."""
    pod: Any = pod_spec(the(render("base"), "Deployment", "radiograft-serving"))
    (probe,) = (each["livenessProbe"]["exec"]["command"] for each in pod["containers"] if each["name"] == "mirror")
    command = [part.replace("/models", str(tmp_path)) for part in probe]
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0
    (tmp_path / sync.HEARTBEAT_FILE).touch()
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
