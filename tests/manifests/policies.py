"""Policies for Radiograft's Kubernetes objects. Each policy yields the violations that it finds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.manifests.rendered import Document, pod_spec

FIXED_IMAGE = re.compile(r"[a-z0-9./:_-]+?(:v?\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})")
ALLOWED_VOLUMES = {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}
GPU = "nvidia.com/gpu"
GPUS_PER_TASK = 2
ISTIOD = 15012  # port from which proxies get their configuration


def violations(documents: list[Document]) -> list[str]:
    """Applies all policies to rendered manifests, and returns the violations."""
    policies = (
        check_pod_security,
        check_resources,
        check_probes,
        check_images,
        check_gpu_quota,
        check_roles,
        check_service_accounts,
        check_selectors_and_ports,
        check_references,
        check_model_name,
        check_network_policies,
        check_istio_proxies,
    )
    return [f"{policy.__name__}: {violation}" for policy in policies for violation in policy(documents)]


def _pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for document in documents:
        if spec := pod_spec(document):
            yield document["metadata"]["name"], spec


def _containers(documents: list[Document], kinds: tuple[str, ...] = ("initContainers", "containers")) -> Iterator[Any]:
    for name, spec in _pods(documents):
        yield from ((f"{name}/{each['name']}", each) for kind in kinds for each in spec.get(kind, ()))


def check_pod_security(documents: list[Document]) -> Iterator[str]:
    """PodSecurity `restricted`, and a read-only root file system."""
    for name, spec in _pods(documents):
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile"
        if any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name} shares the node's namespaces"
        for volume in spec.get("volumes", ()):
            if not volume.keys() <= {"name"} | ALLOWED_VOLUMES:
                yield f"{name} mounts the volume {volume['name']} of a kind that is not allowed"
    for name, container in _containers(documents):
        context = container.get("securityContext", {})
        expected = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if context != expected:
            yield f"{name} is not restricted: {context}"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"{name} takes a port of the node"


def check_resources(documents: list[Document]) -> Iterator[str]:
    """Every container requests CPU and memory, and limits its memory."""
    for name, container in _containers(documents):
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
            yield f"{name} requests no CPU or no memory"
        if "memory" not in resources.get("limits", {}):
            yield f"{name} has no limit on memory"


def check_probes(documents: list[Document]) -> Iterator[str]:
    """Every container has a liveness probe, and with ports a readiness probe."""
    for name, container in _containers(documents, ("containers",)):
        if "livenessProbe" not in container:
            yield f"{name} has no liveness probe"
        if container.get("ports") and "readinessProbe" not in container:
            yield f"{name} has ports, but no readiness probe"


def check_images(documents: list[Document]) -> Iterator[str]:
    """Every image has a full version tag or a digest."""
    for name, container in _containers(documents):
        if not FIXED_IMAGE.fullmatch(container["image"]):
            yield f"{name} has a floating image: {container['image']}"


def check_gpu_quota(documents: list[Document]) -> Iterator[str]:
    """A quota counts GPUs and admits a task's two. Limit ranges assign neither GPUs nor limits to other pods."""
    hard = [each["spec"].get("hard", {}) for each in documents if each["kind"] == "ResourceQuota"]
    if not any(f"requests.{GPU}" in each for each in hard):
        yield "no quota counts GPUs"
    for each in hard:
        if int(each.get(f"requests.{GPU}", GPUS_PER_TASK)) < GPUS_PER_TASK:
            yield f"the quota admits {each[f'requests.{GPU}']} of {GPUS_PER_TASK} GPUs of a task"
        if others := each.keys() - {f"requests.{GPU}"}:
            yield f"the quota rejects pods that do not declare {', '.join(sorted(others))}"
    for limits in (each["spec"]["limits"] for each in documents if each["kind"] == "LimitRange"):
        for kind in ("max", "min", "default", "maxLimitRequestRatio"):
            if any(kind in limit for limit in limits):
                yield f"a limit range's {kind} also applies to KFP's own pods"


def check_roles(documents: list[Document]) -> Iterator[str]:
    """Roles are limited to the namespace and to named resources."""
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"].startswith("ClusterRole"):
            yield f"{name} applies to the whole cluster"
        for rule in document.get("rules", ()):
            if any("*" in rule.get(part, ()) for part in ("apiGroups", "resources", "verbs")):
                yield f"{name} contains a wildcard"
            if {"secrets", "configmaps"} & set(rule["resources"]) and not rule.get("resourceNames"):
                yield f"{name} can read every secret or config map"


