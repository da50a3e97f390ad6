"""What must hold for our objects beyond their being valid; each policy gives what breaks it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.manifests.rendered import Document, pod_spec

FIXED_IMAGE = re.compile(r"[a-z0-9./:_-]+?(:v?\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})")
HARMLESS_VOLUMES = {"emptyDir", "configMap", "secret", "projected", "persistentVolumeClaim"}
GPU = "nvidia.com/gpu"
A_RUN_NEEDS = 2
ISTIOD = 15012  # the port at which proxies ask for their configuration


def violations(documents: list[Document]) -> list[str]:
    """All policies on all objects of a rendering."""
    policies = (
        *(restricted, sized, probed, fixed_images, room_for_gpus),
        *(least_privilege, known_accounts, wired, complete, named, guarded, meshed),
    )
    return [f"{policy.__name__}: {what}" for policy in policies for what in policy(documents)]


def _pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    for document in documents:
        if spec := pod_spec(document):
            yield document["metadata"]["name"], spec


def _containers(documents: list[Document], kinds: tuple[str, ...] = ("initContainers", "containers")) -> Iterator[Any]:
    for name, spec in _pods(documents):
        yield from ((f"{name}/{each['name']}", each) for kind in kinds for each in spec.get(kind, ()))


def restricted(documents: list[Document]) -> Iterator[str]:
    """PodSecurity `restricted`, and a root file system that nobody writes to."""
    for name, spec in _pods(documents):
        context = spec.get("securityContext", {})
        if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
            yield f"{name} may run as root"
        if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name} has no seccomp profile"
        if any(spec.get(each) for each in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name} shares the node's namespaces"
        for volume in spec.get("volumes", ()):
            if not volume.keys() <= {"name"} | HARMLESS_VOLUMES:
                yield f"{name} mounts the volume {volume['name']} of a kind that is not allowed"
    for name, container in _containers(documents):
        context = container.get("securityContext", {})
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if context != wanted:
            yield f"{name} has other privileges than none: {context}"
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"{name} takes a port of the node"


def sized(documents: list[Document]) -> Iterator[str]:
    """Every container says what it needs, and how much memory it may have."""
    for name, container in _containers(documents):
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
            yield f"{name} requests no CPU or no memory"
        if "memory" not in resources.get("limits", {}):
            yield f"{name} has no limit on memory"


def probed(documents: list[Document]) -> Iterator[str]:
    for name, container in _containers(documents, ("containers",)):
        if "livenessProbe" not in container:
            yield f"{name} has no liveness probe"
        if container.get("ports") and "readinessProbe" not in container:
            yield f"{name} has ports, but no readiness probe"


def fixed_images(documents: list[Document]) -> Iterator[str]:
    for name, container in _containers(documents):
        if not FIXED_IMAGE.fullmatch(container["image"]):
            yield f"{name} has a floating image: {container['image']}"


def room_for_gpus(documents: list[Document]) -> Iterator[str]:
    """A quota that counts GPUs and leaves a run its two; no limit range that hands GPUs or limits to everybody."""
    hard = [each["spec"].get("hard", {}) for each in documents if each["kind"] == "ResourceQuota"]
    if not any(f"requests.{GPU}" in each for each in hard):
        yield "no quota counts GPUs"
    for each in hard:
        if int(each.get(f"requests.{GPU}", A_RUN_NEEDS)) < A_RUN_NEEDS:
            yield f"the quota leaves a run {each[f'requests.{GPU}']} of {A_RUN_NEEDS} GPUs"
        if others := each.keys() - {f"requests.{GPU}"}:
            yield f"the quota refuses pods that do not say {', '.join(sorted(others))}"
    for limits in (each["spec"]["limits"] for each in documents if each["kind"] == "LimitRange"):
        for kind in ("max", "min", "default", "maxLimitRequestRatio"):
            if any(kind in limit for limit in limits):
                yield f"a limit range's {kind} also holds for KFP's own pods"


def least_privilege(documents: list[Document]) -> Iterator[str]:
    """Roles that name what they allow, in the namespace."""
    for document in documents:
        name = document["metadata"]["name"]
        if document["kind"].startswith("ClusterRole"):
            yield f"{name} holds for the whole cluster"
        for rule in document.get("rules", ()):
            if any("*" in rule.get(part, ()) for part in ("apiGroups", "resources", "verbs")):
                yield f"{name} allows everything of something"
            if {"secrets", "configmaps"} & set(rule["resources"]) and not rule.get("resourceNames"):
                yield f"{name} reads every secret or config map"


def known_accounts(documents: list[Document]) -> Iterator[str]:
    accounts = {each["metadata"]["name"] for each in documents if each["kind"] == "ServiceAccount"}
    for document in documents:
        for subject in document.get("subjects", ()):
            if subject["name"] not in accounts:
                yield f"{document['metadata']['name']} binds the unknown {subject['name']}"
    for name, spec in _pods(documents):
        if spec.get("serviceAccountName") not in accounts:
            yield f"{name} runs as an unknown service account"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name} is handed a token for Kubernetes that it does not need"


def wired(documents: list[Document]) -> Iterator[str]:
    """Services and disruption budgets find their pods and ports."""
    deployments = [each["spec"] for each in documents if each["kind"] == "Deployment"]
    for document in documents:
        kind, name, spec = document["kind"], document["metadata"]["name"], document.get("spec", {})
        if kind not in ("Service", "PodDisruptionBudget"):
            continue
        selector = spec["selector"] if kind == "Service" else spec["selector"]["matchLabels"]
        found = [each for each in deployments if selector.items() <= each["template"]["metadata"]["labels"].items()]
        if not found:
            yield f"{kind} {name} finds no pods"
        elif kind == "PodDisruptionBudget" and not spec["minAvailable"] < found[0]["replicas"]:
            yield f"{name} never lets a node be drained"
        ports = {port["name"] for each in found for c in _all(each["template"]["spec"]) for port in c.get("ports", ())}
        yield from (
            f"{name} leads to the unknown port {port['targetPort']}"
            for port in spec.get("ports", ())
            if port["targetPort"] not in ports
        )


def complete(documents: list[Document]) -> Iterator[str]:
    """The variables and volumes that containers use are there."""
    (settings,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    for name, container in _containers(documents):
        for variable in re.findall(r"\$\((\w+)\)", " ".join(container.get("args", ()))):
            if variable not in settings:
                yield f"{name} uses {variable}, which the config map does not have"
    for name, spec in _pods(documents):
        volumes = {each["name"] for each in spec.get("volumes", ())}
        if unknown := {mount["name"] for each in _all(spec) for mount in each["volumeMounts"]} - volumes:
            yield f"{name} mounts {', '.join(unknown)}, which it does not have"


def named(documents: list[Document]) -> Iterator[str]:
    """Readiness is asked of the model that is served."""
    (settings,) = (each["data"] for each in documents if each["kind"] == "ConfigMap")
    for name, container in _containers(documents, ("containers",)):
        path = container.get("readinessProbe", {}).get("httpGet", {}).get("path", "/")
        if path.startswith("/v1/models/") and path != f"/v1/models/{settings['MODEL']}/metadata":
            yield f"{name} serves {settings['MODEL']}, but is asked for {path}"


def guarded(documents: list[Document]) -> Iterator[str]:
    """Who calls and who is called is settled for the pods of every deployment, and whom an InferenceService's call."""
    policies = [each["spec"] for each in documents if each["kind"] == "NetworkPolicy"]
    for document in documents:
        if document["kind"] not in ("Deployment", "InferenceService"):
            continue
        ours = document["kind"] == "Deployment"  # an InferenceService is called by KServe's gateway, wherever that is
        labels = (document["spec"]["template"] if ours else document)["metadata"].get("labels", {})
        holding = [each for each in policies if selects(each["podSelector"], labels)]
        settled = {kind for each in holding for kind in each["policyTypes"]}
        if not settled >= ({"Ingress", "Egress"} if ours else {"Egress"}):
            yield f"{document['metadata']['name']} may be called by, or call, anybody"


