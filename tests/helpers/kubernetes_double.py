"""A double of the Kubernetes API: it serves the objects of a cluster that a test describes in YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.http_double import Double, Refused, Request

PLURALS = {
    "Node": "nodes", "Pod": "pods", "Event": "events", "ConfigMap": "configmaps", "Secret": "secrets",
    "ServiceAccount": "serviceaccounts", "ResourceQuota": "resourcequotas", "LimitRange": "limitranges",
    "Deployment": "deployments", "Workflow": "workflows", "Tensorboard": "tensorboards",
}  # fmt: skip
BUILT_IN = "/(?:api/v1|apis/apps/v1)"
CUSTOM = "/apis/(argoproj.io/v1alpha1|tensorboard.kubeflow.org/v1alpha1)"
PLACE = "(?:/namespaces/([^/]+))?/([^/]+)"


class KubernetesDouble(Double):
    """Serves lists and single objects, pods' logs, and takes Tensorboard resources.

    Attributes:
        objects: as in a manifest.
        logs: text by pod's name.
        denied: plural names that the user may not read.
        kinds: groups of custom resources that the cluster has.
    """

    def __init__(self, *manifests: str) -> None:
        super().__init__()
        self.objects = [each for text in manifests for each in yaml.safe_load_all(text) if each]
        self.logs: dict[str, str] = {}
        self.denied: set[str] = set()
        self.kinds = {"argoproj.io/v1alpha1"}
        self.routes = [
            ("GET", f"{BUILT_IN}/namespaces/([^/]+)/pods/([^/]+)/log", self._log),
            ("GET", BUILT_IN + PLACE, self._list),
            ("GET", f"{BUILT_IN}{PLACE}/([^/]+)", self._get),
            ("GET", CUSTOM + PLACE, self._list_custom),
            ("POST", CUSTOM + PLACE, self._create_custom),
            ("PATCH", f"{CUSTOM}{PLACE}/([^/]+)", self._patch_custom),
        ]

    def refusal(self, status: int, message: str) -> Any:
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": status}

    def kubeconfig(self, path: Path) -> str:
        """Writes a kubeconfig that leads here and returns its path."""
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "double",
                    "contexts": [{"name": "double", "context": {"cluster": "double", "user": "double"}}],
                    "clusters": [{"name": "double", "cluster": {"server": self.url}}],
                    "users": [{"name": "double", "user": {"token": "secret"}}],
                }
            )
        )
        return str(path)

    def _items(self, namespace: str | None, plural: str) -> list[dict[str, Any]]:
        if plural in self.denied:
            raise Refused(403, self.refusal(403, f'{plural} is forbidden: User "me" cannot list resource'))
        return [
            each
            for each in self.objects
            if PLURALS[each["kind"]] == plural and each["metadata"].get("namespace") == namespace
        ]

    def _list(self, request: Request, namespace: str | None, plural: str) -> Any:
        found = self._items(namespace, plural)
        for label, value in _pairs(request.query.get("labelSelector")):
            found = [each for each in found if each["metadata"].get("labels", {}).get(label) == value]
        for path, value in _pairs(request.query.get("fieldSelector")):
            found = [each for each in found if _field(each, path) == value]
        return {"kind": "List", "apiVersion": "v1", "metadata": {}, "items": found}

    def _get(self, request: Request, namespace: str | None, plural: str, name: str) -> Any:
        for each in self._items(namespace, plural):
            if each["metadata"]["name"] == name:
                return each
        raise Refused(404, self.refusal(404, f'{plural} "{name}" not found'))

    def _log(self, request: Request, namespace: str, name: str) -> Any:
        if request.query.get("container") != "main" or name not in self.logs:
            raise Refused(404, self.refusal(404, f"no log of {name}"))
        return "\n".join(self.logs[name].splitlines()[-int(request.query.get("tailLines", 0)) :])

    def _list_custom(self, request: Request, group: str, namespace: str, plural: str) -> Any:
        self._need_kind(group)
        return self._list(request, namespace, plural)

    def _create_custom(self, request: Request, group: str, namespace: str, plural: str) -> Any:
        self._need_kind(group)
        made = request.json()
        if made["apiVersion"] != group or PLURALS[made["kind"]] != plural or made["metadata"]["namespace"] != namespace:
            raise Refused(400, self.refusal(400, "the object does not belong here"))
        self.objects.append(made)
        return made

    def _patch_custom(self, request: Request, group: str, namespace: str, plural: str, name: str) -> Any:
        found = self._get(request, namespace, plural, name)
        found["spec"] |= request.json()["spec"]
        return found

    def _need_kind(self, group: str) -> None:
        if group not in self.kinds:
            raise Refused(404, "404 page not found")


def _pairs(selector: str | None) -> list[list[str]]:
    return [part.split("=", 1) for part in re.split(",", selector)] if selector else []


def _field(each: Any, path: str) -> Any:
    for name in path.split("."):
        each = each.get(name, {})
    return each
