"""Every overlay is valid and complies with the policies, and each check finds its violations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests import policies, schemas
from tests.manifests.rendered import FOLDERS, MANIFESTS, OVERLAYS, Document, pod_spec, render, rendered, the

Change = Callable[[list[Document]], Any]
for_all_renderings = pytest.mark.parametrize("name", FOLDERS)


@for_all_renderings
def test_render_all_overlays_are_valid(name: str) -> None:
    assert [error for document in render(name) for error in schemas.errors(document)] == []


@for_all_renderings
def test_violations_all_overlays_comply(name: str) -> None:
    assert policies.violations(render(name)) == []


def test_overlays_are_complete() -> None:
    assert {path.name for path in (MANIFESTS / "overlays").iterdir()} == set(OVERLAYS)


def test_profile_is_valid_and_names_namespace() -> None:
    profile = yaml.safe_load((MANIFESTS / "overlays" / "kubeflow" / "profile.yaml").read_text())
    assert schemas.errors(profile) == []
    assert {each["metadata"]["namespace"] for each in render("kubeflow")} == {profile["metadata"]["name"]}


def _serving(documents: list[Document]) -> Document:
    return the(documents, "Deployment", "radiograft-serving")["spec"]


def _container(documents: list[Document]) -> Document:
    return _serving(documents)["template"]["spec"]["containers"][0]


INVALID: dict[str, tuple[Change, str]] = {
    "unknown field": (lambda d: _container(d).update(imagePolicy="Always"), "('imagePolicy' was unexpected)"),
    "unknown field of the pod": (lambda d: _serving(d)["template"]["spec"].update(gpus=2), "('gpus' was unexpected)"),
    "wrong type": (lambda d: _serving(d).update(replicas="two"), "'two' is not of type 'integer'"),
    "text for a map": (lambda d: _container(d).update(resources="large"), "'large' is not of type"),
    "number for a variable": (lambda d: _container(d).update(env=[{"name": "A", "value": 1}]), "1 is not of type"),
    "missing field": (lambda d: _serving(d).pop("selector"), "'selector' is a required property"),
    "unknown kind": (lambda d: d[0].update(kind="ResourceQuote"), "Couldn't find schema for kind ResourceQuote"),
    "old version": (
        lambda d: the(d, "PodDisruptionBudget", "radiograft-serving").update(apiVersion="policy/v1beta1"),
        "Couldn't find schema for kind PodDisruptionBudget",
    ),
}


@pytest.mark.parametrize("wrong", INVALID)
def test_errors_invalid_object_is_reported(wrong: str) -> None:
    documents = render("base")
    change, message = INVALID[wrong]
    change(documents)
    (error,) = (error for document in documents for error in schemas.errors(document))
    assert message in error


INVALID_CUSTOM_RESOURCES: dict[str, tuple[str, str, Change, str]] = {
    "logs": ("kubeflow", "Tensorboard", lambda t: t["spec"].update(logsPath="gs://b"), "'logsPath' was unexpected"),
    "no logs": ("kubeflow", "Tensorboard", lambda t: t["spec"].clear(), "'logspath' is a required property"),
    "label": ("kubeflow", "Tensorboard", lambda t: t["metadata"].update(labels={"a": 1}), "1 is not of type"),
    "replicas": (
        "kserve",
        "InferenceService",
        lambda t: t["spec"]["predictor"].update(minReplicas="one"),
        "'one' is not of type 'integer'",
    ),
    "field": (
        "kserve",
        "InferenceService",
        lambda t: t["spec"]["predictor"].update(maxReplica=2),
        "'maxReplica' was unexpected",
    ),
    "pod": (
        "kserve",
        "InferenceService",
        lambda t: t["spec"]["predictor"]["containers"][0].update(port=80),
        "'port' was unexpected",
    ),
}


@pytest.mark.parametrize("wrong", INVALID_CUSTOM_RESOURCES)
def test_errors_invalid_custom_resource_is_reported(wrong: str) -> None:
    overlay, kind, change, message = INVALID_CUSTOM_RESOURCES[wrong]
    document = the(render(overlay), kind, "radiograft")
    change(document)
    (error,) = schemas.errors(document)
    assert message in error


def _hard(documents: list[Document]) -> Document:
    return the(documents, "ResourceQuota", "radiograft-gpus")["spec"]["hard"]


def _limits(documents: list[Document]) -> Document:
    return the(documents, "LimitRange", "radiograft")["spec"]["limits"][0]


def _pod(documents: list[Document]) -> Document:
    return _serving(documents)["template"]["spec"]


def _rule(documents: list[Document]) -> Document:
    return the(documents, "Role", "radiograft")["rules"][0]


def _without(documents: list[Document], kind: str, name: str) -> None:
    documents.remove(the(documents, kind, name))


BROKEN: dict[str, tuple[Change, str]] = {
    "privileged pod": (
        lambda d: _container(d)["securityContext"].update(privileged=True),
        "check_pod_security: radiograft-serving/serving is not restricted",
    ),
    "privileged init container": (
        lambda d: _pod(d)["initContainers"][0].pop("securityContext"),
        "check_pod_security: radiograft-serving/first-version is not restricted",
    ),
    "capability": (
        lambda d: _container(d)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "check_pod_security: radiograft-serving/serving is not restricted",
    ),
    "writable root": (
        lambda d: _container(d)["securityContext"].update(readOnlyRootFilesystem=False),
        "check_pod_security: radiograft-serving/serving is not restricted",
    ),
    "root": (lambda d: _pod(d)["securityContext"].update(runAsUser=0), "radiograft-serving may run as root"),
    "no seccomp": (lambda d: _pod(d)["securityContext"].pop("seccompProfile"), "radiograft-serving has no seccomp"),
    "host network": (lambda d: _pod(d).update(hostNetwork=True), "radiograft-serving shares the node's namespaces"),
    "host path": (
        lambda d: _pod(d)["volumes"][0].update(hostPath={"path": "/"}),
        "radiograft-serving mounts the volume models of a kind that is not allowed",
    ),
    "no requests": (
        lambda d: _container(d)["resources"].pop("requests"),
        "check_resources: radiograft-serving/serving requests",
    ),
    "no limit": (
        lambda d: _container(d)["resources"]["limits"].pop("memory"),
        "check_resources: radiograft-serving/serving has",
    ),
    "not live": (
        lambda d: _container(d).pop("livenessProbe"),
        "check_probes: radiograft-serving/serving has no liveness",
    ),
    "not ready": (lambda d: _container(d).pop("readinessProbe"), "check_probes: radiograft-serving/serving has ports"),
    "latest": (lambda d: _container(d).update(image="tensorflow/serving:latest"), "check_images: radiograft-serving"),
    "no tag": (lambda d: _container(d).update(image="tensorflow/serving"), "check_images: radiograft-serving/serving"),
    "short tag": (lambda d: _container(d).update(image="tensorflow/serving:2"), "check_images: radiograft-serving"),
    "no GPU quota": (
        lambda d: _without(d, "ResourceQuota", "radiograft-gpus"),
        "check_gpu_quota: no quota counts GPUs",
    ),
    "quota of another kind": (lambda d: _hard(d).clear(), "check_gpu_quota: no quota counts GPUs"),
    "quota for one": (
        lambda d: _hard(d).update({"requests.nvidia.com/gpu": "1"}),
        "check_gpu_quota: the quota admits 1 of 2 GPUs of a task",
    ),
    "quota on memory": (
        lambda d: _hard(d).update({"requests.memory": "64Gi"}),
        "check_gpu_quota: the quota rejects pods that do not declare requests.memory",
    ),
    "GPUs for all pods": (
        lambda d: _limits(d).update(max={"nvidia.com/gpu": "2"}),
        "check_gpu_quota: a limit range's max also applies to KFP's own pods",
    ),
    "everything allowed": (lambda d: _rule(d).update(verbs=["*"]), "check_roles: radiograft contains a wildcard"),
    "every config map": (lambda d: _rule(d).pop("resourceNames"), "check_roles: radiograft can read every secret"),
    "whole cluster": (
        lambda d: the(d, "Role", "radiograft").update(kind="ClusterRole"),
        "check_roles: radiograft applies to the whole cluster",
    ),
    "no account": (
        lambda d: _without(d, "ServiceAccount", "radiograft"),
        "check_service_accounts: radiograft binds the unknown service account radiograft",
    ),
    "token": (
        lambda d: _pod(d).pop("automountServiceAccountToken"),
        "check_service_accounts: radiograft-serving mounts a Kubernetes token",
    ),
    "service without pods": (
        lambda d: the(d, "Service", "radiograft-serving")["spec"]["selector"].update(app="other"),
        "check_selectors_and_ports: Service radiograft-serving selects no pods",
    ),
    "unknown port": (
        lambda d: the(d, "Service", "radiograft-serving")["spec"]["ports"][0].update(targetPort="web"),
        "check_selectors_and_ports: radiograft-serving targets the unknown port web",
    ),
    "undrainable": (
        lambda d: _serving(d).update(replicas=1),
        "check_selectors_and_ports: radiograft-serving prevents nodes from being drained",
    ),
    "unknown variable": (
        lambda d: the(d, "ConfigMap", "radiograft")["data"].pop("REGISTRY"),
        "check_references: radiograft-serving/first-version uses REGISTRY, which is not in the config map",
    ),
    "unknown volume": (
        lambda d: _pod(d)["volumes"].pop(0),
        "check_references: radiograft-serving mounts unknown volumes: models",
    ),
    "probe of another model": (
        lambda d: the(d, "ConfigMap", "radiograft")["data"].update(MODEL="knee"),
        (
            "check_model_name: radiograft-serving/serving serves knee, "
            "but its probe requests /v1/models/chest-radiograph/metadata"
        ),
    ),
    "unrestricted ingress": (
        lambda d: _without(d, "NetworkPolicy", "radiograft-services"),
        "check_network_policies: radiograft-serving has unrestricted connections",
    ),
    "unrestricted egress": (
        lambda d: _without(d, "NetworkPolicy", "radiograft-calls"),
        "check_network_policies: radiograft-serving has unrestricted connections",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_violations_broken_policy_is_reported(broken: str) -> None:
    documents = render("base")
    change, message = BROKEN[broken]
    change(documents)
    assert any(message in violation for violation in policies.violations(documents))


def test_violations_inference_service_without_label_is_reported() -> None:
    documents = render("kserve")
    the(documents, "InferenceService", "radiograft")["metadata"].pop("labels")
    assert policies.violations(documents) == ["check_network_policies: radiograft has unrestricted connections"]


def test_violations_istio_proxy_is_reported() -> None:
    """Fails if `check_istio_proxies` accepts a proxy in Serving's pods, or one of TensorBoard's without istiod."""
    documents = render("kubeflow")
    _serving(documents)["template"]["metadata"]["labels"].pop("sidecar.istio.io/inject")
    the(documents, "NetworkPolicy", "radiograft-calls")["spec"]["egress"].pop()
    assert policies.violations(documents) == [
        "check_istio_proxies: radiograft-serving gets an Istio proxy",
        "check_istio_proxies: TensorBoard's proxy cannot reach istiod",
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_render_overlay_model_name_is_probed(name: str, tmp_path: Path) -> None:
    """Fails if an overlay does not apply components/model-name, so that the probe keeps the base's model name."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    kustomization = tmp_path / "manifests" / "overlays" / name / "kustomization.yaml"
    content = yaml.safe_load(kustomization.read_text())
    (settings,) = content.setdefault(
        "configMapGenerator", [{"name": "radiograft", "behavior": "merge", "literals": []}]
    )
    settings["literals"].append("MODEL=knee")
    kustomization.write_text(yaml.safe_dump(content))
    documents = rendered(kustomization.parent)
    assert policies.violations(documents) == []
    containers = [each for document in documents for each in (pod_spec(document) or {}).get("containers", ())]
    probes = [each["readinessProbe"]["httpGet"]["path"] for each in containers if "readinessProbe" in each]
    assert "/v1/models/knee/metadata" in probes