def meshed(documents: list[Document]) -> Iterator[str]:
    """In full Kubeflow Istio puts a proxy into each pod: into none that serves, and TensorBoard's comes to be ready."""
    tensorboards = [each["metadata"]["labels"] for each in documents if each["kind"] == "Tensorboard"]
    for document in documents if tensorboards else ():
        pod = document["spec"]["template"] if document["kind"] == "Deployment" else None
        if pod and pod["metadata"]["labels"].get("sidecar.istio.io/inject") != "false":
            yield f"{document['metadata']['name']} is given a proxy, which has no way to istiod in time"
    policies = [each["spec"] for each in documents if each["kind"] == "NetworkPolicy"]
    for labels in tensorboards:
        calls = [each for each in policies if "Egress" in each["policyTypes"] and selects(each["podSelector"], labels)]
        ports = {port["port"] for each in calls for rule in each["egress"] for port in rule.get("ports", ())}
        if calls and ISTIOD not in ports:
            yield "TensorBoard's proxy may not call istiod"


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a label selector finds a pod."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        each["key"] in labels and (each["operator"] == "Exists" or labels[each["key"]] in each["values"])
        for each in selector.get("matchExpressions", ())
    )


def _all(spec: Document) -> list[Any]:
    return [*spec.get("initContainers", ()), *spec["containers"]]
