"""Every overlay renders, is valid, and holds the policies; and each check finds what it is there to find."""

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
every_rendering = pytest.mark.parametrize("name", FOLDERS)


@every_rendering
def test_it_renders_what_the_cluster_takes(name: str) -> None:
    assert [error for document in render(name) for error in schemas.errors(document)] == []


@every_rendering
def test_it_holds_the_policies(name: str) -> None:
    assert policies.violations(render(name)) == []


def test_every_overlay_is_known() -> None:
    assert {path.name for path in (MANIFESTS / "overlays").iterdir()} == set(OVERLAYS)


def test_the_profile_is_one_that_kubeflow_takes() -> None:
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
def test_an_invalid_object_is_found(wrong: str) -> None:
    documents = render("base")
    change, message = INVALID[wrong]
    change(documents)
    (error,) = (error for document in documents for error in schemas.errors(document))
    assert message in error


OTHER_KINDS: dict[str, tuple[str, str, Change, str]] = {
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


@pytest.mark.parametrize("wrong", OTHER_KINDS)
def test_an_invalid_object_of_another_kind_is_found(wrong: str) -> None:
    overlay, kind, change, message = OTHER_KINDS[wrong]
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
        "restricted: radiograft-serving/serving has other privileges than none",
    ),
    "privileged init container": (
        lambda d: _pod(d)["initContainers"][0].pop("securityContext"),
        "restricted: radiograft-serving/first-version has other privileges than none",
    ),
    "capability": (
        lambda d: _container(d)["securityContext"]["capabilities"].update(add=["NET_ADMIN"]),
        "restricted: radiograft-serving/serving has other privileges than none",
    ),
    "writable root": (
        lambda d: _container(d)["securityContext"].update(readOnlyRootFilesystem=False),
        "restricted: radiograft-serving/serving has other privileges than none",
    ),
    "root": (lambda d: _pod(d)["securityContext"].update(runAsUser=0), "radiograft-serving may run as root"),
    "no seccomp": (lambda d: _pod(d)["securityContext"].pop("seccompProfile"), "radiograft-serving has no seccomp"),
    "host network": (lambda d: _pod(d).update(hostNetwork=True), "radiograft-serving shares the node's namespaces"),
    "host path": (
        lambda d: _pod(d)["volumes"][0].update(hostPath={"path": "/"}),
        "radiograft-serving mounts the volume models of a kind that is not allowed",
    ),
    "no requests": (lambda d: _container(d)["resources"].pop("requests"), "sized: radiograft-serving/serving requests"),
    "no limit": (lambda d: _container(d)["resources"]["limits"].pop("memory"), "sized: radiograft-serving/serving has"),
    "not live": (lambda d: _container(d).pop("livenessProbe"), "probed: radiograft-serving/serving has no liveness"),
    "not ready": (lambda d: _container(d).pop("readinessProbe"), "probed: radiograft-serving/serving has ports"),
    "latest": (lambda d: _container(d).update(image="tensorflow/serving:latest"), "fixed_images: radiograft-serving"),
    "no tag": (lambda d: _container(d).update(image="tensorflow/serving"), "fixed_images: radiograft-serving/serving"),
    "short tag": (lambda d: _container(d).update(image="tensorflow/serving:2"), "fixed_images: radiograft-serving"),
    "no GPU quota": (lambda d: _without(d, "ResourceQuota", "radiograft-gpus"), "room_for_gpus: no quota counts GPUs"),
    "quota of another kind": (lambda d: _hard(d).clear(), "room_for_gpus: no quota counts GPUs"),
    "quota for one": (
        lambda d: _hard(d).update({"requests.nvidia.com/gpu": "1"}),
        "room_for_gpus: the quota leaves a run 1 of 2 GPUs",
    ),
    "quota on memory": (
        lambda d: _hard(d).update({"requests.memory": "64Gi"}),
        "room_for_gpus: the quota refuses pods that do not say requests.memory",
    ),
    "GPUs for all": (
        lambda d: _limits(d).update(max={"nvidia.com/gpu": "2"}),
        "room_for_gpus: a limit range's max also holds for KFP's own pods",
    ),
    "everything allowed": (lambda d: _rule(d).update(verbs=["*"]), "least_privilege: radiograft allows everything"),
    "every config map": (lambda d: _rule(d).pop("resourceNames"), "least_privilege: radiograft reads every secret"),
    "whole cluster": (
        lambda d: the(d, "Role", "radiograft").update(kind="ClusterRole"),
        "least_privilege: radiograft holds for the whole cluster",
    ),
    "no account": (
        lambda d: _without(d, "ServiceAccount", "radiograft"),
        "known_accounts: radiograft binds the unknown radiograft",
    ),
    "token": (lambda d: _pod(d).pop("automountServiceAccountToken"), "known_accounts: radiograft-serving is handed"),
    "service without pods": (
        lambda d: the(d, "Service", "radiograft-serving")["spec"]["selector"].update(app="other"),
        "wired: Service radiograft-serving finds no pods",
    ),
    "unknown port": (
        lambda d: the(d, "Service", "radiograft-serving")["spec"]["ports"][0].update(targetPort="web"),
        "wired: radiograft-serving leads to the unknown port web",
    ),
    "undrainable": (lambda d: _serving(d).update(replicas=1), "wired: radiograft-serving never lets a node be drained"),
    "unknown variable": (
        lambda d: the(d, "ConfigMap", "radiograft")["data"].pop("REGISTRY"),
        "complete: radiograft-serving/first-version uses REGISTRY, which the config map does not have",
    ),
    "unknown volume": (lambda d: _pod(d)["volumes"].pop(0), "complete: radiograft-serving mounts models"),
    "asked for another model": (
        lambda d: the(d, "ConfigMap", "radiograft")["data"].update(MODEL="knee"),
        "named: radiograft-serving/serving serves knee, but is asked for /v1/models/chest-radiograph/metadata",
    ),
    "called by anybody": (
        lambda d: _without(d, "NetworkPolicy", "radiograft-services"),
        "guarded: radiograft-serving may be called by, or call, anybody",
    ),
    "calls anybody": (
        lambda d: _without(d, "NetworkPolicy", "radiograft-calls"),
        "guarded: radiograft-serving may be called by, or call, anybody",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_policy_is_found(broken: str) -> None:
    documents = render("base")
    change, message = BROKEN[broken]
    change(documents)
    assert any(message in found for found in policies.violations(documents))


def test_an_inference_service_without_its_label_is_found() -> None:
    documents = render("kserve")
    the(documents, "InferenceService", "radiograft")["metadata"].pop("labels")
    assert policies.violations(documents) == ["guarded: radiograft may be called by, or call, anybody"]


def test_a_proxy_before_what_serves_is_found() -> None:
    """Fails where `meshed` lets Istio put a proxy into Serving's pods, or forbids TensorBoard's to call istiod."""
    documents = render("kubeflow")
    _serving(documents)["template"]["metadata"]["labels"].pop("sidecar.istio.io/inject")
    the(documents, "NetworkPolicy", "radiograft-calls")["spec"]["egress"].pop()
    assert policies.violations(documents) == [
        "meshed: radiograft-serving is given a proxy, which has no way to istiod in time",
        "meshed: TensorBoard's proxy may not call istiod",
    ]


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_model_named_in_an_overlay_is_the_one_whose_readiness_is_asked(name: str, tmp_path: Path) -> None:
    """Fails where an overlay does not apply components/model-name, so that the probe keeps the base's name."""
    shutil.copytree(MANIFESTS, tmp_path / "manifests")
    kustomization = tmp_path / "manifests" / "overlays" / name / "kustomization.yaml"
    wanted = yaml.safe_load(kustomization.read_text())
    (settings,) = wanted.setdefault("configMapGenerator", [{"name": "radiograft", "behavior": "merge", "literals": []}])
    settings["literals"].append("MODEL=knee")
    kustomization.write_text(yaml.safe_dump(wanted))
    documents = rendered(kustomization.parent)
    assert policies.violations(documents) == []
    containers = [each for document in documents for each in (pod_spec(document) or {}).get("containers", ())]
    probes = [each["readinessProbe"]["httpGet"]["path"] for each in containers if "readinessProbe" in each]
    assert "/v1/models/knee/metadata" in probes