def check_service_accounts(documents: list[Document]) -> Iterator[str]:
    """Service accounts exist, and pods get no token for Kubernetes."""
    accounts = {each["metadata"]["name"] for each in documents if each["kind"] == "ServiceAccount"}
    for document in documents:
        for subject in document.get("subjects", ()):
            if subject["name"] not in accounts:
                yield f"{document['metadata']['name']} binds the unknown service account {subject['name']}"
    for name, spec in _pods(documents):
        if spec.get("serviceAccountName") not in accounts:
            yield f"{name} runs as an unknown service account"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name} mounts a Kubernetes token that it does not need"


def check_selectors_and_ports(documents: list[Document]) -> Iterator[str]:
    """Services and disruption budgets select existing pods and ports."""
    deployments = [each["spec"] for each in documents if each["kind"] == "Deployment"]
    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if kind not in ("Service", "PodDisruptionBudget"):
            continue
        selector = spec["selector"] if kind == "Service" else spec["selector"]["matchLabels"]
        selected = [each for each in deployments if selector.items() <= each["template"]["metadata"]["labels"].items()]
        if not selected:
            yield f"{kind} {name} selects no pods"
        elif kind == "PodDisruptionBudget" and not spec["minAvailable"] < selected[0]["replicas"]:
            yield f"{name} prevents nodes from being drained"
        containers = [container for each in selected for container in _all_containers(each["template"]["spec"])]
        ports = {port["name"] for container in containers for port in container.get("ports", ())}
        yield from (
            f"{name} targets the unknown port {port['targetPort']}"
            for port in spec.get("ports", ())
            if port["targetPort"] not in ports
        )


def check_references(documents: list[Document]) -> Iterator[str]:
    """The variables and volumes that containers use exist."""
    (settings,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    for name, container in _containers(documents):
        for variable in re.findall(r"\$\((\w+)\)", " ".join(container.get("args", ()))):
            if variable not in settings:
                yield f"{name} uses {variable}, which is not in the config map"
    for name, spec in _pods(documents):
        volumes = {each["name"] for each in spec.get("volumes", ())}
        if unknown := {mount["name"] for each in _all_containers(spec) for mount in each["volumeMounts"]} - volumes:
            yield f"{name} mounts unknown volumes: {', '.join(unknown)}"


def check_model_name(documents: list[Document]) -> Iterator[str]:
    """The readiness probe requests the served model."""
    (settings,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    for name, container in _containers(documents, ("containers",)):
        path = container.get("readinessProbe", {}).get("httpGet", {}).get("path", "/")
        if path.startswith("/v1/models/") and path != f"/v1/models/{settings['MODEL']}/metadata":
            yield f"{name} serves {settings['MODEL']}, but its probe requests {path}"


def check_network_policies(documents: list[Document]) -> Iterator[str]:
    """Network policies cover both directions of all deployments, and the egress of InferenceServices."""
    policies = [each["spec"] for each in documents if each["kind"] == "NetworkPolicy"]
    for document in documents:
        if document["kind"] not in ("Deployment", "InferenceService"):
            continue
        # An InferenceService accepts connections from KServe's gateway, whose namespace is unknown.
        required = {"Ingress", "Egress"} if document["kind"] == "Deployment" else {"Egress"}
        labels = (document["spec"].get("template") or document)["metadata"].get("labels", {})
        matching = [policy for policy in policies if selects(policy["podSelector"], labels)]
        directions = {direction for policy in matching for direction in policy["policyTypes"]}
        if not directions >= required:
            yield f"{document['metadata']['name']} has unrestricted connections"


def check_istio_proxies(documents: list[Document]) -> Iterator[str]:
    """In full Kubeflow, deployments have no Istio proxy, and TensorBoard's proxy can reach istiod."""
    tensorboards = [each["metadata"]["labels"] for each in documents if each["kind"] == "Tensorboard"]
    for document in documents if tensorboards else ():
        pod = document["spec"]["template"] if document["kind"] == "Deployment" else None
        if pod and pod["metadata"]["labels"].get("sidecar.istio.io/inject") != "false":
            yield f"{document['metadata']['name']} gets an Istio proxy"
    policies = [each["spec"] for each in documents if each["kind"] == "NetworkPolicy"]
    for labels in tensorboards:
        calls = [each for each in policies if "Egress" in each["policyTypes"] and selects(each["podSelector"], labels)]
        ports = {port["port"] for each in calls for rule in each["egress"] for port in rule.get("ports", ())}
        if calls and ISTIOD not in ports:
            yield "TensorBoard's proxy cannot reach istiod"


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Returns whether a label selector matches a pod's labels."""
    labels_match = selector.get("matchLabels", {}).items() <= labels.items()
    return labels_match and all(
        each["key"] in labels and (each["operator"] == "Exists" or labels[each["key"]] in each["values"])
        for each in selector.get("matchExpressions", ())
    )


def _all_containers(spec: Document) -> list[Any]:
    return [*spec.get("initContainers", ()), *spec["containers"]]
